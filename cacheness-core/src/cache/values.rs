//! Values in and out by keys: one at a time, and many in one call.

use std::collections::BTreeSet;
use std::time::Duration;

use super::codec::ValueCodec;
use super::custom::Reserved;
use super::engine::Engine;
use super::{Attempt, Cache};
use crate::codec::handler::{Encoded, Raw, Shareable, Storable};
use crate::engine::memory::InsertToken;
use crate::engine::{Fence, Found};
use crate::entry::{Details, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::Record;
use crate::index::backend::changes_within;
use crate::key::{Key, ToKey};
use crate::query::{CustomMetadata, Schema};
use crate::util::threads::each_by;
use crate::value::{Metadata, Value};

/// What a put says about its entry, beside the value.
///
/// ```
/// use std::time::Duration;
/// use cacheness::{Cache, PutOptions};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// let options = PutOptions::new()
///     .ttl(Duration::from_secs(60))
///     .description("a model of last week")
///     .metadata("accuracy", 0.93);
/// cache.put_with("model", &vec![1u8, 2, 3], options)?;
/// let (_, entry) = cache.get_with_metadata::<Vec<u8>>("model")?.expect("it was just stored");
/// assert_eq!(entry.metadata()["accuracy"], 0.93.into());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PutOptions {
    /// How long the entry lives; the configuration's default if `None`.
    pub ttl: Option<Duration>,
    /// The function whose result this is; attributes fill it in.
    pub function: Option<String>,
    /// The namespace of the entry, by which it can be listed and cleared.
    pub prefix: Option<String>,
    /// A sentence for the reader of a listing.
    pub description: Option<String>,
    /// Groups that the entry belongs to.
    pub tags: Vec<String>,
    /// Values that describe the entry.
    pub metadata: Metadata,
    /// Name of the handler that writes the value; chosen by its type if `None`.
    pub handler: Option<String>,
    /// The arguments of the function whose result this is; attributes fill them in.
    pub(crate) params: Vec<(String, Value)>,
    /// Rows of custom metadata, each with what its type says of it.
    pub(crate) custom: Vec<(&'static Schema, Metadata)>,
    /// What the value is to take the place of, if not of whatever is there.
    pub(crate) fence: Option<Fence>,
}

impl PutOptions {
    /// Nothing but the value.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the entry lives.
    #[doc(alias = "ttl_seconds")]
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The function whose result this is.
    #[must_use]
    pub fn function(mut self, function: impl Into<String>) -> Self {
        self.function = Some(function.into());
        self
    }

    /// The namespace of the entry.
    #[doc(alias = "cache_key_prefix")]
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// A sentence for the reader of a listing.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a group.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds a value that describes the entry.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// The [handler](crate::Handler) that writes the value, by its name: one that is registered for the type of the value,
    /// `bincode` or `messagepack`. A name that is none of these is an error of the put, which lists them.
    #[must_use]
    pub fn handler(mut self, name: impl Into<String>) -> Self {
        self.handler = Some(name.into());
        self
    }

    /// Adds typed metadata that can be [queried](crate::Cache::query). An entry may have one row of each of several kinds;
    /// a second one of the same kind is an error of the put.
    #[doc(alias = "custom_metadata")]
    #[must_use]
    pub fn custom<E: CustomMetadata>(mut self, row: &E) -> Self {
        self.custom.push((E::SCHEMA, row.to_row()));
        self
    }

    /// The kinds of custom metadata that are given.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if one is given twice.
    pub(super) fn kinds(&self) -> Result<impl Iterator<Item = &'static Schema>> {
        let mut seen = BTreeSet::new();
        match self.custom.iter().find(|(schema, _)| !seen.insert(schema.name)) {
            None => Ok(self.custom.iter().map(|(schema, _)| *schema)),
            Some((schema, _)) => {
                let message = format!(
                    "custom metadata {:?} is given twice for one entry: an entry has one row of each kind",
                    schema.name
                );
                Err(CacheError::new(ErrorKind::InvalidArgument, message))
            }
        }
    }

    pub(super) fn into_details(self, data_type: &str, params: Vec<(String, Value)>) -> Details {
        let (kinds, rows) = self.custom.into_iter().map(|(schema, row)| (schema.name.to_owned(), row)).unzip();
        Details {
            data_type: data_type.to_owned(),
            function: self.function,
            prefix: self.prefix,
            description: self.description,
            tags: self.tags,
            kinds,
            metadata: self.metadata,
            rows,
            params,
            ..Details::default()
        }
    }
}

/// Storing and fetching values.
impl Cache {
    /// Stores a value under a key, for the configuration's time to live. Returns the key.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if the value does not serialise or would not read back;
    /// [`Limit`](crate::ErrorKind::Limit) if key or value are over a limit, or the value alone over the size of the cache;
    /// [`Storage`](crate::ErrorKind::Storage), [`Metadata`](crate::ErrorKind::Metadata),
    /// [`Unavailable`](crate::ErrorKind::Unavailable), [`Closed`](crate::ErrorKind::Closed); what [`ToKey`] says of the key. What was stored under the key before is then
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
        self.put_by_key(&key, value, options, ValueCodec::stored())?;
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
            Some(key) => self.get_by_key(key, None, ValueCodec::in_memory(), Attempt::First),
            None => self.get_by_key(&self.key(key)?, None, ValueCodec::in_memory(), Attempt::First),
        }
    }

    /// [`get`](Self::get) from the store itself, whatever is in memory: for values that cannot be cloned or shared between
    /// threads, and those that should not stay in memory.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_stored<T: Storable>(&self, key: impl ToKey) -> Result<Option<T>> {
        self.get_by_key(&self.key(key)?, None, ValueCodec::stored(), Attempt::First)
    }

    /// The value under a key with its entry.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with_metadata<T: Storable>(&self, key: impl ToKey) -> Result<Option<(T, Entry)>> {
        let key = self.index_key(key)?;
        let described = self.engine()?.excused(self.describe(&key), None)?;
        self.engine()?.count(Attempt::First, described.is_some());
        Ok(described)
    }

    fn describe<T: Storable>(&self, key: &IndexKey) -> Result<Option<(T, Entry)>> {
        let engine = self.engine()?;
        let codec = ValueCodec::stored();
        let Some(mut found) = engine.find::<T>(key, None, codec)? else { return Ok(None) };
        // Loading may find a newer record in the place of the one that was found: describe that.
        let raw = engine.load(key, &mut found, codec.taken())?;
        let entry = engine.describe(&found.record)?;
        Ok(engine.decode(raw, &found, codec)?.map(|value| (value, entry)))
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
        let encoded = engine.encode(value, None, ValueCodec::stored())?.encoded;
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
        while let Some((copied, _reserved)) = self.copy_entry(engine, &from, &to, true)? {
            moved = true;
            let removed = engine.store().remove_expected(&from, &copied);
            engine.make_room(&IndexKey::of(&to));
            if removed? || !engine.has_renewed(&from, &copied)? {
                break;
            }
        }
        Ok(moved)
    }

    /// Copies the value of `from`; returns the record that was copied, and the unique values reserved for the copy. The caller makes
    /// room.
    fn copy_entry<'e>(
        &self,
        engine: &'e Engine,
        from: &IndexKey,
        to: &Key,
        moves: bool,
    ) -> Result<Option<(Record, Option<Reserved<'e>>)>> {
        let Some(mut found) = engine.fresh(from, None)? else { return Ok(None) };
        let Some((mut entry, stored)) = engine.store().load_unsealed(from, &mut found)? else { return Ok(None) };
        entry.key = IndexKey::of(to);
        entry.details.params = self.noted_params(to, Vec::new());
        let reserved = engine.reserve_unique(&entry.key, &entry.details, moves.then_some(from))?;
        engine.put_copied(&entry, &found.record, &stored)?;
        // As old as the original, and used just now: not the first to be evicted.
        engine.store().index().accessed(&entry.key, engine.now());
        Ok(Some((found.record, reserved)))
    }
}

/// Many keys in one call.
impl Cache {
    /// The values under several keys, in the order of the keys; `None` where [`get`](Self::get) would say so.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put_batch([("one", &1u8), ("two", &2u8)])?;
    /// let found: Vec<_> = cache.get_batch::<u8, _>(["one", "three"])?.into_iter().map(|(_, value)| value).collect();
    /// assert_eq!(found, [Some(1), None]);
    /// assert_eq!(cache.delete_batch(["one", "two", "three"])?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get), of the first key that has one.
    pub fn get_batch<T: Shareable, K: ToKey>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<(Key, Option<T>)>> {
        let (engine, keys) = (self.engine()?, self.all_keys(keys)?);
        if engine.store().waits() {
            let values = engine.get_together(&keys)?;
            return Ok(keys.into_iter().zip(values).collect());
        }
        keys.into_iter()
            .map(|key| self.get_by_key(&key, None, ValueCodec::in_memory(), Attempt::First).map(|value| (key, value)))
            .collect()
    }

    /// Stores several values; returns their keys in order. Where rows are on a server, 64 of them take one round trip; where values
    /// are in a bucket, several are written at a time.
    ///
    /// # Errors
    /// As [`put`](Self::put). If a key or a value cannot be encoded, nothing is stored; an error in storing ends the batch,
    /// and the values before it are stored, whole. If a server is lost while it stores 64 together, each of these is stored or not.
    pub fn put_batch<'v, T: Storable, K: ToKey>(
        &self,
        items: impl IntoIterator<Item = (K, &'v T)>,
    ) -> Result<Vec<Key>> {
        self.put_batch_with(items, &PutOptions::new())
    }

    /// Stores several values with the same options for each; returns their keys in order.
    ///
    /// # Errors
    /// As [`put_batch`](Self::put_batch), and what [`put_with`](Self::put_with) says of options.
    pub fn put_batch_with<'v, T: Storable, K: ToKey>(
        &self,
        items: impl IntoIterator<Item = (K, &'v T)>,
        options: &PutOptions,
    ) -> Result<Vec<Key>> {
        let engine = self.engine()?;
        let mut encoded = Vec::new();
        for (key, value) in items {
            let key = self.key(key)?;
            encoded.push((key, engine.encode(value, options.handler.as_deref(), ValueCodec::stored())?.encoded));
        }
        self.put_all_encoded::<T>(encoded, options)
    }

    pub(super) fn put_all_encoded<T>(&self, items: Vec<(Key, Encoded<'_>)>, options: &PutOptions) -> Result<Vec<Key>> {
        let (engine, data_type) = (self.engine()?, std::any::type_name::<T>());
        let _together = engine.store().index().together();
        if engine.store().waits() && !engine.has_unique(options) && !self.0.disabled {
            self.put_together(engine, data_type, &items, options)?;
        } else {
            for (key, encoded) in &items {
                self.put_encoded_by_key(key, data_type, encoded, options.clone())?;
            }
        }
        Ok(items.into_iter().map(|(key, _)| key).collect())
    }

    fn put_together(
        &self,
        engine: &Engine,
        data_type: &str,
        mut items: &[(Key, Encoded<'_>)],
        options: &PutOptions,
    ) -> Result<()> {
        while !items.is_empty() {
            let count = changes_within(BYTES_AT_ONCE, items.iter().map(|(_, encoded)| encoded.len()));
            let described = items[..count].iter().map(|(key, encoded)| {
                Ok((IndexKey::of(key), self.details_of(key, data_type, options.clone())?, encoded))
            });
            engine.put_together(described.collect::<Result<_>>()?, self.ttl_of(options))?;
            items = &items[count..];
        }
        Ok(())
    }

    pub(super) fn all_keys<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Key>> {
        keys.into_iter().map(|key| self.key(key)).collect()
    }
}

/// So many blobs of one batch are read at a time.
const AT_ONCE: usize = 8;
/// Values of so many bytes are stored together at most: none waits long for its record, nor takes room that is made too late.
const BYTES_AT_ONCE: u64 = 64 << 20;

impl Engine {
    /// The values of several keys: one question for all rows, then their blobs, several at a time.
    fn get_together<T: Shareable>(&self, keys: &[Key]) -> Result<Vec<Option<T>>> {
        let codec = ValueCodec::in_memory();
        let in_memory = |key: &Key| self.value_in_memory(key.identity(), None, &codec, Attempt::First);
        let mut values: Vec<Option<T>> = keys.iter().map(in_memory).collect();
        let missing: Vec<_> = (0..keys.len()).filter(|at| values[*at].is_none()).collect();
        let tokens: Vec<_> = missing.iter().map(|at| self.insert_token(&keys[*at], &codec)).collect();
        let wanted: Vec<_> = missing.iter().map(|at| IndexKey::of(&keys[*at])).collect();
        let rows = self.store().find_many(&wanted).inspect_err(|error| self.count_error(error));
        let rows = self.excused(rows, wanted.iter().map(|_| None).collect())?;
        let usable = |found: &Found| Ok(self.is_fresh_now(found, None) && codec.is_of(&found.core)?);
        let load = |_: &mut (), (key, found): (&IndexKey, Option<Found>)| {
            let Some(mut found) = found else { return Ok(None) };
            let usable: Result<bool> = usable(&found);
            let raw = if usable? { self.excused(self.load(key, &mut found, codec.taken()), None)? } else { None };
            Ok(Some((raw, found)))
        };
        let loaded = each_by(wanted.iter().zip(rows), AT_ONCE, || (), load)?;
        for ((at, token), loaded) in missing.into_iter().zip(tokens).zip(loaded) {
            let kept = loaded.map(|(raw, found)| self.kept_value(&keys[at], raw, &found, codec, token));
            let value = kept.transpose()?.flatten();
            self.count(Attempt::First, value.is_some());
            values[at] = value;
        }
        Ok(values)
    }

    /// The value of what was loaded, which stays in memory.
    pub(super) fn kept_value<T: 'static>(
        &self,
        key: &Key,
        raw: Option<Raw>,
        found: &Found,
        codec: ValueCodec<'_, T>,
        token: Option<InsertToken>,
    ) -> Result<Option<T>> {
        let value = self.decode(raw, found, codec)?;
        if let (Some(value), Some(token), Some(ops)) = (&value, token, codec.memory_ops()) {
            self.keep(key, value, &found.core, (token, ops));
        }
        Ok(value)
    }
}
