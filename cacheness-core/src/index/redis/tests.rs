use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::entry::IndexKey;
use crate::index::backend::Facts;
use crate::index::conformance::metadata_backend;
use crate::index::record::tests::record_of;
use crate::index::{MemoryMetadata, Record, Records, get_metadata_backend};

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
pub(super) mod servers {
    include!("../../../../tests/src/servers.rs");
}

/// The server, if there is one.
pub(super) fn server() -> Option<&'static servers::Redis> {
    servers::redis().map_err(|why| servers::skip(&why)).ok()
}

/// Options with a namespace of its own, if there is a server.
fn options() -> Option<BackendOptions> {
    server().map(options_of)
}

pub(super) fn options_of(server: &servers::Redis) -> BackendOptions {
    let options = BackendOptions::new().with("connection_url", server.url());
    // A machine that is busy with other tests takes its time.
    options.with("namespace", server.namespace()).with("deadline_ms", 10_000)
}

pub(super) fn open(options: &BackendOptions) -> RedisMetadata {
    RedisMetadata::open(options).unwrap()
}

fn put(rows: &RedisMetadata, key: &str) -> (IndexKey, Record) {
    let (key, record) = record_of(key, 7, Some(100));
    rows.put(&key, &record).unwrap();
    (key, record)
}

fn told(changes: &Changes) -> Option<Vec<&[u8]>> {
    changes.keys.as_ref().map(|keys| keys.iter().map(Vec::as_slice).collect())
}

/// A command of any other program.
fn tell<T: redis::FromRedisValue>(options: &BackendOptions, command: &[&[u8]]) -> T {
    let client = redis::Client::open(options.text("connection_url").unwrap().unwrap()).unwrap();
    let mut packed = redis::Cmd::new();
    packed.arg(command);
    packed.query(&mut client.get_connection().unwrap()).unwrap()
}

/// A name of the generation that is there.
fn name(rows: &RedisMetadata, of: &str) -> Vec<u8> {
    format!("{}:{}:{of}", rows.base, rows.generation.load()).into_bytes()
}

#[test]
fn redis_conforms() {
    if let Some(options) = options() {
        metadata_backend(|| get_metadata_backend("redis", &options));
    }
}

#[test]
fn a_handle_is_told_what_others_have_changed_and_not_what_it_did_itself() {
    let Some(options) = options() else { return };
    let (one, other) = (open(&options), open(&options));
    let mark = one.changes(0).unwrap().mark;
    let (mine, _) = put(&one, "mine");
    assert_eq!(told(&one.changes(mark).unwrap()), Some(vec![]));
    let (theirs, record) = put(&other, "theirs");
    put(&other, "theirs");
    let changes = one.changes(mark).unwrap();
    assert_eq!(told(&changes), Some(vec![theirs.as_bytes()]), "a key once");
    assert_eq!(told(&one.changes(changes.mark).unwrap()), Some(vec![]), "nothing since");
    assert_eq!(told(&other.changes(mark).unwrap()), Some(vec![mine.as_bytes()]));
    let not_made = Change { key: theirs.as_bytes(), expected: Expected::Absent, row: None };
    let removal = Change { expected: Expected::Bytes(record.as_bytes()), ..not_made };
    other.apply(&[not_made]).unwrap();
    assert_eq!(told(&one.changes(changes.mark).unwrap()), Some(vec![]), "what was not made is no change");
    other.apply(&[removal]).unwrap();
    assert_eq!(told(&one.changes(changes.mark).unwrap()), Some(vec![theirs.as_bytes()]));
}

#[test]
fn a_handle_that_has_missed_changes_is_told_so() {
    let Some(options) = options() else { return };
    let (one, other) = (open(&options), open(&options));
    let mark = one.changes(0).unwrap().mark;
    let (key, record) = put(&other, "k");
    let facts = record.facts().unwrap();
    let change = Change { key: key.as_bytes(), expected: Expected::Anything, row: Some((record.as_bytes(), &facts)) };
    for round in 1..=6 {
        other.apply(&vec![change; 1000]).unwrap();
        assert!(round > 4 || one.changes(mark).unwrap().keys.is_some(), "{round}");
    }
    let now = one.changes(mark).unwrap();
    assert_eq!(now.keys, None, "too many to remember");
    assert_eq!(one.changes(now.mark).unwrap().keys, Some(Vec::new()), "and from then on they are known");
    assert_eq!(one.changes(now.mark + 1_000_000).unwrap().keys, None, "it is another generation");
    let kept: usize = tell(&options, &[b"LLEN", &name(&one, "changes")]);
    assert!((4096..=4096 + 512).contains(&kept), "{kept}");
}

#[test]
fn a_change_beside_a_removal_by_another_handle_is_unsettled_for_a_while() {
    let Some(options) = options() else { return };
    let (one, other) = (open(&options), open(&options));
    let (key, record) = record_of("k", 7, None);
    let facts = record.facts().unwrap();
    let insert = Change { key: key.as_bytes(), expected: Expected::Absent, row: Some((record.as_bytes(), &facts)) };
    let removal = Change { row: None, expected: Expected::Anything, ..insert };
    let apply = |rows: &RedisMetadata, change| rows.apply(&[change]).unwrap().remove(0);
    assert!(apply(&one, insert).is_settled(), "nobody remembers what was never there");
    assert!(!apply(&one, removal).is_settled());
    // Behind more changes than a look takes at once.
    (0..200).for_each(|n| drop(put(&one, &n.to_string())));
    assert!(!apply(&other, removal).is_settled(), "a third may remember what the first one removed");
    let again = apply(&other, insert);
    assert!(again.made && !again.is_settled(), "{again:?}");
    assert!(apply(&other, Change { key: b"12345678", ..insert }).is_settled(), "another key");
    let start = Instant::now();
    while !apply(&other, Change { key: b"01234567", expected: Expected::Bytes(b"x"), row: None }).is_settled() {
        assert!(start.elapsed() < Duration::from_secs(5), "it stays unsettled");
    }
}

#[test]
fn a_row_that_the_server_evicted_is_a_miss_and_is_taken_out_of_the_orders() {
    let Some(options) = options() else { return };
    let rows = open(&options);
    let keys: Vec<_> = (0..300).map(|n| put(&rows, &n.to_string()).0).collect();
    for key in &keys[..280] {
        let generation = rows.generation.load_full();
        let gone: u32 = tell(&options, &[b"DEL", &rows.row_name(&generation, key.as_bytes())]);
        assert_eq!(gone, 1);
    }
    assert_eq!(rows.get(keys[3].as_bytes()).unwrap(), None);
    assert_eq!(rows.get_many(&[keys[3].as_bytes(), keys[290].as_bytes()]).unwrap().iter().flatten().count(), 1);
    let (_, record) = put(&rows, "3");
    assert_eq!(rows.totals().unwrap().entries, 300, "a put takes the place of the one that is gone");
    assert_eq!(rows.keys(None, 999).unwrap().len(), 21, "whose rows are there");
    assert_eq!(rows.totals().unwrap().entries, 21);
    assert_eq!(rows.totals().unwrap().lost, 280);
    assert_eq!(rows.page(&Scan::LeastUsed, 999).unwrap().len(), 21);
    let bytes = 21 * rows.footprint(record.as_bytes().len() as u64, 0);
    assert!(rows.totals().unwrap().bytes.abs_diff(bytes) < 21 * 8, "{:?}", rows.totals());
}

#[test]
fn where_what_finds_rows_was_evicted_all_rows_are_gone_for_all_handles() {
    let Some(options) = options() else { return };
    for what in ["facts", "orders", "changes"] {
        let (rows, other) = (open(&options), open(&options));
        let swap = Swap { expected: None, new: Some(b"state") };
        rows.state(what, Some(swap)).unwrap();
        let (key, _) = put(&rows, "k");
        let (epochs, mark) = ([rows.epoch(), other.epoch()], other.changes(0).unwrap().mark);
        let _: u32 = tell(&options, &[b"DEL", &name(&rows, what)]);
        if what == "changes" {
            // Nothing is lost but what others are to be told.
            assert!(rows.get(key.as_bytes()).unwrap().is_some());
            put(&rows, "l");
            put(&rows, "m");
            assert_eq!(other.changes(mark - 1).unwrap().keys, None);
            continue;
        }
        assert!(rows.page(&Scan::Keys { after: None }, 9).unwrap().is_empty(), "{what}");
        assert_eq!(rows.totals().unwrap().entries, 0, "{what}");
        assert_eq!(other.get(key.as_bytes()).unwrap(), None, "{what}");
        assert_eq!(other.changes(mark).unwrap().keys, None, "{what}");
        assert_eq!([rows.epoch(), other.epoch()], epochs.map(|epoch| epoch + 1), "{what}: memory forgets");
        assert_eq!(rows.state(what, None).unwrap().as_deref(), Some(&b"state"[..]));
        let (key, record) = put(&other, "k");
        assert_eq!(rows.record(&key).unwrap(), Some(record), "{what}");
    }
}

#[test]
fn an_emptied_server_is_an_empty_store_that_goes_on() {
    let Some(server) = server() else { return };
    let options = options_of(server);
    let (rows, other) = (open(&options), open(&options));
    let (key, record) = put(&rows, "k");
    let names: Vec<Vec<u8>> = tell(&options, &[b"KEYS", format!("*{{{}}}*", namespace(&options)).as_bytes()]);
    names.iter().for_each(|name| assert_eq!(tell::<u32>(&options, &[b"DEL", name]), 1));
    assert_eq!(rows.get(key.as_bytes()).unwrap(), None);
    rows.put(&key, &record).unwrap();
    assert_eq!(other.record(&key).unwrap(), Some(record));
    assert_eq!(other.totals().unwrap().entries, 1);
}

fn namespace(options: &BackendOptions) -> &str {
    options.text("namespace").unwrap().unwrap()
}

#[test]
fn all_names_of_a_namespace_have_its_hash_tag_and_no_other_has_them() {
    let Some(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)).ok() else { return };
    let options = options_of(&server);
    let rows = open(&options);
    put(&rows, "k");
    rows.state("s", Some(Swap { expected: None, new: Some(b"1") })).unwrap();
    let names: Vec<Vec<u8>> = tell(&options, &[b"KEYS", b"*"]);
    assert_eq!(names.len(), 6, "{names:?}");
    let tag = format!("cacheness:{{{}}}", namespace(&options));
    assert!(names.iter().all(|name| name.starts_with(tag.as_bytes())), "{names:?}");
    let elsewhere = open(&options.with("namespace", "elsewhere"));
    assert_eq!((elsewhere.totals().unwrap().entries, rows.totals().unwrap().entries), (0, 1));
}

#[test]
fn names_of_another_program_or_a_newer_release_are_refused_and_stay() {
    let Some(options) = options() else { return };
    let base = format!("cacheness:{{{}}}", namespace(&options));
    for (content, why) in [("2:0123", "the format 2"), ("something", "another program")] {
        let _: String = tell(&options, &[b"SET", base.as_bytes(), content.as_bytes()]);
        let error = RedisMetadata::open(&options).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains(why), "{error}");
        assert_eq!(tell::<String>(&options, &[b"GET", base.as_bytes()]), content);
    }
    let _: u32 = tell(&options, &[b"DEL", base.as_bytes()]);
    let _: u32 = tell(&options, &[b"RPUSH", base.as_bytes(), b"1"]);
    let error = RedisMetadata::open(&options).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("options.namespace"), "{error}");
    let _: u32 = tell(&options, &[b"DEL", base.as_bytes()]);
    // One that comes while it is open.
    let rows = open(&options);
    let (key, _) = put(&rows, "k");
    let _: String = tell(&options, &[b"SET", base.as_bytes(), b"2:0123"]);
    assert!(rows.get(key.as_bytes()).unwrap_err().is_conflict());
}

/// Something that is no Redis server: answers the same to everybody and hangs up.
fn stranger(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(answer);
        }
    });
    port
}

#[test]
fn a_server_that_is_none_of_ours_or_refuses_is_an_error_that_names_the_field_and_no_secret() {
    const SECRET: &str = servers::REDIS_USER.1;
    let refused = |url: String| {
        let error = RedisMetadata::open(&BackendOptions::new().with("connection_url", url)).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET) && !shown.contains("4711"), "{shown}");
        error
    };
    let at = |port: u16| format!("redis://marked:{SECRET}@127.0.0.1:{port}/0");
    let error = refused(at(1));
    assert!(error.is_unavailable() && error.to_string().contains("127.0.0.1:1"), "{error}");
    for answer in [&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], b""] {
        let error = refused(at(stranger(answer)));
        let why = "options.connection_url: what listens at";
        assert!(error.is_config() && error.to_string().starts_with(why), "{error}");
        let error = refused(at(stranger(answer)).replace(&format!("marked:{SECRET}@"), ""));
        assert!(error.is_config() && error.to_string().starts_with(why), "{error}");
    }
    let Some(server) = server() else { return };
    for wrong in [format!("marked:{SECRET}4711"), format!("nobody:{SECRET}"), format!(":{SECRET}")] {
        let error = refused(server.url().replace("//", &format!("//{wrong}@")));
        assert!(error.is_config() && error.to_string().starts_with("options.connection_url: "), "{error}");
    }
    let error = refused(server.url().replace("/0", "/4000"));
    assert!(error.is_metadata() || error.is_config(), "{error}");
    let url = server.url().replace("//", &format!("//marked:{SECRET}@"));
    let rows = open(&options_of(server).with("connection_url", url));
    put(&rows, "k");
    let shown = format!("{rows:?}");
    assert!(shown.contains("127.0.0.1") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn a_handle_connects_again_when_its_connection_was_cut() {
    let Some(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)).ok() else { return };
    let rows = open(&options_of(&server));
    let (key, record) = put(&rows, "k");
    let epoch = rows.epoch();
    for round in 0..20 {
        // As a server does with those who say nothing for long.
        server.tell("CLIENT KILL TYPE normal SKIPME yes").unwrap();
        assert_eq!(rows.record(&key).unwrap().as_ref(), Some(&record), "{round}");
    }
    assert!(rows.epoch() >= epoch + 20, "the server may have lost changes meanwhile: memory forgets");
    server.tell("CLIENT KILL TYPE normal SKIPME yes").unwrap();
    thread::sleep(Duration::from_millis(200));
    put(&rows, "a change is sent on a connection that is there");
}

#[test]
fn scripts_that_the_server_has_forgotten_are_told_again() {
    let Some(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)).ok() else { return };
    let rows = open(&options_of(&server));
    for n in 0..3 {
        server.tell("SCRIPT FLUSH").unwrap();
        put(&rows, &n.to_string());
        server.tell("SCRIPT FLUSH").unwrap();
        assert_eq!(rows.totals().unwrap().entries, n + 1);
    }
}

#[test]
fn an_answer_that_takes_too_long_is_an_error_and_the_next_call_has_another_connection() {
    let Some(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)).ok() else { return };
    let rows = open(&options_of(&server).with("deadline_ms", 300));
    let (key, record) = put(&rows, "k");
    server.tell("CLIENT PAUSE 1500 ALL").unwrap();
    let begin = Instant::now();
    let slow = rows.get(key.as_bytes()).unwrap_err();
    assert!(begin.elapsed() < Duration::from_millis(1200), "{:?}", begin.elapsed());
    assert!(slow.is_unavailable() && slow.to_string().ends_with("within 300 ms"), "{slow}");
    while rows.get(key.as_bytes()).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(10), "it works again");
    }
    assert_eq!(rows.record(&key).unwrap(), Some(record));
}

#[test]
fn a_server_without_room_refuses_rows_and_lets_go_of_those_that_are_removed() {
    let started = servers::Redis::start(&["--maxmemory", "6mb", "--maxmemory-policy", "noeviction"]);
    let Some(server) = started.map_err(|why| servers::skip(&why)).ok() else { return };
    let rows = open(&options_of(&server));
    let (row, facts) = ([7; 50_000], Facts::new(Timestamp::from_micros(1)));
    let key = |n: u64| n.to_be_bytes();
    let put = |n: u64| rows.apply(&[Change { key: &key(n), expected: Expected::Anything, row: Some((&row, &facts)) }]);
    let full = (0..1000).find(|n| put(*n).is_err()).unwrap();
    let error = put(full).unwrap_err();
    assert!(error.is_limit() && error.to_string().contains("maxmemory"), "{error}");
    assert_eq!(rows.totals().unwrap().entries, full, "a put that failed changed nothing");
    let keys: Vec<_> = (0..full).map(key).collect();
    let removal = |key: &'_ [u8; 8]| -> bool {
        let removed = rows.apply(&[Change { key, expected: Expected::Anything, row: None }]).unwrap();
        removed[0].previous.is_some()
    };
    assert!(keys[..10].iter().all(removal));
    let others: Vec<_> = keys[10..].iter().map(|key| Change { key, expected: Expected::Anything, row: None }).collect();
    assert!(rows.apply(&others).unwrap().iter().all(|applied| applied.previous.is_some()));
    assert_eq!(rows.totals().unwrap().entries, 0);
    put(0).unwrap();
}

#[test]
fn a_read_of_many_rows_is_one_command() {
    let Some(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)).ok() else { return };
    let rows = open(&options_of(&server));
    let keys: Vec<_> = (0..100).map(|n| put(&rows, &n.to_string()).0).collect();
    let keys: Vec<_> = keys.iter().map(IndexKey::as_bytes).collect();
    let commands = || {
        let answer = server.tell("INFO stats").unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let before = commands();
    assert_eq!(rows.get_many(&keys).unwrap().iter().flatten().count(), 100);
    rows.get(keys[0]).unwrap();
    assert_eq!(commands() - before, 3, "two, and the question for their number");
}

#[test]
fn a_forked_child_has_a_connection_of_its_own() {
    let Some(options) = options() else { return };
    let rows = open(&options);
    let (key, record) = put(&rows, "k");
    rows.server.pretend_to_be_forked();
    assert_eq!(rows.record(&key).unwrap(), Some(record));
}

#[test]
fn a_use_is_written_by_a_flush() {
    let Some(options) = options() else { return };
    let (rows, other) = (open(&options), open(&options));
    let (key, _) = put(&rows, "k");
    let at = Timestamp::from_micros(500);
    rows.used(&[(key.as_bytes(), at)]).unwrap();
    assert_eq!(rows.last_used(key.as_bytes()).unwrap(), Some(at), "known at once here");
    assert_eq!(other.last_used(key.as_bytes()).unwrap(), None);
    rows.flush().unwrap();
    assert_eq!(other.last_used(key.as_bytes()).unwrap(), Some(at));
    other.used(&[(key.as_bytes(), Timestamp::from_micros(300))]).unwrap();
    other.flush().unwrap();
    assert_eq!(rows.last_used(key.as_bytes()).unwrap(), Some(at), "an earlier use of another handle");
}

/// Changes at random, which come out of every order as they do from memory.
#[test]
fn orders_and_totals_are_those_of_rows_in_memory_whatever_is_changed() {
    let Some(options) = options() else { return };
    let (rows, memory) = (open(&options), MemoryMetadata::new());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let time = |at: u64| Timestamp::from_micros(at.cast_signed() - 50);
    let one = |_| {
        let key = [&[7; 8][..], &vec![0xff; random(3) as usize], &[random(4) as u8]].concat();
        let mut facts = Facts::new(time(random(100)));
        facts.expires_at = (random(2) == 0).then(|| time(random(100)));
        facts.groups = (0..random(4)).map(|_| u64::MAX - random(3)).collect();
        facts.blob_bytes = random(3) * 100;
        let row = vec![random(256) as u8; random(40) as usize];
        let expected = if random(3) == 0 { Expected::Absent } else { Expected::Anything };
        (key, expected, (random(4) > 0).then_some((row, facts)))
    };
    let wanted: Vec<_> = (0..1200).map(one).collect();
    let mut changes: Vec<_> = wanted
        .iter()
        .map(|(key, expected, row)| Change {
            key,
            expected: *expected,
            row: row.as_ref().map(|(row, facts)| (&row[..], facts)),
        })
        .collect();
    while !changes.is_empty() {
        let some = changes.split_off(changes.len().saturating_sub(1 + random(9) as usize));
        assert_eq!(rows.apply(&some).unwrap(), memory.apply(&some).unwrap());
    }
    let scans = [
        Scan::Keys { after: Some(&[7; 8]) },
        Scan::Prefix(&[7, 7, 7, 7, 7, 7, 7, 7, 0xff]),
        Scan::Expired { now: time(50) },
        Scan::Newest { before: Some((time(60), &[7; 9])) },
        Scan::LeastUsed,
        Scan::Group { group: u64::MAX, after: None },
        Scan::Group { group: u64::MAX - 1, after: Some(&[7; 8]) },
    ];
    for scan in scans {
        let (there, wanted) = (rows.page(&scan, 99).unwrap(), memory.page(&scan, 99).unwrap());
        assert!(!wanted.is_empty() && there == wanted, "{scan:?}: {there:?}, and not {wanted:?}");
    }
    let (there, wanted) = (rows.totals().unwrap(), memory.totals().unwrap());
    assert_eq!(rows.bytes().unwrap(), there.bytes);
    assert_eq!((there.entries, there.created), (wanted.entries, wanted.created));
    assert_eq!(there.bytes, wanted.bytes + wanted.entries * rows.footprint(0, 0));
}
