//! A metadata backend over Redis: rows in the memory of a server that many machines share.
//!
//! Changes are one run of a script, with all that follows from them: places in the orders, totals, and a line in the list of
//! changes, by which other handles know what they must not believe any longer. All names of a namespace have one hash tag, so
//! that one slot of a cluster has them.
//!
//! A server may evict what it likes. A row that is gone is a miss, and is taken out of the orders by the scan that meets it.
//! If that is gone by which rows are found, all of them are: names of rows begin with a generation, each read asks for the
//! generation that is there, and the next one begins without rows.

#[cfg(test)]
mod lost_tests;
mod rows;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use redis::Value;

use super::backend::{Applied, Change, Changes, Expected, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use super::guard::Known;
use super::handle::{Uses, Writer, batch_of};
use crate::clock::Timestamp;
use crate::config::backends::BackendOptions;
use crate::config::redis::RedisOptions;
use crate::config::servers::TLS_CA_FILE;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::Warnings;
use crate::util::digest;
use crate::util::remote::Call;
use rows::{Answer, Walk, bytes_of, created_in, facts_of, footprint_of, sortable, used_in};
use server::{Again, Command, Refusal, SCRIPTS, Script, Server};

const READ: Call = Call::new(ErrorKind::Metadata, "read rows from Redis");
const WRITE: Call = Call::new(ErrorKind::Metadata, "write rows to Redis");
const OPEN: Call = Call::new(ErrorKind::Metadata, "open rows on Redis");

/// Of names and rows on the server. Another layout is another number.
const VERSION: u32 = 1;
/// Rows that are asked for at once: while a script runs, a server does nothing else.
const PAGE: usize = 256;
const USES_AT_ONCE: usize = 256;
/// So often a call follows others that begin new generations.
const MOST_GENERATIONS: usize = 4;

/// What a script says of the generation that it was asked about.
const OTHER_GENERATION: u64 = 0;
const DONE: u64 = 1;

/// Rows on a Redis server.
pub(crate) struct RedisMetadata {
    server: Server,
    /// What all names begin with; also the name of what tells the generation.
    base: String,
    /// The version, a colon, and a name that no other generation ever has.
    generation: ArcSwap<String>,
    /// How often it was another one.
    epoch: AtomicU64,
    /// Rows that the server was found to have evicted.
    lost: AtomicU64,
    /// What all rows took after the last change of this handle; `u64::MAX` before the first one.
    bytes: AtomicU64,
    /// Tells the changes of this handle from those of others.
    writer: Writer,
    uses: Uses,
    warnings: Warnings,
}

impl fmt::Debug for RedisMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RedisMetadata");
        debug.field("server", &self.server.address()).field("base", &self.base).finish_non_exhaustive()
    }
}

impl RedisMetadata {
    pub(super) const KNOWN: Known =
        Known { traits: Traits::new("redis").persistent().shared().waits(), footprint: footprint_of };

    /// Opens the rows of a namespace on the server that the options name.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if an option makes no sense, the server lets nobody in by it, or is no Redis server;
    /// [`Conflict`](ErrorKind::Conflict) if the names belong to another program or a newer release;
    /// [`Metadata`](ErrorKind::Metadata) if the server cannot be reached.
    pub(crate) fn open(options: &BackendOptions) -> Result<Self> {
        let settings = RedisOptions::of(options)?;
        let rows = Self {
            server: Server::new(&settings).map_err(|rule| options.refused(TLS_CA_FILE, &rule))?,
            base: format!("cacheness:{{{}}}", settings.namespace),
            generation: ArcSwap::default(),
            epoch: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            bytes: AtomicU64::new(u64::MAX),
            writer: Writer::new(),
            uses: Uses::default(),
            warnings: Warnings::default(),
        };
        let answer = rows.server.try_ask(OPEN, rows.begin(""))?;
        let answer = answer.map_err(|refusal| match refusal {
            Refusal::Locked(_) | Refusal::Stranger(_) | Refusal::Untrusted(_) | Refusal::Old => {
                options.refused("connection_url", &refusal.to_string())
            }
            Refusal::Server { code, .. } if code == "WRONGTYPE" => rows.of_another_program(),
            refusal if refusal.is_outage() => OPEN.of_kind(ErrorKind::Unavailable).failed(refusal),
            refusal => OPEN.failed(refusal),
        })?;
        rows.generation.store(Arc::new(rows.checked(answer.0)?));
        Ok(rows)
    }

    fn of_another_program(&self) -> CacheError {
        let message = format!(
            "`{}` on the Redis server {} belongs to another program: choose another metadata.options.namespace",
            self.base,
            self.server.address()
        );
        CacheError::new(ErrorKind::Conflict, message)
    }

    /// Begins a generation where there is none, or where there is only this one, which is over.
    fn begin(&self, over: &str) -> Command {
        let name = digest::unique_name();
        // Random, so that the numbers of changes of two generations are far from each other.
        let first = digest::checksum(name.as_bytes()) >> 16;
        let new = format!("{VERSION}:{:016x}", digest::checksum(name.as_bytes()));
        let command = Command::script(&SCRIPTS.begin, &self.base).arg(over.as_bytes());
        command.arg(new.as_bytes()).arg(first.to_string().as_bytes())
    }

    /// The generation that an answer tells, if this release knows it.
    fn checked(&self, answer: Value) -> Result<String> {
        let text = bytes_of(answer)?.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
        match text.split_once(':').map(|(version, _)| version.parse::<u32>()) {
            Some(Ok(VERSION)) => Ok(text),
            Some(Ok(version)) => {
                let message = format!(
                    "the rows `{}` on the Redis server {} have the format {version}, and this release reads {VERSION}: use \
                     the release that wrote them, or another metadata.options.namespace",
                    self.base,
                    self.server.address()
                );
                Err(CacheError::new(ErrorKind::Conflict, message))
            }
            _ => Err(self.of_another_program()),
        }
    }

    /// Goes on in the generation that is there.
    fn follow(&self, known: &Arc<String>, over: &str) -> Result<()> {
        let there = self.checked(self.server.ask(READ, self.begin(over))?)?;
        let before = self.generation.load_full();
        if *before != there && Arc::ptr_eq(&before, known) {
            self.generation.store(Arc::new(there));
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Runs a script in the generation that is there. `with` gives it its arguments.
    fn run(&self, call: Call, script: &'static Script, with: impl Fn(Command) -> Command) -> Result<Answer> {
        for _ in 0..MOST_GENERATIONS {
            let known = self.generation.load_full();
            let command = Command::script(script, &self.base).arg(known.as_bytes());
            let (answer, is_second) = self.server.ask_telling(call, with(command))?;
            let mut answer = Answer::of(answer)?;
            answer.is_second = is_second;
            match answer.number()? {
                DONE => return Ok(answer),
                OTHER_GENERATION => self.follow(&known, "")?,
                _ => {
                    let message = format!(
                        "the Redis server {} has evicted what finds rows: all entries of `{}` are given up. Give it more \
                         memory, or `maxmemory-policy noeviction`",
                        self.server.address(),
                        self.base
                    );
                    self.warn(&CacheError::new(ErrorKind::Metadata, message));
                    self.follow(&known, &known)?;
                }
            }
        }
        Err(call.failed("the rows of the server are lost again and again"))
    }

    fn warn(&self, error: &CacheError) {
        self.warnings.tell("find its rows", error);
    }

    fn row_name(&self, generation: &str, key: &[u8]) -> Vec<u8> {
        [self.base.as_bytes(), b":", generation.as_bytes(), b":row:", key].concat()
    }

    /// The rows of keys, and the generation, by one round trip.
    fn read(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        for _ in 0..MOST_GENERATIONS {
            let known = self.generation.load_full();
            let mut command = redis::cmd("MGET");
            command.arg(&self.base);
            keys.iter().for_each(|key| _ = command.arg(self.row_name(&known, key)));
            let mut answer = Answer::of(self.server.ask(READ, Command::read(command))?)?;
            if answer.bytes()?.as_deref() == Some(known.as_bytes()) {
                return keys.iter().map(|_| answer.bytes()).collect();
            }
            self.follow(&known, "")?;
        }
        Err(READ.failed("the rows of the server are lost again and again"))
    }

    /// Makes changes by one run of a script: all put rows in, or all remove some.
    fn apply_batch(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let puts = changes.iter().any(|change| change.row.is_some());
        let script = if puts { &SCRIPTS.put } else { &SCRIPTS.remove };
        let again = if matches!(changes, [change] if is_guarded(change)) { Again::Once } else { Again::Never };
        let writer = format!("{:016x}", self.writer.number());
        let mut answer = self.run(WRITE, script, |command| {
            let command = command.arg(writer.as_bytes()).again(again);
            changes.iter().fold(command, |command, change| self.with_change(command, change))
        })?;
        self.bytes.store(answer.number()?, Ordering::SeqCst);
        changes.iter().map(|change| self.applied(change, &mut answer)).collect()
    }

    fn with_change(&self, command: Command, change: &Change<'_>) -> Command {
        let (expected, bytes): (&str, &[u8]) = match change.expected {
            Expected::Anything => ("any", &[]),
            Expected::Absent => ("absent", &[]),
            Expected::Bytes(bytes) => ("bytes", bytes),
        };
        let used = self.uses.of(change.key).map(|at| sortable(Timestamp::from_micros(at)));
        let facts = change.row.map(|(row, facts)| facts_of(row, facts)).unwrap_or_default();
        let command = command.arg(change.key).arg(expected.as_bytes()).arg(bytes);
        let command = command.arg(used.as_ref().map_or(&[][..], |used| used)).arg(&facts);
        command.arg(change.row.map_or(&[][..], |(row, _)| row))
    }

    fn applied(&self, change: &Change<'_>, answer: &mut Answer) -> Result<Applied> {
        let (made, unsettled) = (answer.number()? == 1, answer.number()? == 1);
        self.lost.fetch_add(answer.number()?, Ordering::SeqCst);
        let previous = answer.bytes()?;
        if !made && answer.is_second {
            return self.made_before(change, unsettled);
        }
        if !made {
            return Ok(Applied { unsettled, ..Applied::NOT_MADE });
        }
        self.uses.take(change.key);
        Ok(Applied { unsettled, ..Applied::made(previous) })
    }

    /// What a guarded change did that was sent twice and not made the second time: if its row is there, it was made the first
    /// time.
    fn made_before(&self, change: &Change<'_>, unsettled: bool) -> Result<Applied> {
        let there = self.get(change.key)?;
        let previous = match change.expected {
            Expected::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        match change.row {
            Some((row, _)) if there.as_deref() == Some(row) => Ok(Applied { unsettled, ..Applied::made(previous) }),
            _ => Err(WRITE.failed("the connection was lost, and whether the change was made is not known")),
        }
    }

    /// Goes along an order until there are `limit` rows. `take` takes what a page has, and says how much that was.
    fn walk(
        &self,
        scan: &Scan<'_>,
        limit: usize,
        what: &str,
        mut take: impl FnMut(Answer) -> Result<usize>,
    ) -> Result<()> {
        let (mut walk, mut wanted) = (Walk::of(scan), limit);
        while wanted > 0 {
            let page = wanted.min(PAGE);
            let way: &[u8] = if walk.down { b"down" } else { b"up" };
            let mut answer = self.run(READ, &SCRIPTS.page, |command| {
                let command = command.arg(&walk.from).arg(&walk.to).arg(way);
                command.arg(walk.prefix.to_string().as_bytes()).arg(page.to_string().as_bytes()).arg(what.as_bytes())
            })?;
            let (ended, last) = (answer.number()? == 1, answer.bytes()?);
            self.lost.fetch_add(answer.number()?, Ordering::SeqCst);
            wanted = wanted.saturating_sub(take(answer.list()?)?);
            match last {
                Some(last) if !ended => walk.from = [b"(", &last[..]].concat(),
                _ => break,
            }
        }
        Ok(())
    }

    /// Writes the uses that wait.
    fn write_uses(&self) -> Result<()> {
        let uses: Vec<_> = self.uses.take_all().into_iter().collect();
        for uses in uses.chunks(USES_AT_ONCE) {
            self.run(WRITE, &SCRIPTS.used, |command| {
                uses.iter()
                    .fold(command, |command, (key, at)| command.arg(key).arg(&sortable(Timestamp::from_micros(*at))))
            })?;
        }
        Ok(())
    }
}

/// Whether a change that was made is not made once more.
fn is_guarded(change: &Change<'_>) -> bool {
    match change.expected {
        Expected::Anything => false,
        Expected::Absent => change.row.is_some(),
        Expected::Bytes(bytes) => change.row.is_none_or(|(row, _)| row != bytes),
    }
}

impl MetadataBackend for RedisMetadata {
    fn traits(&self) -> Traits {
        Self::KNOWN.traits
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.read(&[key])?.pop().flatten())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.read(keys)
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let mut applied = Vec::with_capacity(changes.len());
        for alike in changes.chunk_by(|one, next| one.row.is_some() == next.row.is_some()) {
            let mut left = alike;
            while !left.is_empty() {
                let (batch, rest) = left.split_at(batch_of(left));
                applied.extend(self.apply_batch(batch).inspect_err(|_| self.writer.renew())?);
                left = rest;
            }
        }
        Ok(applied)
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        if *scan == Scan::LeastUsed {
            self.write_uses()?;
        }
        let mut rows = Vec::new();
        self.walk(scan, limit, "rows", |page| {
            let page = page.rows()?;
            let count = page.len();
            rows.extend(page);
            Ok(count)
        })?;
        Ok(self.uses.told(rows))
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        let mut keys: Vec<Arc<[u8]>> = Vec::new();
        self.walk(&Scan::Keys { after }, limit, "keys", |page| {
            let page = page.keys()?;
            let count = page.len();
            keys.extend(page.into_iter().map(Arc::from));
            Ok(count)
        })?;
        Ok(keys)
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        self.uses.note(uses);
        // By a call of its own, for which nobody waits.
        if uses.is_empty() { self.write_uses() } else { Ok(()) }
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        let mut command = redis::cmd("HGET");
        command.arg(format!("{}:{}:facts", self.base, self.generation.load())).arg([b"r", key].concat());
        let facts = bytes_of(self.server.ask(READ, Command::read(command))?)?;
        // Of a row that is not there nothing is known.
        Ok(facts.and_then(|facts| self.uses.of(key).map(Timestamp::from_micros).or_else(|| used_in(&facts))))
    }

    fn totals(&self) -> Result<Totals> {
        let mut answer = self.run(READ, &SCRIPTS.totals, |command| command)?;
        let (entries, bytes) = (answer.number()?, answer.number()?);
        let mut time = || Ok::<_, CacheError>(answer.bytes()?.and_then(|member| created_in(&member)));
        let created = time()?.zip(time()?);
        Ok(Totals { entries, bytes, created, lost: self.lost.load(Ordering::SeqCst) })
    }

    fn bytes(&self) -> Result<u64> {
        match self.bytes.load(Ordering::SeqCst) {
            u64::MAX => Ok(self.totals()?.bytes),
            bytes => Ok(bytes),
        }
    }

    fn footprint(&self, row: u64, blob: u64) -> u64 {
        footprint_of(row, blob)
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let Some(swap) = swap else {
            let mut command = redis::cmd("HGET");
            command.arg(format!("{}:state", self.base)).arg(name);
            return bytes_of(self.server.ask(READ, Command::read(command))?);
        };
        let command = Command::script(&SCRIPTS.state, &self.base).arg(b"").arg(name.as_bytes());
        let with = |command: Command, value: Option<&[u8]>| match value {
            Some(value) => command.arg(b"some").arg(value),
            None => command.arg(b"none").arg(b""),
        };
        let command = with(with(command, swap.expected), swap.new);
        bytes_of(self.server.ask(WRITE, command.again(Again::Never))?)
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst).saturating_add(self.server.reconnections())
    }

    fn changes(&self, since: u64) -> Result<Changes> {
        let writer = format!("{:016x}", self.writer.number());
        let mut answer = self
            .run(READ, &SCRIPTS.changes, |command| command.arg(since.to_string().as_bytes()).arg(writer.as_bytes()))?;
        let (mark, are_known) = (answer.number()?, answer.number()? == 1);
        let keys = answer.list()?.keys()?;
        Ok(Changes { mark, keys: are_known.then_some(keys) })
    }

    fn flush(&self) -> Result<()> {
        self.server.check_open()?;
        self.write_uses()
    }

    fn close(&self) -> Result<()> {
        if self.server.check_open().is_err() {
            return Ok(());
        }
        let flushed = self.flush();
        self.server.close();
        flushed
    }
}
