//! Values in and out.

use super::custom::Claimed;
use super::engine::Engine;
use super::means::{Means, Way};
use super::recall::Look;
use super::{Cache, PutOptions};
use crate::codec::handler::{Shareable, Storable};
use crate::entry::{Entry, IndexKey};
use crate::error::Result;
use crate::index::Record;
use crate::key::{Key, ToKey};

/// Storing and fetching values.
impl Cache {
    /// Stores a value under a key, for the configuration's time to live. Returns the key.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if the value does not serialise or would not read back;
    /// [`Limit`](crate::ErrorKind::Limit) if key or value are over a limit, or the value alone over the size of the cache;
    /// [`Storage`](crate::ErrorKind::Storage), [`Metadata`](crate::ErrorKind::Metadata),
    /// [`Closed`](crate::ErrorKind::Closed); what [`ToKey`] says of the key. What was stored under the key before is then
    /// still there.
    pub fn put<T: Storable>(&self, key: impl ToKey, value: &T) -> Result<Key> {
        self.put_with(key, value, PutOptions::new())
    }

    /// Stores a value under a key, with options for this entry.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the time to live is zero or too long, if
    /// custom metadata of one kind is given twice, or if no handler of the given name is registered for the type;
    /// [`Conflict`](crate::ErrorKind::Conflict) if another entry has a value of custom metadata that must be unique;
    /// [`Limit`](crate::ErrorKind::Limit) if the options take more than `limits.max_header_bytes`.
    pub fn put_with<T: Storable>(&self, key: impl ToKey, value: &T, options: PutOptions) -> Result<Key> {
        let key = self.key(key)?;
        self.retain(&key, value, options, Means::stored())?;
        Ok(key)
    }

    /// The value under a key. `None` if there is none, if it expired, if it is damaged, or if it was stored as another
    /// type or by another version of the type.
    ///
    /// A value that was read stays in memory, and the next `get` returns a clone of it: keep large ones in an
    /// [`Arc`](std::sync::Arc). What is in memory is what is stored: who puts, removes or touches an entry takes its value
    /// out of memory first. Only what clones share, such as a lock in an `Arc`, must not be changed by callers: the next
    /// one gets it as changed. Read such values by [`get_stored`](Self::get_stored).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("large", &Arc::new(vec![0.5; 100_000]))?;
    /// let (first, second) = (cache.get::<Arc<Vec<f64>>>("large")?, cache.get::<Arc<Vec<f64>>>("large")?);
    /// assert!(Arc::ptr_eq(&first.expect("it was just stored"), &second.expect("it was just read")));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) or [`Metadata`](crate::ErrorKind::Metadata) if the cache cannot be read at
    /// all; [`Closed`](crate::ErrorKind::Closed); what [`ToKey`] says of the key.
    pub fn get<T: Shareable>(&self, key: impl ToKey) -> Result<Option<T>> {
        match key.as_key() {
            Some(key) => self.recall(key, None, Means::kept(), Look::First),
            None => self.recall(&self.key(key)?, None, Means::kept(), Look::First),
        }
    }

    /// [`get`](Self::get) from the store itself, whatever is in memory: for values that cannot be cloned or shared between
    /// threads, and those that should not stay in memory.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_stored<T: Storable>(&self, key: impl ToKey) -> Result<Option<T>> {
        self.recall(&self.key(key)?, None, Means::stored(), Look::First)
    }

    /// The value under a key with its entry.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with_metadata<T: Storable>(&self, key: impl ToKey) -> Result<Option<(T, Entry)>> {
        let described = self.describe(&self.index_key(key)?)?;
        self.engine()?.count(Look::First, described.is_some());
        Ok(described)
    }

    fn describe<T: Storable>(&self, key: &IndexKey) -> Result<Option<(T, Entry)>> {
        let engine = self.engine()?;
        let way = Way::chosen();
        let Some(mut found) = engine.find::<T>(key, None, way)? else { return Ok(None) };
        // Loading may find a newer record in the place of the one that was found: describe that.
        let raw = engine.load::<T>(key, &mut found)?;
        let entry = engine.describe(&found.record)?;
        Ok(engine.decode(raw, &found, way).map(|value| (value, entry)))
    }

    /// Replaces the value under a key, of whatever type it was, in one step: nobody sees a time without a value. What was
    /// said about the entry stays, and it lives on for its whole time to live. Says whether there was an entry that had
    /// not expired; if not, nothing is stored.
    ///
    /// ```
    /// use cacheness::cache::Expired;
    /// use cacheness::{Cache, PutOptions};
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// assert!(!cache.update_data("counter", &1u8)?);
    /// cache.put_with("counter", &1u8, PutOptions::new().tag("numbers"))?;
    /// assert!(cache.update_data("counter", &2u8)?);
    /// assert_eq!(cache.get::<u8>("counter")?, Some(2));
    /// assert_eq!(cache.get_metadata("counter", Expired::Skip)?.expect("it is there").tags(), ["numbers"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put). The old value is then still there.
    pub fn update_data<T: Storable>(&self, key: impl ToKey, value: &T) -> Result<bool> {
        let (engine, key) = (self.engine()?, self.index_key(key)?);
        let encoded = engine.encode(value, None, Way::chosen())?.encoded;
        engine.update(&key, std::any::type_name::<T>(), &encoded)
    }

    /// Stores the value of a key under another key as well, with everything that was said about it and for as long as it
    /// lives. What was there goes. Says whether there was an entry that had not expired.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`Conflict`](crate::ErrorKind::Conflict) if it has custom metadata with a unique value.
    pub fn copy(&self, from: impl ToKey, to: impl ToKey) -> Result<bool> {
        let (engine, from, to) = (self.engine()?, self.index_key(from)?, self.key(to)?);
        let copied = self.copy_entry(engine, &from, &to, false)?.is_some();
        engine.make_room(&IndexKey::of(&to));
        Ok(copied)
    }

    /// Moves the value of a key to another key, as [`copy`](Self::copy) and [`invalidate`](Self::invalidate) do: a crash
    /// in between leaves it under both. If the entry is touched meanwhile, it moves as it is then; another value that is put
    /// under the old key meanwhile stays there.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("draft", &1u8)?;
    /// assert!(cache.rename("draft", "final")?);
    /// assert_eq!((cache.get::<u8>("draft")?, cache.get::<u8>("final")?), (None, Some(1)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn rename(&self, from: impl ToKey, to: impl ToKey) -> Result<bool> {
        let (engine, from, to) = (self.engine()?, self.index_key(from)?, self.key(to)?);
        if from == IndexKey::of(&to) {
            return engine.is_fresh(&from);
        }
        let mut moved = false;
        // Held until the old entry is gone: two have one unique value at no time.
        while let Some((copied, _claimed)) = self.copy_entry(engine, &from, &to, true)? {
            moved = true;
            let removed = engine.store().remove_expected(&from, &copied);
            engine.make_room(&IndexKey::of(&to));
            if removed? || !engine.has_renewed(&from, &copied)? {
                break;
            }
        }
        Ok(moved)
    }

    /// Copies the value of `from`; returns the record that was copied, and what is claimed for the copy. The caller makes
    /// room.
    fn copy_entry<'e>(
        &self,
        engine: &'e Engine,
        from: &IndexKey,
        to: &Key,
        moves: bool,
    ) -> Result<Option<(Record, Option<Claimed<'e>>)>> {
        let Some(mut found) = engine.fresh(from, None)? else { return Ok(None) };
        let Some(stored) = engine.store().load_stored(from, &mut found)? else { return Ok(None) };
        let mut entry = found.record.entry()?;
        entry.key = IndexKey::of(to);
        entry.details.params = self.noted_params(to, Vec::new());
        let claimed = engine.claim(&entry.key, &entry.details, moves.then_some(from))?;
        engine.put_copied(&entry, &found.record, &stored)?;
        // As old as the original, and used just now: not the first to be evicted.
        engine.store().index().accessed(&entry.key, engine.now());
        Ok(Some((found.record, claimed)))
    }
}
