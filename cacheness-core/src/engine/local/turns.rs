//! Which rows may be copied, and which copies are believed: what one thread reads must not come to lie over what another one, or
//! another machine, has changed since.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::util::threads::lock;

const SHARDS: usize = 64;

/// Changes of keys, by what their hashes end with.
#[derive(Debug)]
pub(super) struct Turns {
    shards: [Mutex<Shard>; SHARDS],
    /// Whether no copy is believed that was not compared.
    doubtful: AtomicBool,
}

#[derive(Debug, Default)]
struct Shard {
    /// Grows with each change that was begun or heard of.
    changes: u64,
    /// Changes that are being made by this process.
    running: u32,
    /// Keys of the copies that were made or compared since all were doubted.
    compared: HashSet<Box<[u8]>>,
}

/// Permission to copy a row that is read from now on, unless its key may have been changed meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token(u64);

/// A change that this process makes: nothing is copied for its key meanwhile.
#[derive(Debug)]
pub(super) struct Changing<'a> {
    shard: &'a Mutex<Shard>,
    number: u64,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), doubtful: AtomicBool::new(false) }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        // A key begins with its hash.
        let hash = key.first_chunk().copied().map_or(0, u64::from_be_bytes);
        &self.shards[hash as usize % SHARDS]
    }

    #[inline]
    pub(super) fn is_believed(&self, key: &[u8]) -> bool {
        !self.doubtful.load(Ordering::Acquire) || lock(self.shard(key)).compared.contains(key)
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    /// From now on a copy is believed when it was compared.
    pub(super) fn doubt_all(&self) {
        self.doubtful.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.changes += 1;
            shard.compared.clear();
        }
    }

    /// Every copy was compared.
    pub(super) fn end_doubt(&self) {
        self.doubtful.store(false, Ordering::SeqCst);
        self.shards.iter().for_each(|shard| lock(shard).compared.clear());
    }

    /// `None` while a change is being made: what is read now may be the row before it.
    pub(super) fn token(&self, key: &[u8]) -> Option<Token> {
        let shard = lock(self.shard(key));
        (shard.running == 0).then_some(Token(shard.changes))
    }

    /// Has `copy` make a copy, unless that comes too late; it says whether it did.
    pub(super) fn copy(&self, key: &[u8], token: Token, copy: impl FnOnce() -> bool) -> bool {
        let mut shard = lock(self.shard(key));
        shard.changes == token.0 && self.copy_in(&mut shard, key, copy)
    }

    fn copy_in(&self, shard: &mut MutexGuard<'_, Shard>, key: &[u8], copy: impl FnOnce() -> bool) -> bool {
        let copied = copy();
        if copied && self.is_doubtful() {
            shard.compared.insert(key.into());
        }
        copied
    }

    /// Has `forget` take out the copy of a row that has changed.
    pub(super) fn changed<R>(&self, key: &[u8], forget: impl FnOnce() -> R) -> R {
        let mut shard = lock(self.shard(key));
        shard.changes += 1;
        shard.compared.remove(key);
        forget()
    }

    /// [`changed`](Self::changed) by this process, until the result is dropped.
    fn change<R>(&self, key: &[u8], forget: impl FnOnce() -> R) -> (Changing<'_>, R) {
        let place = self.shard(key);
        let mut shard = lock(place);
        shard.changes += 1;
        shard.compared.remove(key);
        // Before it counts as running: a panic must not end it under this lock.
        let forgotten = forget();
        shard.running += 1;
        (Changing { shard: place, number: shard.changes }, forgotten)
    }

    /// [`change`](Self::change) of several keys, which are changed together: those that share a shard are one change there.
    pub(super) fn change_all<'k, R>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        forget: impl Fn(&[u8]) -> R,
    ) -> (Vec<Changing<'_>>, Vec<R>) {
        let (mut begun, mut met) = (Vec::<Changing<'_>>::new(), HashSet::new());
        let begin = |key| {
            let is_begun = begun.iter().any(|changing| std::ptr::eq(changing.shard, self.shard(key)));
            // What comes of a key that stands there twice is not copied: two changes are running then.
            if met.insert(key) && is_begun {
                let mut shard = lock(self.shard(key));
                shard.compared.remove(key);
                return forget(key);
            }
            let (changing, forgotten) = self.change(key, || forget(key));
            begun.push(changing);
            forgotten
        };
        let forgotten = keys.map(begin).collect();
        (begun, forgotten)
    }

    /// Ends one of these changes that was made: has `copy` make a copy of the new row, unless another change was begun or heard of
    /// since.
    pub(super) fn copy_changed(&self, key: &[u8], begun: &[Changing<'_>], copy: impl FnOnce() -> bool) -> bool {
        let Some(changing) = begun.iter().find(|changing| std::ptr::eq(changing.shard, self.shard(key))) else {
            return false;
        };
        let mut shard = lock(changing.shard);
        shard.changes == changing.number && shard.running == 1 && self.copy_in(&mut shard, key, copy)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        lock(self.shard).running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    const KEY: &[u8] = b"12345678k";

    #[test]
    fn what_was_read_before_a_change_or_during_it_is_not_copied() {
        let turns = Turns::new();
        let token = turns.token(KEY).unwrap();
        assert!(turns.copy(KEY, token, || true));
        turns.changed(KEY, || {});
        assert!(!turns.copy(KEY, token, || unreachable!()), "heard of since");
        let (changing, ()) = turns.change(KEY, || {});
        assert!(turns.token(KEY).is_none());
        assert!(turns.copy_changed(KEY, from_ref(&changing), || true));
        drop(changing);
        let (first, ()) = turns.change(KEY, || {});
        let (second, ()) = turns.change(KEY, || {});
        assert!(!turns.copy_changed(KEY, from_ref(&second), || unreachable!()), "the first may be made after it");
        drop(second);
        assert!(
            !turns.copy_changed(KEY, from_ref(&first), || unreachable!()),
            "the second may have been made after it"
        );
        drop(first);
        assert!(turns.token(KEY).is_some(), "both are over");
    }

    #[test]
    fn of_changes_that_are_made_together_all_are_copied_but_for_a_key_that_stands_there_twice() {
        let turns = Turns::new();
        // In one shard, and in another one.
        let keys: [&[u8]; 3] = [KEY, b"12345678l", b"12345679k"];
        let (begun, gone) = turns.change_all(keys.into_iter(), <[u8]>::len);
        assert_eq!((begun.len(), gone), (2, vec![9, 9, 9]));
        assert!(keys.iter().all(|key| turns.token(key).is_none() && turns.copy_changed(key, &begun, || true)));
        let (other, ()) = turns.change(KEY, || {});
        assert!(!turns.copy_changed(keys[1], &begun, || unreachable!()), "another change was begun");
        drop((begun, other));
        assert!(keys.iter().all(|key| turns.token(key).is_some()));
        let (begun, _) = turns.change_all([KEY, KEY, keys[2]].into_iter(), |_| ());
        assert!(!turns.copy_changed(KEY, &begun, || unreachable!()) && turns.copy_changed(keys[2], &begun, || true));
    }

    #[test]
    fn after_a_doubt_a_copy_is_believed_when_it_was_compared() {
        let turns = Turns::new();
        assert!(turns.is_believed(KEY));
        let before = turns.token(KEY).unwrap();
        turns.doubt_all();
        assert!(!turns.is_believed(KEY) && !turns.copy(KEY, before, || unreachable!()));
        assert!(turns.copy(KEY, turns.token(KEY).unwrap(), || true) && turns.is_believed(KEY));
        turns.changed(KEY, || {});
        assert!(!turns.is_believed(KEY));
    }
}
