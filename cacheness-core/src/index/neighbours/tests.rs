//! An owner and its guests in one process.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;

use super::wire::{Hello, PROTOCOL, Welcome};
use super::*;
use crate::index::MemoryMetadata;
use crate::index::backend::Facts;
use crate::index::conformance::metadata_backend;
use crate::index::sled::SledIndex;
use crate::util::threads::lock as locked;

/// An owner that changes rows and does nothing else with them.
struct Plain {
    rows: Arc<dyn MetadataBackend>,
    came: AtomicUsize,
    guests: Mutex<Arc<Guests>>,
}

impl Owner for Plain {
    fn rows(&self) -> &dyn MetadataBackend {
        &*self.rows
    }

    fn apply(&self, guest: u64, change: &Change<'_>, in_time: &dyn Fn() -> bool) -> Result<Applied> {
        if !in_time() {
            return Err(odd("too late"));
        }
        let applied = self.rows.apply(std::slice::from_ref(change))?.remove(0);
        let unsettled = !locked(&self.guests).note(guest, change.key, &applied);
        Ok(Applied { unsettled, ..applied })
    }

    fn guest_came(&self) {
        self.came.fetch_add(1, Ordering::SeqCst);
    }

    fn changed(&self) {}
}

struct House {
    dir: tempfile::TempDir,
    owner: Arc<Plain>,
    guests: Arc<Guests>,
    server: Option<Server>,
}

impl House {
    fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap(), Arc::new(MemoryMetadata::new()))
    }

    /// Guests count what rows take as sled does.
    fn over_sled() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rows = SledIndex::open_alone(dir.path()).unwrap();
        Self::over(dir, Arc::new(rows))
    }

    fn over(dir: tempfile::TempDir, rows: Arc<dyn MetadataBackend>) -> Self {
        let owner = Arc::new(Plain { rows, came: AtomicUsize::new(0), guests: Mutex::default() });
        let mut house = Self { dir, owner, guests: Arc::default(), server: None };
        house.open();
        house
    }

    fn open(&mut self) {
        self.guests = Arc::default();
        *locked(&self.owner.guests) = Arc::clone(&self.guests);
        let owner: Arc<dyn Owner> = Arc::clone(&self.owner) as Arc<dyn Owner>;
        self.server = Some(Server::start(self.dir.path(), Arc::downgrade(&owner), Arc::clone(&self.guests)).unwrap());
    }

    /// One that never becomes the owner.
    fn guest(&self) -> Joined {
        self.try_guest().unwrap()
    }

    fn try_guest(&self) -> Result<Joined> {
        let way = self.dir.path().to_path_buf();
        Joined::open(way, self.dir.path(), Box::new(|| Ok(None)))
    }

    fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join(SOCKET)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

fn put(rows: &dyn MetadataBackend, key: &[u8], row: &[u8]) -> Applied {
    let facts = Facts::default();
    rows.apply(&[Change { key, expected: Expected::Anything, row: Some((row, &facts)) }]).unwrap().remove(0)
}

#[test]
fn a_guest_is_a_backend_as_its_owner_is() {
    let house = House::over_sled();
    metadata_backend(|| house.try_guest().map(|guest| Arc::new(guest) as Arc<dyn MetadataBackend>));
    assert!(house.owner.came.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_guest_hears_of_what_others_change_and_not_of_what_it_changes_itself() {
    let house = House::new();
    let (one, two) = (house.guest(), house.guest());
    let unknown = one.changes(0).unwrap();
    assert_eq!(unknown.keys, None, "it knows of no change before");
    put(&one, b"mine", b"1");
    put(&two, b"its", b"1");
    house.guests.note(OWNER, b"the owner's", &Applied::made(None));
    let heard = one.changes(unknown.mark).unwrap();
    assert_eq!(heard.keys.unwrap(), [b"its".to_vec(), b"the owner's".to_vec()]);
    assert_eq!(one.changes(heard.mark).unwrap().keys.unwrap(), Vec::<Vec<u8>>::new());
    for n in 0..5000_u32 {
        house.guests.note(OWNER, &n.to_be_bytes(), &Applied::made(None));
    }
    assert_eq!(one.changes(heard.mark).unwrap().keys, None, "too many to tell");
}

#[test]
fn a_change_is_unsettled_while_somebody_may_remember_what_was_there_before() {
    let house = House::new();
    let (one, two) = (house.guest(), house.guest());
    assert!(put(&one, b"new", b"1").is_settled());
    assert!(!put(&two, b"other", b"1").unsettled);
    assert!(!put(&two, b"new", b"2").is_settled(), "it takes a row out");
    let gone = Change { key: b"new", expected: Expected::Anything, row: None };
    assert!(!one.apply(&[gone]).unwrap()[0].is_settled());
    assert!(!two.apply(&[gone]).unwrap()[0].is_settled(), "another one has just removed it");
    thread::sleep(Duration::from_millis(5));
    assert!(two.apply(&[gone]).unwrap()[0].is_settled(), "that was long ago");
}

#[test]
fn an_owner_that_comes_in_the_place_of_another_one_is_a_new_epoch() {
    let mut house = House::new();
    let guest = house.guest();
    put(&guest, b"one", b"1");
    let (epoch, mark) = (guest.epoch(), guest.changes(0).unwrap().mark);
    house.server = None;
    house.open();
    assert_eq!(guest.get(b"one").unwrap().unwrap(), b"1");
    assert!(guest.epoch() > epoch);
    assert_eq!(guest.changes(mark).unwrap().keys, None, "the new one knows nothing of that mark");
}

#[test]
fn a_change_whose_answer_was_lost_is_told_by_what_is_there() {
    let house = House::new();
    let guest = house.guest();
    let facts = Facts::default();
    let change = Change { key: b"one", expected: Expected::Bytes(b"1"), row: Some((b"2", &facts)) };
    put(&guest, b"one", b"2");
    let settled = guest.settled(&change, Applied::NOT_MADE).unwrap();
    assert_eq!((settled.made, settled.previous.unwrap()), (true, b"1".to_vec()), "the first try had made it");
    put(&guest, b"one", b"3");
    assert!(!guest.settled(&change, Applied::NOT_MADE).unwrap().made, "somebody else has changed it");
    let removal = Change { key: b"two", expected: Expected::Bytes(b"1"), row: None };
    assert!(guest.settled(&removal, Applied::NOT_MADE).unwrap().made);
    let put = Change { key: b"one", expected: Expected::Anything, row: Some((b"3", &facts)) };
    let again = guest.settled(&put, Applied::made(Some(b"3".to_vec()))).unwrap();
    assert_eq!((again.made, again.previous), (true, None), "the blob of its own row must stay");
}

#[test]
fn a_change_that_nobody_waits_for_any_more_is_not_made() {
    let house = House::new();
    let guest = house.guest();
    let Role::Guest(client) = guest.role() else { panic!("there is an owner") };
    let facts = Facts::default();
    let change = Change { key: b"one", expected: Expected::Anything, row: Some((b"1", &facts)) };
    let late = Request::Apply(vec![OwnedChange::of(&change)], monotonic_micros() - 1);
    assert!(client.ask(&late, PATIENCE).unwrap().is_err());
    assert_eq!(guest.get(b"one").unwrap(), None);
}

#[test]
fn a_guest_forgets_everything_when_the_rows_of_the_owner_were_replaced() {
    let house = House::new();
    let guest = house.guest();
    let mark = guest.changes(0).unwrap().mark;
    assert_eq!(guest.changes(mark).unwrap().keys, Some(Vec::new()));
    let mark = house.guests.since(mark, 7, 0).mark;
    assert_eq!(house.guests.since(mark, 7, 1).keys, None);
    assert_eq!(house.guests.since(house.guests.since(mark, 7, 1).mark, 7, 1).keys, Some(Vec::new()));
}

#[test]
fn another_version_of_the_program_is_told_that_it_speaks_another_protocol() {
    let house = House::new();
    let mut stream = house.stream();
    wire::send(&mut stream, &Hello { protocol: PROTOCOL + 1, guest: 7, stays: true }).unwrap();
    let welcome: Welcome = wire::receive(&mut stream).unwrap();
    let why = welcome.unwrap_err();
    assert!(why.contains(&PROTOCOL.to_string()) && why.contains(&(PROTOCOL + 1).to_string()), "{why}");
    assert!(house.guests.are_none());
}

#[test]
fn what_makes_no_sense_ends_its_connection_and_no_other() {
    let house = House::new();
    let guest = house.guest();
    for bytes in [&[0_u8; 64][..], &[255; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = house.stream();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.len() < 200, "{answer:?}");
    }
    put(&guest, b"one", b"1");
    assert_eq!(guest.get(b"one").unwrap().unwrap(), b"1");
}

#[test]
fn guests_that_are_gone_are_not_counted_and_nobody_who_listens_is_an_error_in_words() {
    let mut house = House::new();
    let guest = house.guest();
    assert!(!house.guests.are_none());
    drop(guest);
    let until = Instant::now() + Duration::from_secs(10);
    while !house.guests.are_none() && Instant::now() < until {
        thread::sleep(BETWEEN_TRIES[0]);
    }
    assert!(house.guests.are_none());
    let guest = house.guest();
    house.server = None;
    assert!(!house.dir.path().join(SOCKET).exists());
    let begun = Instant::now();
    let error = guest.get(b"one").unwrap_err();
    assert!(error.is_locked() && error.to_string().contains("does not answer on its socket"), "{error}");
    assert!(begun.elapsed() < PATIENCE * 3);
}

#[test]
fn a_guest_becomes_the_owner_when_the_owner_is_gone_and_keeps_what_it_was_told() {
    let mut house = House::new();
    let rows = Arc::clone(&house.owner.rows);
    let free = Arc::new(Mutex::new(false));
    let may = Arc::clone(&free);
    let take_over = move || Ok(locked(&may).then(|| Arc::clone(&rows)));
    let guest = Joined::open(house.dir.path().to_path_buf(), house.dir.path(), Box::new(take_over)).unwrap();
    put(&guest, b"one", b"1");
    guest.used(&[(b"one", Timestamp::from_micros(70))]).unwrap();
    assert!(!guest.is_alone());
    *locked(&free) = true;
    house.server = None;
    assert_eq!(guest.get(b"one").unwrap().unwrap(), b"1");
    assert!(guest.is_alone());
    assert_eq!(guest.last_used(b"one").unwrap(), Some(Timestamp::from_micros(70)));
    guest.close().unwrap();
    assert!(guest.get(b"one").unwrap_err().is_closed());
}
