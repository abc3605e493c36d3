//! Many keys in one call.

use super::means::{Means, Way};
use super::recall::Look;
use super::{Cache, PutOptions};
use crate::codec::handler::{Encoded, Shareable, Storable};
use crate::error::Result;
use crate::key::{Key, ToKey};

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
        let keys = self.all_keys(keys)?;
        keys.into_iter()
            .map(|key| self.recall(&key, None, Means::kept(), Look::First).map(|value| (key, value)))
            .collect()
    }

    /// Stores several values; returns their keys in order.
    ///
    /// # Errors
    /// As [`put`](Self::put). If a key or a value cannot be encoded, nothing is stored; an error in storing ends the batch,
    /// and the values before it are stored, whole.
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
            encoded.push((key, engine.encode(value, options.handler.as_deref(), Way::chosen())?.encoded));
        }
        self.retain_all::<T>(encoded, options)
    }

    pub(super) fn retain_all<T>(&self, items: Vec<(Key, Encoded<'_>)>, options: &PutOptions) -> Result<Vec<Key>> {
        let data_type = std::any::type_name::<T>();
        let mut keys = Vec::with_capacity(items.len());
        for (key, encoded) in items {
            self.retain_encoded(&key, data_type, encoded, options.clone())?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Removes the entries of several keys; returns how many there were.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate). If a key is at fault, nothing is removed.
    pub fn delete_batch<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64> {
        let mut removed = 0;
        for key in self.all_keys(keys)? {
            removed += u64::from(self.invalidate(&key)?);
        }
        Ok(removed)
    }

    fn all_keys<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Key>> {
        keys.into_iter().map(|key| self.key(key)).collect()
    }
}
