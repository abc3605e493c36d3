//! Whether copies of rows are current: what others have changed is asked for, and what is not known is compared.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Tier;
use crate::error::{CacheError, Result};
use crate::index::backend::{Changes, MetadataBackend, Swap};
use crate::util::digest::unique_name;
use crate::util::threads::lock;

/// Where rows on a server say which ones they are, and where copies say of which rows, and up to which of their changes.
const ROWS_STATE: &str = "cacheness.rows";
pub(super) const COPIES_STATE: &str = "cacheness.copies";

/// Copies that are compared whenever others are asked what they have changed.
const COMPARED_AT_ONCE: usize = 64;

impl Tier {
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the server does not answer, of which nothing is known yet.
    #[inline]
    pub(super) fn is_current(&self) -> Result<bool> {
        if self.lease.is_running() { Ok(true) } else { self.renew() }
    }

    #[cold]
    pub(super) fn renew(&self) -> Result<bool> {
        let mut outage = None;
        let ask = |mark| {
            let asked = self.ask(mark);
            asked.map_err(|error| outage = Some(error).filter(CacheError::is_unavailable)).ok()
        };
        match (self.lease.renew(ask), outage) {
            (false, Some(outage)) => Err(outage),
            (is_current, _) => Ok(is_current),
        }
    }

    /// Before a close: else the next process would hear of what this one has changed since it asked last, and doubt it.
    pub(super) fn ask_once_more(&self) {
        if self.is_recognised() {
            self.lease.prolong(|mark| self.ask(mark).ok());
        }
    }

    pub(super) fn is_recognised(&self) -> bool {
        self.is_recognised.load(Ordering::SeqCst)
    }

    /// Asks what others have changed since `mark`, takes the copies of that out, and returns the mark of now. A server that does
    /// not answer lets copies be used on: nobody can have been told that a value is gone, for that the server is needed.
    pub(super) fn ask(&self, mark: u64) -> Result<u64> {
        let is_recognised = self.is_recognised();
        let mark = if is_recognised { mark } else { self.recognise()? };
        match self.shared.changes(mark) {
            Err(error) if error.is_unavailable() && is_recognised => Ok(mark),
            Err(error) => Err(error),
            Ok(Changes { mark, keys }) => {
                if !is_recognised {
                    self.followed.store(self.shared.epoch(), Ordering::SeqCst);
                    self.is_recognised.store(true, Ordering::SeqCst);
                }
                self.heed(keys.as_deref());
                self.compare_some();
                Ok(mark)
            }
        }
    }

    /// Tells what others have changed to who has asked by a mark of its own, which this tier gave out before or which is 0.
    /// Whatever is told to anybody was heeded here: else an old copy would be taken for what came after it.
    pub(super) fn changes(&self, since: u64) -> Result<Changes> {
        let mut told = Ok(Changes::UNKNOWN);
        self.lease.prolong(|own| {
            told = self.changes_by(since, own);
            told.as_ref().ok().map(|changes| changes.mark)
        });
        told
    }

    pub(super) fn changes_by(&self, since: u64, own: u64) -> Result<Changes> {
        if since != 0 && self.is_recognised() {
            let changes = self.shared.changes(since)?;
            if changes.keys.is_some() {
                self.heed(changes.keys.as_deref());
                self.compare_some();
                return Ok(changes);
            }
        }
        // Who asks remembers nothing yet, or has missed too much; this tier may have not.
        Ok(Changes { mark: self.ask(own)?, keys: None })
    }

    pub(super) fn heed(&self, keys: Option<&[Vec<u8>]>) {
        match keys {
            Some(keys) => keys.iter().for_each(|key| self.forget(key)),
            None => self.doubt(),
        }
        // Read afterwards: what was missed by now is doubted now.
        let epoch = self.shared.epoch();
        if self.followed.swap(epoch, Ordering::SeqCst) != epoch {
            self.doubt();
        }
    }

    /// Believes no copy of a row until it was compared; blobs stay what they are.
    pub(super) fn doubt(&self) {
        {
            // Held by who compares, and may be about to end a doubt.
            let mut up_to = lock(&self.compared_up_to);
            self.turns.doubt_all();
            *up_to = None;
        }
        if let Err(error) = self.save(0) {
            self.give_up("note that copies are not current", &error);
        }
    }

    /// Compares the next few copies with their rows, while they are doubted. So a doubt ends, and what is not asked for can be
    /// believed the next time.
    pub(super) fn compare_some(&self) {
        if !self.turns.is_doubtful() || !self.may_copy() {
            return;
        }
        let mut up_to = lock(&self.compared_up_to);
        let Ok(keys) = self.rows.keys(up_to.as_deref(), COMPARED_AT_ONCE) else { return };
        let some: Vec<&[u8]> = keys.iter().map(|key| &**key).filter(|key| !self.turns.is_believed(key)).collect();
        let tokens: Vec<_> = some.iter().map(|key| self.token(key)).collect();
        let rows = if some.is_empty() { Ok(Vec::new()) } else { self.shared.get_many(&some) };
        let Ok(rows) = rows.inspect_err(|error| log::debug!("copies are not compared: {error}")) else { return };
        for ((key, token), row) in some.iter().zip(tokens).zip(rows) {
            self.keep(key, row.as_deref(), token);
        }
        if some.iter().any(|key| !self.turns.is_believed(key) && self.near(key).is_some()) {
            return;
        }
        match keys.last() {
            Some(last) if keys.len() == COMPARED_AT_ONCE => *up_to = Some(Arc::clone(last)),
            _ => self.turns.end_doubt(),
        }
    }

    /// Asks the shared rows who they are, and returns the mark up to which the copies follow them.
    pub(super) fn recognise(&self) -> Result<u64> {
        let id = match self.shared.state(ROWS_STATE, None)? {
            Some(id) => Some(id),
            None => {
                self.shared.state(ROWS_STATE, Some(Swap { expected: None, new: Some(unique_name().as_bytes()) }))?
            }
        };
        let id = String::from_utf8_lossy(&id.unwrap_or_default()).into_owned();
        let saved = self.rows.state(COPIES_STATE, None).ok().flatten();
        let mark = saved.as_deref().and_then(|saved| mark_in(saved, &id)).filter(|_| !self.turns.is_doubtful());
        *lock(&self.recognised) = Some(id);
        match mark {
            Some(mark) if mark != 0 => Ok(mark),
            _ => {
                self.doubt();
                Ok(0)
            }
        }
    }

    /// Notes up to which change the copies on the disk follow the shared rows: 0, if that is not known.
    pub(super) fn save(&self, mark: u64) -> Result<()> {
        // Held to the end: what is doubted meanwhile is noted afterwards.
        let id = lock(&self.recognised);
        let Some(id) = &*id else { return Ok(()) };
        let mark = if self.turns.is_doubtful() { 0 } else { mark };
        let saved = self.rows.state(COPIES_STATE, None)?;
        let text = format!("{id} {mark}").into_bytes();
        if saved.as_ref() != Some(&text) {
            self.rows.state(COPIES_STATE, Some(Swap { expected: saved.as_deref(), new: Some(&text) }))?;
        }
        Ok(())
    }

    pub(super) fn give_up(&self, doing: &str, error: &CacheError) {
        if !error.is_closed() && !self.given_up.swap(true, Ordering::SeqCst) {
            self.warnings.tell(&format!("{doing}, and goes on without the local tier"), error);
        }
    }
}

/// The mark of copies that are of the rows that call themselves so.
fn mark_in(saved: &[u8], id: &str) -> Option<u64> {
    let (of, mark) = std::str::from_utf8(saved).ok()?.rsplit_once(' ')?;
    if of == id { mark.parse().ok() } else { None }
}
