//! Many processes on one directory.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use cacheness::Cache;
use cacheness_tests::neighbours::{Log, Place, ended, is_right, random_work, seconds, took};
use cacheness_tests::{errors_of, servers};

use crate::NEIGHBOUR;

/// Those whose rows lie on this machine.
const LOCAL: [&str; 2] = ["sled", "sqlite"];

/// Those that several processes can use.
fn backends() -> Vec<&'static str> {
    let mut backends = LOCAL.to_vec();
    match servers::postgres() {
        Ok(_) => backends.push("postgresql"),
        Err(why) => servers::skip(&why),
    }
    match servers::redis() {
        Ok(_) => backends.push("redis"),
        Err(why) => servers::skip(&why),
    }
    backends
}

/// One namespace of the server for each place. A machine that is busy with other tests takes its time. Without values in
/// memory, of which others hear a second later, unless `memory` says so.
fn config_of(backend: &str, memory: bool) -> String {
    let (url, namespace) = match backend {
        "postgresql" => servers::postgres().map(|server| (server.url(), server.namespace())),
        "redis" => servers::redis().map(|server| (server.url(), server.namespace())),
        _ => return format!("[metadata]\nbackend = '{backend}'\n"),
    }
    .unwrap();
    let options = format!("{{ namespace = '{namespace}', deadline_ms = 10000 }}");
    let rows = format!("[metadata]\nbackend = '{backend}'\nconnection_url = '{url}'\noptions = {options}\n");
    format!("{rows}enable_memory_cache = {memory}\n")
}

fn place(backend: &str) -> Place {
    place_with(backend, false)
}

fn place_with(backend: &str, memory: bool) -> Place {
    Place::new(NEIGHBOUR, &config_of(backend, memory))
}

#[test]
fn a_hundred_processes_at_once_run_each_body_twice_at_most_and_none_warns() {
    for backend in backends() {
        let alone = took(&ended(place(backend).start(&["call", "20"])));
        let place = place(backend);
        let children: Vec<_> = (0..100).map(|_| place.start(&["call", "20"])).collect();
        let longest = children.into_iter().map(|child| took(&ended(child))).max().unwrap();
        let runs = place.runs();
        assert_eq!(runs.len(), 20);
        assert!(runs.values().all(|runs| *runs <= 2), "{runs:?}");
        println!("{backend}: alone {alone} ms, the slowest of 100 {longest} ms, {} runs", runs.values().sum::<usize>());
    }
}

#[test]
fn where_the_owner_is_killed_meanwhile_each_body_still_runs_twice_at_most() {
    for backend in backends() {
        let place = place(backend);
        let mut owner = place.start(&["call", "20"]);
        thread::sleep(Duration::from_millis(100));
        let children: Vec<_> = (0..40).map(|_| place.start(&["call", "20"])).collect();
        thread::sleep(Duration::from_millis(300));
        owner.kill().unwrap();
        owner.wait().unwrap();
        children.into_iter().for_each(|child| drop(ended(child)));
        let runs = place.runs();
        assert!(runs.len() == 20 && runs.values().all(|runs| *runs <= 2), "{runs:?}");
    }
}

#[test]
fn a_forked_child_of_an_owner_or_a_guest_is_one_more_process_on_the_directory() {
    for backend in backends() {
        for is_guest in [false, true] {
            let place = place(backend);
            let mut owner = is_guest.then(|| place.servant());
            ended(place.start(&["fork"]));
            assert_eq!(place.runs(), HashMap::from([("1".to_owned(), 1)]), "{backend}");
            let mut after = place.servant();
            for process in owner.iter_mut().chain([&mut after]) {
                assert_eq!(process.does("get-byte parents"), "Ok(Some(1))");
            }
        }
    }
}

#[test]
fn a_forked_child_goes_on_when_its_parent_has_ended_or_was_killed_on_sled_in_memory() {
    for (backend, how) in LOCAL.into_iter().flat_map(|backend| ["ended", "killed"].map(|how| (backend, how))) {
        let place = place(backend);
        // Until the child has ended, too: it writes to the same place.
        let output = place.start(&["fork-and-end", how]).wait_with_output().unwrap();
        let (goes_on, runs) = if backend == "sled" { ("memory", 2) } else { (backend, 1) };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), goes_on, "{how}: {}", errors_of(&output));
        assert_eq!(place.runs(), HashMap::from([("1".to_owned(), runs)]), "{backend}, {how}");
        let expected = if backend == "sled" { "Ok(None)" } else { "Ok(Some(1))" };
        assert_eq!(place.servant().does("get-byte childs"), expected, "{backend}, {how}");
    }
}

#[test]
fn what_one_process_puts_changes_and_removes_the_others_see() {
    for backend in backends() {
        let place = place(backend);
        let (mut first, mut second, mut third) = (place.servant(), place.servant(), place.servant());
        assert_eq!(second.does("put one 1"), "Ok(())");
        assert_eq!(second.does("put-large two 7"), "Ok(())");
        for process in [&mut first, &mut second, &mut third] {
            assert_eq!(process.does("get one"), "Ok(Some(1))");
            assert_eq!(process.does("get-large two"), "Ok(Some((100000, 7)))");
            assert_eq!(process.does("backend"), backend);
            assert_eq!(process.does("entries"), "Ok(2)");
        }
        assert_eq!(first.does("put one 2"), "Ok(())");
        assert_eq!((second.does("get one"), third.does("get one")), ("Ok(Some(2))".into(), "Ok(Some(2))".into()));
        assert_eq!(third.does("invalidate one"), "Ok(true)");
        assert_eq!((first.does("get one"), second.does("get one")), ("Ok(None)".into(), "Ok(None)".into()));
        assert_eq!(second.does("tag one"), "Ok(())");
        assert_eq!(first.does("invalidate-tag"), "Ok(1)");
        assert_eq!(third.does("clear"), "Ok(1)");
        assert_eq!((first.does("entries"), second.does("get-large two")), ("Ok(0)".into(), "Ok(None)".into()));
    }
}

#[test]
fn a_value_in_memory_where_a_server_has_the_rows_is_gone_a_second_after_another_process_has_invalidated_it() {
    for backend in backends().into_iter().filter(|backend| !LOCAL.contains(backend)) {
        let place = place_with(backend, true);
        let (mut one, mut other) = (place.servant(), place.servant());
        one.does("call 3");
        assert_eq!(one.does("memory 3"), "1", "{backend}");
        other.does("call 3");
        assert_eq!(other.does("clear"), "Ok(1)", "{backend}");
        thread::sleep(Duration::from_millis(1100));
        let before = place.runs()["3"];
        assert_eq!(one.does("memory 3"), "0", "{backend}");
        assert_eq!(place.runs()["3"], before + 1, "{backend}");
    }
}

#[test]
fn a_value_in_the_memory_of_a_guest_is_used_there_and_gone_once_another_process_has_invalidated_it() {
    for backend in LOCAL {
        let place = place(backend);
        let (mut owner, mut guest, mut other) = (place.servant(), place.servant(), place.servant());
        guest.does("call 3");
        assert_eq!(guest.does("memory 3"), "1", "it comes from memory");
        for process in [&mut owner, &mut other] {
            process.does("call 3");
            assert_eq!(process.does("clear"), "Ok(1)");
            let before = place.runs()["3"];
            assert_eq!(guest.does("memory 3"), "0");
            assert_eq!(place.runs()["3"], before + 1);
        }
    }
}

#[test]
fn when_the_owner_ends_or_is_killed_a_guest_goes_on_with_all_that_was_acknowledged() {
    for end in ["close", "kill"] {
        let place = place("sled");
        let (mut owner, mut second, mut third) = (place.servant(), place.servant(), place.servant());
        for n in 0..50 {
            assert_eq!(second.does(&format!("put key{n} {n}")), "Ok(())");
        }
        assert_eq!(owner.does("put by-owner 1"), "Ok(())");
        assert_eq!(third.does("put-large large 7"), "Ok(())");
        assert_eq!(third.does("invalidate key7"), "Ok(true)");
        match end {
            "close" => drop(owner.does("close")),
            _ => owner.kill(),
        }
        let begun = Instant::now();
        assert_eq!(second.does("get key3"), "Ok(Some(3))", "after {end}");
        println!("{end}: hit after {:?}", begun.elapsed());
        for process in [&mut second, &mut third] {
            for n in 0..50 {
                let expected = if n == 7 { "Ok(None)".to_owned() } else { format!("Ok(Some({n}))") };
                assert_eq!(process.does(&format!("get key{n}")), expected, "after {end}");
            }
            assert_eq!(process.does("get by-owner"), "Ok(Some(1))");
            assert_eq!(process.does("get-large large"), "Ok(Some((100000, 7)))");
        }
        assert_eq!(third.does("put later 1"), "Ok(())");
        assert_eq!(second.does("get later"), "Ok(Some(1))");
    }
}

#[test]
fn a_stopped_owner_costs_a_wait_and_then_neither_errors_nor_more_waits() {
    let place = place("sled");
    let (mut owner, mut guest) = (place.servant(), place.servant());
    assert_eq!(guest.does("call 1"), "4");
    owner.signal("-STOP");
    let begun = Instant::now();
    assert_eq!(guest.does("call 2"), "5", "the function answers");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(guest.does("get key").contains("does not answer"), "who asks by hand is told");
    owner.signal("-CONT");
    thread::sleep(Duration::from_millis(1600));
    assert_eq!(guest.does("call 1"), "4");
    assert_eq!((place.runs()["1"], guest.does("put one 1").as_str()), (1, "Ok(())"));
    assert_eq!(owner.does("get one"), "Ok(Some(1))");
}

#[test]
fn processes_whose_results_are_not_stored_run_side_by_side_after_the_first() {
    for backend in backends() {
        let place = place(backend);
        let _owner = place.servant();
        let begun = Instant::now();
        let children: Vec<_> = (0..8).map(|_| place.start(&["never-stored"])).collect();
        children.into_iter().for_each(|child| drop(ended(child)));
        assert_eq!(place.runs()["7"], 8);
        // One after the other they would take as many times 200 ms.
        println!("{:?}", begun.elapsed());
        let names: Vec<_> =
            fs::read_dir(place.cache.join("locks")).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert!(names.len() <= 2, "{names:?}");
    }
}

#[test]
fn who_is_killed_while_it_computes_keeps_nobody_waiting() {
    for backend in backends() {
        let place = place(backend);
        let _owner = place.servant();
        let mut computing = place.servant();
        computing.order("call 5");
        while !place.runs().contains_key("5") {
            thread::sleep(Duration::from_millis(1));
        }
        computing.kill();
        let begun = Instant::now();
        ended(place.start(&["call", "6"]));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_socket_of_something_else_costs_memory_and_one_warning() {
    let place = place("sled");
    let _owner = place.servant();
    let socket = place.cache.join("socket");
    fs::remove_file(&socket).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(&[255; 64]);
        }
    });
    let output = place.command(&["call", "3"]).output().unwrap();
    assert!(output.status.success());
    let errors = errors_of(&output);
    assert!(errors.lines().count() == 1 && errors.contains("is not to be joined"), "{errors}");
}

#[test]
fn what_is_left_of_a_directory_of_many_processes_is_that_of_one() {
    let place = place("sled");
    let (mut owner, mut guest) = (place.servant(), place.servant());
    guest.does("put one 1");
    guest.does("call 1");
    owner.does("close");
    guest.does("close");
    let names = ["socket", "index.journal"].map(|name| place.cache.join(name).exists());
    assert_eq!(names, [false, false]);
    let cache = Cache::open(&place.cache).unwrap();
    assert_eq!(cache.get::<u64>("one").unwrap(), Some(1));
}

/// How much is done at least.
fn least(backend: &str) -> usize {
    // Each change waits for a server there.
    if ["postgresql", "redis"].contains(&backend) { 100 } else { 1000 }
}

#[test]
fn two_processes_at_random_work_of_which_one_is_killed_each_second_read_nothing_wrong() {
    backends().into_iter().for_each(|backend| is_right(least(backend), random_work(&place(backend), 2, seconds())));
}

#[test]
fn eight_processes_at_random_work_of_which_one_is_killed_each_second_read_nothing_wrong() {
    backends().into_iter().for_each(|backend| is_right(least(backend), random_work(&place(backend), 8, seconds())));
}

#[test]
fn the_check_of_random_work_finds_a_value_that_was_invalidated_and_a_miss_of_what_is_there() {
    let log = |lines: &str| {
        let mut log = Log::default();
        log.read(0, lines);
        log.wrong()
    };
    let put = "begin put 1 77 10\nput 1 77 true 10 20\n";
    assert!(log(&format!("{put}get 1 77 30 40\n")).is_empty());
    assert!(log(&format!("{put}get 1 78 30 40\n"))[0].contains("never put"));
    assert!(log(&format!("{put}get 1 none 30 40\n"))[0].contains("a miss"));
    let gone = format!("{put}begin invalidate 1 50\ninvalidate 1 true 50 60\n");
    assert!(log(&format!("{gone}get 1 77 61 70\n"))[0].contains("after"));
    assert!(log(&format!("{gone}get 1 77 55 70\n")).is_empty(), "at the same time");
    assert!(log(&format!("{gone}get 1 none 61 70\n")).is_empty());
    let killed = format!("{put}begin invalidate 1 50\n");
    assert!(log(&format!("{killed}get 1 77 61 70\nget 1 none 61 70\n")).is_empty(), "nobody knows");
}
