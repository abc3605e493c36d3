//! What processes at random work said they did, and what must follow of it.

use std::collections::HashMap;

/// What a process did: when it began and ended, by one clock.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "shown where a read is wrong")]
struct Write {
    /// `None` for an invalidation.
    stamp: Option<u64>,
    begun: u64,
    /// `None` if it was never acknowledged.
    ended: Option<u64>,
    /// Whose it was, and whether there was something to change.
    by: u64,
    changed: bool,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "shown where it is wrong")]
pub(super) struct Read {
    key: u64,
    value: Option<u64>,
    begun: u64,
    ended: u64,
    by: u64,
}

/// Everything that processes said they did, and what must follow of it.
#[derive(Debug, Default)]
pub struct Log {
    writes: HashMap<u64, Vec<Write>>,
    pub(super) reads: Vec<Read>,
    pub(super) errors: Vec<String>,
    pub(super) done: usize,
}

impl Log {
    pub fn read(&mut self, by: u64, output: &str) {
        let mut open: HashMap<(String, u64), Write> = HashMap::new();
        for line in output.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let number = |at: usize| words.get(at).and_then(|word: &&str| word.parse::<u64>().ok());
            match words[..] {
                // Cut off by a kill.
                ["begin", "put", ..] if words.len() == 5 => {
                    let (Some(key), stamp, Some(begun)) = (number(2), number(3), number(4)) else { continue };
                    open.insert(("put".into(), key), Write { stamp, begun, ended: None, by, changed: true });
                }
                ["begin", what, ..] if words.len() == 4 => {
                    let (Some(key), Some(begun)) = (number(2), number(3)) else { continue };
                    open.insert((what.into(), key), Write { stamp: None, begun, ended: None, by, changed: true });
                }
                ["get" | "always", _, value, _, _] if value != "none" && number(2).is_none() => {
                    self.errors.push(line.into())
                }
                ["get" | "always", ..] if words.len() == 5 => {
                    let (Some(key), Some(begun), Some(ended)) = (number(1), number(3), number(4)) else { continue };
                    self.reads.push(Read { key, value: number(2), begun, ended, by });
                    self.done += 1;
                }
                [what @ ("put" | "update"), _, _, outcome, _, _] => {
                    let key = number(1).unwrap();
                    let Some(write) = open.remove(&("put".to_owned(), key)) else { continue };
                    match outcome {
                        "true" => self.note(key, Write { ended: number(5), ..write }),
                        // Nothing was there to be updated.
                        "false" => assert_eq!(what, "update"),
                        _ => {
                            self.errors.push(line.into());
                            self.note(key, write);
                        }
                    }
                }
                [what @ ("invalidate" | "clear"), _, outcome, _, _] => {
                    let key = number(1).unwrap();
                    let Some(write) = open.remove(&(what.to_owned(), key)) else { continue };
                    let failed = outcome.starts_with("error");
                    let write = Write { ended: number(4).filter(|_| !failed), changed: outcome == "true", ..write };
                    if failed {
                        self.errors.push(line.into());
                    }
                    let keys = if what == "clear" { 0..12 } else { key..key + 1 };
                    keys.for_each(|key| self.note(key, write));
                }
                _ if line.contains("error:") => self.errors.push(line.into()),
                _ => self.done += 1,
            }
        }
        for ((what, key), write) in open {
            let keys = if what == "clear" { 0..12 } else { key..key + 1 };
            keys.for_each(|key| self.note(key, write));
        }
    }

    fn note(&mut self, key: u64, write: Write) {
        self.done += 1;
        self.writes.entry(key).or_default().push(write);
    }

    /// Reads that no order of what was said explains.
    pub fn wrong(&mut self) -> Vec<String> {
        self.writes.values_mut().for_each(|writes| writes.sort_by_key(|write| write.begun));
        let histories: HashMap<_, _> = self.writes.iter().map(|(key, writes)| (*key, History::of(writes))).collect();
        let none = History::of(&[]);
        let fault = |read: &Read| histories.get(&read.key).unwrap_or(&none).fault(read);
        self.reads.iter().filter_map(fault).collect()
    }
}

/// The writes of a key in the order in which they began.
struct History<'l> {
    writes: &'l [Write],
    by_stamp: HashMap<u64, &'l Write>,
    /// Of all writes from a place on, the one that was acknowledged first.
    first_ended: Vec<Option<&'l Write>>,
}

impl<'l> History<'l> {
    fn of(writes: &'l [Write]) -> Self {
        let by_stamp = writes.iter().filter_map(|write| Some((write.stamp?, write))).collect();
        let mut first_ended = vec![None; writes.len() + 1];
        for (at, write) in writes.iter().enumerate().rev() {
            let others = [Some(write).filter(|write| write.ended.is_some()), first_ended[at + 1]];
            first_ended[at] = others.into_iter().flatten().min_by_key(|write| write.ended);
        }
        Self { writes, by_stamp, first_ended }
    }

    fn fault(&self, read: &Read) -> Option<String> {
        match read.value {
            Some(stamp) => {
                let Some(write) = self.by_stamp.get(&stamp) else {
                    return Some(format!("what was never put: {read:?}"));
                };
                // Surely after it was acknowledged, and acknowledged itself before the read began.
                let from = write.ended?;
                let later = self.first_ended[self.writes.partition_point(|later| later.begun <= from)];
                let over = later.filter(|later| later.ended.is_some_and(|at| at < read.begun));
                over.map(|later| format!("{write:?} after {later:?}: {read:?}"))
            }
            None => {
                let begun = self.writes.partition_point(|write| write.begun < read.begun);
                let puts = self.writes[..begun].iter().rev();
                let mut puts = puts.filter(|put| put.stamp.is_some() && put.ended.is_some_and(|at| at < read.begun));
                let put = puts.next()?;
                // Nothing says that it was invalidated since, or at the same time.
                let may_be_gone = |write: &Write| {
                    write.stamp.is_none() && write.begun < read.ended && write.ended.is_none_or(|at| at > put.begun)
                };
                let kept = !self.writes.iter().any(may_be_gone);
                kept.then(|| format!("a miss after {put:?}: {read:?}"))
            }
        }
    }
}
