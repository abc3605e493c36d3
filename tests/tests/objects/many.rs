//! Many processes on many machines: rows on a server, values in a bucket.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use cacheness_tests::neighbours::{Place, ended, is_right, random_work, seconds};
use cacheness_tests::servers;

use super::server::{Server, options};

const NEIGHBOUR: &str = env!("CARGO_BIN_EXE_neighbour");

/// The servers that keep rows, as far as they are installed.
fn servers_of_rows() -> Vec<&'static str> {
    let found = [("postgresql", servers::postgres().err()), ("redis", servers::redis().err())];
    let told = found.into_iter().filter(|(_, missing)| {
        missing.iter().all(|why| {
            servers::skip(why);
            false
        })
    });
    told.map(|(name, _)| name).collect()
}

/// A new place for processes of which none sees the files of another machine: with a namespace and a prefix of its own.
fn place(rows: &str, bucket: &Server) -> Place {
    let (url, namespace) = match rows {
        "redis" => servers::redis().map(|server| (server.url(), server.namespace())),
        _ => servers::postgres().map(|server| (server.url(), server.namespace())),
    }
    .unwrap();
    let options = options(bucket.port).into_iter().filter(|(name, _)| *name != "timeout_ms");
    let options: Vec<_> = options.map(|(name, value)| format!("{name} = {value}")).collect();
    let config = format!(
        "single_flight = 'global'\n\
         [metadata]\nbackend = '{rows}'\nconnection_url = '{url}'\nenable_memory_cache = false\n\
         options = {{ namespace = '{namespace}', deadline_ms = 10000 }}\n\
         [blob]\nbackend = 's3'\noptions = {{ {}, prefix = '{rows}-{namespace}', timeout_ms = 10000 }}\n",
        options.join(", ")
    );
    Place::new(NEIGHBOUR, &config).on_machines(4)
}

#[test]
fn processes_on_several_machines_at_random_work_of_which_one_is_killed_each_second_read_nothing_wrong() {
    let Some(bucket) = Server::start() else { return };
    for rows in servers_of_rows() {
        for processes in [2, 8] {
            is_right(50, random_work(&place(rows, &bucket), processes, seconds()));
        }
    }
}

#[test]
fn each_body_runs_once_on_all_machines_and_twice_where_its_leader_was_killed() {
    let Some(bucket) = Server::start() else { return };
    for rows in servers_of_rows() {
        let place = place(rows, &bucket);
        let start = |machine: usize| place.command_on(machine, &["call", "20"]).spawn().unwrap();
        let children: Vec<_> = (0..12).map(|machine| start(machine % 4)).collect();
        children.into_iter().for_each(|child| drop(ended(child)));
        let runs = place.runs();
        assert!(runs.len() == 20 && runs.values().all(|runs| *runs == 1), "{runs:?}");

        let place = self::place(rows, &bucket);
        let start = |machine: usize| place.command_on(machine, &["call-long"]).spawn().unwrap();
        let mut leader = start(0);
        until(|| !place.runs().is_empty());
        let others: Vec<Child> = (1..4).map(start).collect();
        thread::sleep(Duration::from_millis(500));
        leader.kill().unwrap();
        leader.wait().unwrap();
        let begun = Instant::now();
        others.into_iter().for_each(|child| drop(ended(child)));
        println!("{:?} after the leader was killed", begun.elapsed());
        assert_eq!(place.runs().values().sum::<usize>(), 2);
    }
}

#[test]
fn a_leader_that_was_stopped_and_comes_too_late_does_not_replace_what_came_meanwhile() {
    let Some(bucket) = Server::start() else { return };
    for rows in servers_of_rows() {
        let place = place(rows, &bucket);
        let stopped = place.command_on(0, &["call-long"]).spawn().unwrap();
        until(|| !place.runs().is_empty());
        signal(&stopped, "-STOP");
        // Takes the lease that is not renewed, and stores its result.
        let second = String::from_utf8(ended(place.command_on(1, &["call-long"]).spawn().unwrap()).stdout).unwrap();
        signal(&stopped, "-CONT");
        let first = String::from_utf8(ended(stopped).stdout).unwrap();
        assert_ne!(first, second, "each got what it computed");
        let third = String::from_utf8(ended(place.command_on(2, &["call-long"]).spawn().unwrap()).stdout).unwrap();
        assert_eq!(third, second, "and the later one stays");
        assert_eq!(place.runs().values().sum::<usize>(), 2);
    }
}

fn signal(child: &Child, signal: &str) {
    let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    }
}
