//! Connections that are lost in the middle of a call.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::tests::{open, options_of, server};
use crate::clock::Timestamp;
use crate::index::backend::{Change, Expected, Facts, MetadataBackend};

/// Stands before a server, and cuts so many connections after what is said on them has reached it and before its answer is
/// told.
struct Cutter {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::<AtomicUsize>::default();
        let left = Arc::clone(&cuts);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
                let (back, left) = ((server.try_clone().unwrap(), client.try_clone().unwrap()), Arc::clone(&left));
                thread::spawn(move || carry(back.0, back.1, &left));
                thread::spawn(move || carry(client, server, &AtomicUsize::new(0)));
            }
        });
        Self { port, cuts }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, cuts: &AtomicUsize) {
    let mut bytes = vec![0; 65536];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let cut = cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if cut || to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_guarded_change_whose_answer_was_lost_is_told_as_what_it_was_and_another_one_is_an_error() {
    let Some(server) = server() else { return };
    let options = options_of(server);
    let cutter = Cutter::before(server.port());
    let url = format!("redis://127.0.0.1:{}/0", cutter.port);
    let (rows, direct) = (open(&options.clone().with("connection_url", url)), open(&options));
    let facts = Facts::new(Timestamp::from_micros(1));
    let change =
        |expected, row: Option<&'static [u8]>| Change { key: b"12345678", expected, row: row.map(|row| (row, &facts)) };
    let cut = || {
        // What was lost before is noticed, and there is a connection to be cut.
        thread::sleep(Duration::from_millis(20));
        rows.totals().unwrap();
        cutter.cuts.store(1, Ordering::SeqCst);
    };
    // So that the script is known, and its answer is the one that is lost.
    rows.apply(&[change(Expected::Absent, Some(b"0")), change(Expected::Anything, None)]).unwrap();
    cut();
    let made = rows.apply(&[change(Expected::Absent, Some(b"1"))]).unwrap().remove(0);
    assert_eq!((made.made, made.previous), (true, None));
    cut();
    let made = rows.apply(&[change(Expected::Bytes(b"1"), Some(b"2"))]).unwrap().remove(0);
    assert_eq!((made.made, made.previous.as_deref()), (true, Some(&b"1"[..])));
    assert_eq!(direct.get(b"12345678").unwrap().as_deref(), Some(&b"2"[..]));
    cut();
    let made = rows.apply(&[change(Expected::Absent, Some(b"3"))]);
    assert!(made.unwrap_err().is_metadata(), "another row is there, which may have taken the place of this one");
    cut();
    assert!(rows.apply(&[change(Expected::Anything, Some(b"4"))]).unwrap_err().is_unavailable());
    assert_eq!(direct.get(b"12345678").unwrap().as_deref(), Some(&b"4"[..]), "it was made once");
    cut();
    assert_eq!(rows.get(b"12345678").unwrap().as_deref(), Some(&b"4"[..]), "a read is asked again");
    assert_eq!(rows.totals().unwrap().entries, 1);
}
