//! Rows on a server, with copies of them on this machine.

use std::sync::Arc;

use super::{AFTER_A_DOUBTFUL_CHANGE, Tier};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::index::backend::{Applied, Change, Changes, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use crate::query::{Filter, Schema};

/// Answers for a key from its copy; everything else is the server's.
#[derive(Debug)]
pub(super) struct TieredRows {
    pub(super) tier: Arc<Tier>,
}

impl TieredRows {
    fn shared(&self) -> &dyn MetadataBackend {
        &*self.tier.shared
    }

    fn ask_many(&self, keys: &[&[u8]], rows: &mut [Option<Vec<u8>>], missing: &[usize]) -> Result<()> {
        let wanted: Vec<&[u8]> = missing.iter().map(|at| keys[*at]).collect();
        let tokens: Vec<_> = wanted.iter().map(|key| self.tier.token(key)).collect();
        let found = self.shared().get_many(&wanted)?;
        for ((at, token), row) in missing.iter().zip(tokens).zip(found) {
            self.tier.keep(keys[*at], row.as_deref(), token);
            rows[*at] = row;
        }
        Ok(())
    }
}

impl MetadataBackend for TieredRows {
    fn traits(&self) -> Traits {
        self.shared().traits()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(copy) = self.tier.copy_of(key)? {
            return Ok(Some(copy));
        }
        let token = self.tier.token(key);
        let row = self.shared().get(key)?;
        self.tier.keep(key, row.as_deref(), token);
        Ok(row)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut rows = keys.iter().map(|key| self.tier.copy_of(key)).collect::<Result<Vec<_>>>()?;
        let missing: Vec<usize> = (0..keys.len()).filter(|at| rows[*at].is_none()).collect();
        if !missing.is_empty() {
            self.ask_many(keys, &mut rows, &missing)?;
        }
        Ok(rows)
    }

    /// Copies go before the rows change: whoever is killed in between leaves none that nobody would be told of.
    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let tier = &self.tier;
        if !tier.is_recognised() {
            // So that what is put first is copied, too. Where it fails the change does, which takes the copy of its blob out.
            if let Err(error) = tier.renew() {
                log::debug!("the local tier is not used yet: {error}");
            }
        }
        let (begun, gone) = tier.turns.change_all(changes.iter().map(|change| change.key), |key| tier.remove_copy(key));
        tier.forget_uses(changes);
        let applied = self.shared().apply(changes);
        if applied.as_ref().is_err_and(|error| !error.is_closed()) {
            // It may be made later, and nobody would be told of a change of one's own.
            tier.resting.rest(AFTER_A_DOUBTFUL_CHANGE);
        }
        for (at, (change, gone)) in changes.iter().zip(gone).enumerate() {
            let made = applied.as_ref().is_ok_and(|applied| applied.get(at).is_some_and(|applied| applied.made));
            let new = change.row.map(|(bytes, _)| bytes);
            if !tier.end_change(change.key, gone.as_deref(), new.filter(|_| made), &begun) {
                // The blob was written before.
                tier.remove_blob_of(change.key, new, None);
            }
        }
        drop(begun);
        tier.make_room();
        applied
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        if *scan == Scan::LeastUsed {
            self.tier.tell_uses()?;
        }
        self.shared().page(scan, limit)
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.shared().keys(after, limit)
    }

    fn select(&self, kind: &str, filter: &Filter, after: Option<&[u8]>, limit: usize) -> Result<Option<Vec<Row>>> {
        self.shared().select(kind, filter, after, limit)
    }

    fn define(&self, schema: &Schema) -> Result<()> {
        self.shared().define(schema)
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        // A round trip for some uses each would be most of what a hit costs.
        let (told, untold): (Vec<_>, Vec<_>) = uses.iter().partition(|(key, at)| self.tier.is_first_use(key, *at));
        uses.iter().for_each(|(key, at)| self.tier.note_use(key, *at));
        self.tier.leave_untold(&untold);
        if told.is_empty() { Ok(()) } else { self.shared().used(&told) }
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        let untold = self.tier.untold_use(key);
        Ok(self.shared().last_used(key)?.map(|told| untold.map_or(told, |untold| untold.max(told))))
    }

    fn totals(&self) -> Result<Totals> {
        self.shared().totals()
    }

    fn bytes(&self) -> Result<u64> {
        self.shared().bytes()
    }

    fn footprint(&self, row: u64, blob: u64) -> u64 {
        self.shared().footprint(row, blob)
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        self.shared().state(name, swap)
    }

    fn epoch(&self) -> u64 {
        self.shared().epoch()
    }

    fn changes(&self, since: u64) -> Result<Changes> {
        self.tier.changes(since)
    }

    fn is_alone(&self) -> bool {
        self.shared().is_alone()
    }

    fn is_reachable(&self) -> bool {
        self.shared().is_reachable()
    }

    fn give_up_copy(&self, key: &[u8]) -> bool {
        let had_one = self.tier.near(key).is_some() || self.tier.rows.get(key).is_err();
        self.tier.forget(key);
        had_one
    }

    fn doubt_blobs(&self) {
        self.shared().doubt_blobs();
    }

    fn tidy(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        if let Err(error) = self.tier.rows.tidy(go_on) {
            log::debug!("the local tier is not written anew: {error}");
        }
        self.shared().tidy(go_on)
    }

    fn flush(&self) -> Result<()> {
        self.tier.flush_now_and_then();
        self.shared().flush()
    }

    fn close(&self) -> Result<()> {
        self.tier.ask_once_more();
        let closed = self.shared().close();
        self.tier.close();
        closed
    }
}
