//! A server that does not answer costs little: a metadata backend that waits for a network, opened when it can be, and asked
//! no more for a while after it has failed several times.
//!
//! Calls fail at once meanwhile, by an error of the kind `Unavailable`, in the place of which the engine has a miss. One call then
//! tries whether the server is back, and the others go on without it until that one knows.
//!
//! A backend that finds another server in the place of its own closes itself, and is opened anew by the next call.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::backend::{Applied, Change, Changes, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind, Result};
use crate::query::{Filter, Schema};
use crate::util::breaker::Breaker;
use crate::util::emit;
use crate::util::threads::{later, lock};

type Open = Box<dyn Fn() -> Result<Arc<dyn MetadataBackend>> + Send + Sync>;

/// What is known of a backend before it is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) traits: Traits,
    pub(super) footprint: fn(u64, u64) -> u64,
}

/// A backend behind a network.
pub(super) struct Guard {
    known: Known,
    open: Open,
    opened: ArcSwapOption<Arc<dyn MetadataBackend>>,
    /// Changes with each backend that closed itself.
    reopened: AtomicU64,
    breaker: Breaker,
    /// Why the last call that had no answer had none.
    unanswered: ArcSwapOption<CacheError>,
    closed: AtomicBool,
    noted: Noted,
}

/// So many uses, and for so long, are noted until the backend is asked to write them.
const USES: usize = 512;
const USES_WAIT: Duration = Duration::from_millis(2500);

/// Uses that a backend has noted since it was asked to write them.
#[derive(Debug, Default)]
struct Noted {
    since: Mutex<(usize, Option<Instant>)>,
    /// One thread writes at a time, however long that takes.
    is_writing: Arc<AtomicBool>,
}

/// Says that nobody writes any more, also where no thread was to be had.
struct Done(Arc<AtomicBool>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Noted {
    fn are_due(&self, more: usize) -> bool {
        let (count, since) = &mut *lock(&self.since);
        *count += more;
        let begun = *since.get_or_insert_with(Instant::now);
        let due = *count >= USES || begun.elapsed() >= USES_WAIT;
        if due {
            (*count, *since) = (0, None);
        }
        due
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("opened", &self.opened.load()).finish_non_exhaustive()
    }
}

impl Guard {
    /// Opens a backend, now or when its server answers.
    ///
    /// # Errors
    /// Those of `open` that do not go away by waiting.
    pub(super) fn open(known: Known, open: Open) -> Result<Self> {
        let guard = Self::of(known, open, None);
        match guard.backend() {
            Err(error) if error.is_unavailable() => {
                guard.breaker.fail(Instant::now());
                emit(&format!("cacheness: {error}; it is tried again later"));
                guard.unanswered.store(Some(Arc::new(error)));
            }
            opened => drop(opened?),
        }
        Ok(guard)
    }

    /// Guards a backend that is open.
    pub(super) fn over(rows: Arc<dyn MetadataBackend>) -> Self {
        let known = Known { traits: rows.traits(), footprint: u64::saturating_add };
        let open: Open = Box::new(|| Err(CacheError::new(ErrorKind::Closed, "the cache is closed")));
        Self::of(known, open, Some(rows))
    }

    fn of(known: Known, open: Open, opened: Option<Arc<dyn MetadataBackend>>) -> Self {
        let opened = ArcSwapOption::new(opened.map(Arc::new));
        let (reopened, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        Self {
            known,
            open,
            opened,
            reopened,
            breaker: Breaker::default(),
            unanswered: ArcSwapOption::empty(),
            closed,
            noted: Noted::default(),
        }
    }

    fn opened(&self) -> Option<Arc<dyn MetadataBackend>> {
        self.opened.load().as_deref().map(Arc::clone)
    }

    fn backend(&self) -> Result<Arc<dyn MetadataBackend>> {
        if let Some(opened) = self.opened() {
            return Ok(opened);
        }
        // Of two that open it at a time, one lets go again.
        let opened = Arc::new((self.open)()?);
        let before = self.opened.compare_and_swap(&None::<Arc<_>>, Some(Arc::clone(&opened)));
        Ok(Arc::clone(before.as_deref().unwrap_or(&opened)))
    }

    /// Lets go of a backend that has closed itself, because its server is another one by now.
    fn leave(&self, closed: &Arc<dyn MetadataBackend>) {
        let there = self.opened.load();
        if there.as_deref().is_some_and(|there| Arc::ptr_eq(there, closed)) {
            // Others have missed what happened to its rows.
            self.reopened.fetch_add(closed.epoch().wrapping_add(1), Ordering::SeqCst);
            self.opened.compare_and_swap(&*there, None);
        }
    }

    /// Has the backend note or do something of which it may tell nobody: that says nothing of the server, and is not tried
    /// while that is not asked.
    fn aside<R>(&self, call: impl FnOnce(&dyn MetadataBackend) -> Result<R>) -> Result<R> {
        match self.opened() {
            _ if self.closed.load(Ordering::SeqCst) => Err(CacheError::new(ErrorKind::Closed, "the cache is closed")),
            Some(rows) if self.breaker.is_closed() => match call(&*rows) {
                Err(error) if error.is_closed() => Err(self.unavailable()),
                done => done,
            },
            _ => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> CacheError {
        let why = self.unanswered.load().as_ref().map_or(String::new(), |error| format!(" ({error})"));
        let message = format!("the server of the metadata backend `{}` does not answer{why}", self.known.traits.name);
        CacheError::new(ErrorKind::Unavailable, message)
    }

    fn ask<R>(&self, call: impl Fn(&dyn MetadataBackend) -> Result<R>) -> Result<R> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(CacheError::new(ErrorKind::Closed, "the cache is closed"));
        }
        let mut attempt = self.breaker.enter(Instant::now()).ok_or_else(|| self.unavailable())?;
        let answer = self.backend().and_then(|rows| match call(&*rows) {
            Err(error) if error.is_closed() && !self.closed.load(Ordering::SeqCst) => {
                self.leave(&rows);
                self.backend().and_then(|rows| call(&*rows))
            }
            answer => answer,
        });
        match &answer {
            Err(error) if error.is_unavailable() => self.unanswered.store(Some(Arc::new(error.clone()))),
            _ => attempt.answered = true,
        }
        answer
    }
}

impl MetadataBackend for Guard {
    fn traits(&self) -> Traits {
        self.known.traits
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.ask(|rows| rows.get(key))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.ask(|rows| rows.get_many(keys))
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        self.ask(|rows| rows.apply(changes))
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        self.ask(|rows| rows.page(scan, limit))
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.ask(|rows| rows.keys(after, limit))
    }

    fn select(&self, kind: &str, filter: &Filter, after: Option<&[u8]>, limit: usize) -> Result<Option<Vec<Row>>> {
        self.ask(|rows| rows.select(kind, filter, after, limit))
    }

    fn define(&self, schema: &Schema) -> Result<()> {
        self.ask(|rows| rows.define(schema))
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        let noted = self.aside(|rows| rows.used(uses));
        // Whoever reads does not wait until uses are written, nor does the thread that polls it.
        if self.noted.are_due(uses.len())
            && self.is_reachable()
            && let Some(rows) = self.opened.load_full()
            && !self.noted.is_writing.swap(true, Ordering::SeqCst)
        {
            let done = Done(Arc::clone(&self.noted.is_writing));
            later(move || {
                let _done = done;
                if let Err(error) = rows.used(&[]) {
                    log::debug!("uses of entries are not written: {error}");
                }
            });
        }
        noted
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        self.ask(|rows| rows.last_used(key))
    }

    fn totals(&self) -> Result<Totals> {
        self.ask(|rows| rows.totals())
    }

    fn bytes(&self) -> Result<u64> {
        self.aside(|rows| rows.bytes())
    }

    fn footprint(&self, row: u64, blob: u64) -> u64 {
        self.opened().map_or_else(|| (self.known.footprint)(row, blob), |rows| rows.footprint(row, blob))
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        self.ask(|rows| rows.state(name, swap))
    }

    fn epoch(&self) -> u64 {
        let own = self.breaker.outages().wrapping_add(self.reopened.load(Ordering::SeqCst));
        self.opened().map_or(own, |rows| own.wrapping_add(rows.epoch()))
    }

    fn changes(&self, since: u64) -> Result<Changes> {
        self.ask(|rows| rows.changes(since))
    }

    fn is_alone(&self) -> bool {
        self.opened().map_or(!self.known.traits.shared, |rows| rows.is_alone())
    }

    fn is_reachable(&self) -> bool {
        self.breaker.may_ask(Instant::now())
    }

    fn doubt_blobs(&self) {
        self.opened().iter().for_each(|rows| rows.doubt_blobs());
    }

    fn tidy(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        self.aside(|rows| rows.tidy(go_on))
    }

    fn flush(&self) -> Result<()> {
        if self.opened.load().is_none() && !self.closed.load(Ordering::SeqCst) {
            // Nothing was changed yet.
            return Ok(());
        }
        self.aside(|rows| rows.flush())
    }

    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.opened().map_or(Ok(()), |rows| rows.close())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::config::backends::BackendOptions;
    use crate::index::{MemoryMetadata, conformance, get_metadata_backend};
    use crate::util::breaker::{FAILURES, PAUSE};

    const KNOWN: Known = Known { traits: Traits::new("far").shared().waits(), footprint: |row, blob| row + blob };

    /// A server that is there when `up` says so, and how often it was asked for.
    fn guarded(up: &Arc<AtomicBool>) -> (Result<Guard>, Arc<AtomicU32>) {
        let (up, asked) = (Arc::clone(up), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&asked);
        let open: Open = Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            match up.load(Ordering::SeqCst) {
                true => Ok(Arc::new(MemoryMetadata::new())),
                false => Err(CacheError::new(ErrorKind::Unavailable, "connection refused")),
            }
        });
        (Guard::open(KNOWN, open), asked)
    }

    #[test]
    fn a_guarded_backend_conforms() {
        conformance::metadata_backend(|| {
            let open: Open = Box::new(|| get_metadata_backend("memory", &BackendOptions::new()));
            Ok(Arc::new(Guard::open(KNOWN, open)?))
        });
    }

    /// Rows that tell by which thread they were asked to write uses.
    #[derive(Debug)]
    struct Noting(MemoryMetadata, std::sync::mpsc::Sender<(usize, std::thread::ThreadId)>);

    impl MetadataBackend for Noting {
        fn traits(&self) -> Traits {
            KNOWN.traits
        }
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.0.get(key)
        }
        fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
            self.0.apply(changes)
        }
        fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
            self.0.page(scan, limit)
        }
        fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
            let _told = self.1.send((uses.len(), std::thread::current().id()));
            Ok(())
        }
        fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
            self.0.last_used(key)
        }
        fn totals(&self) -> Result<Totals> {
            self.0.totals()
        }
        fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
            self.0.state(name, swap)
        }
        fn flush(&self) -> Result<()> {
            self.0.flush()
        }
        fn close(&self) -> Result<()> {
            self.0.close()
        }
    }

    #[test]
    fn uses_are_written_by_a_thread_that_nobody_waits_for() {
        let (told, said) = std::sync::mpsc::channel();
        let rows = Mutex::new(Some(Noting(MemoryMetadata::new(), told)));
        let open: Open = Box::new(move || Ok(Arc::new(lock(&rows).take().expect("opened once"))));
        let guard = Guard::open(KNOWN, open).unwrap();
        let key: &[u8] = b"k";
        (0..USES).for_each(|_| guard.used(&[(key, Timestamp::MAX)]).unwrap());
        let mut all: Vec<_> = said.iter().take(USES + 1).collect();
        let writing = all.iter().position(|(uses, _)| *uses == 0).expect("it is asked to write");
        let (_, by) = all.remove(writing);
        assert!(all.iter().all(|(uses, thread)| *uses == 1 && *thread != by));
    }

    #[test]
    fn a_cache_opens_without_its_server_and_asks_it_when_it_is_there() {
        let up = Arc::new(AtomicBool::new(false));
        let (guard, asked) = guarded(&up);
        let guard = guard.unwrap();
        assert!((0..10).all(|_| guard.get(b"k").unwrap_err().is_unavailable()));
        let told = guard.get(b"k").unwrap_err().to_string();
        assert_eq!(told, "the server of the metadata backend `far` does not answer (connection refused)");
        assert_eq!(asked.load(Ordering::SeqCst), FAILURES, "the opening, and two calls");
        guard.flush().unwrap();
        up.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        while guard.get(b"k").is_err() {
            assert!(begin.elapsed() < PAUSE * 4);
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!((guard.totals().unwrap().entries, guard.epoch()), (0, 1), "changes may have been missed");
        guard.close().unwrap();
        assert!(guard.get(b"k").unwrap_err().is_closed());
    }

    #[test]
    fn a_backend_that_has_closed_itself_is_opened_anew_and_what_others_remember_is_forgotten() {
        let (guard, asked) = guarded(&Arc::new(AtomicBool::new(true)));
        let guard = guard.unwrap();
        let epoch = guard.epoch();
        guard.backend().unwrap().close().unwrap();
        guard.get(b"k").unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_ne!(guard.epoch(), epoch);
        guard.close().unwrap();
        assert!(guard.get(b"k").unwrap_err().is_closed());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_waiting_does_not_mend_is_an_error_at_once() {
        let open: Open = Box::new(|| Err(CacheError::new(ErrorKind::Conflict, "of another program")));
        assert!(Guard::open(KNOWN, open).unwrap_err().is_conflict());
    }
}
