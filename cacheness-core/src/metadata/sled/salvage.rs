//! Carrying over what can be believed of a damaged index.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::open::{begin_rebuilding, set_aside};
use super::shield::shielded;
use super::sums::Sums;
use super::{Contents, SledOptions, Trees};
use crate::entry::IndexKey;
use crate::error::Result;
use crate::metadata::Record;

/// A damaged database that gives nothing for this long is taken to hang.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sets the index aside and makes a new one of the records that can be believed: those whose own checksum is right and,
/// where the sums of the live records are known, whose bucket is complete. In an incomplete bucket a value that lies in a
/// blob is kept all the same, because the blob of a replaced or removed entry is gone.
pub(super) fn carry_over(options: &SledOptions, expected: Option<&[u64]>) -> Result<Contents> {
    begin_rebuilding(&options.root)?;
    let aside = set_aside(&options.root)?;
    let fresh = Trees::open(options)?;
    let found = Sums::new();
    // Without unwinding a panic of sled would end the process: the values in the index are given up then.
    if cfg!(panic = "unwind") {
        let options = options.clone();
        let (sender, receiver) = channel();
        // Where no thread can be had, the sender is dropped and nothing is carried over.
        let reader = thread::Builder::new().name("cacheness-salvage".to_owned());
        let _ = reader.spawn(move || read_damaged(&aside, &options, &sender));
        take_over(&fresh, &found, &receiver)?;
    }
    match expected {
        Some(expected) => keep_believed(fresh, &found, expected),
        None => take_stock(fresh, |_, _| true),
    }
}

/// Sends every record that can be read, from both ends if there is a hole.
fn read_damaged(index: &std::path::Path, options: &SledOptions, sender: &Sender<(IndexKey, Record)>) {
    let Ok(trees) = Trees::open_at(index, options) else { return };
    let send = |row: sled::Result<(sled::IVec, sled::IVec)>| -> sled::Result<()> {
        let (key, bytes) = row?;
        if let Some(found) = trees.whole(&key, &bytes) {
            // Nobody listens any more: the reader lost patience.
            let _ = sender.send(found);
        }
        Ok(())
    };
    let forwards = shielded("read the damaged index", || trees.entries.iter().try_for_each(send));
    if forwards.is_err() {
        let _ = shielded("read the damaged index backwards", || trees.entries.iter().rev().try_for_each(send));
    }
    if shielded("close the damaged index", || trees.db.flush()).is_err() {
        std::mem::forget(trees);
    }
}

fn take_over(fresh: &Trees, found: &Sums, receiver: &Receiver<(IndexKey, Record)>) -> Result<()> {
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok((key, record)) => {
                let previous =
                    shielded("rebuild the index", || fresh.entries.insert(key.as_bytes(), record.as_bytes()))?;
                if previous.is_none() {
                    found.put(&key, None, &record);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn keep_believed(fresh: Trees, found: &Sums, expected: &[u64]) -> Result<Contents> {
    take_stock(fresh, |key, record| record.blob().is_some() || found.agree_on(expected, key))
}

/// Drops what is not kept, and looks at all of the rest.
fn take_stock(trees: Trees, keep: impl Fn(&IndexKey, &Record) -> bool) -> Result<Contents> {
    let contents = super::open::take_stock(trees, keep)?;
    shielded("rebuild the index", || contents.trees.db.flush())?;
    Ok(contents)
}
