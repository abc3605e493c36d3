//! Removing and renewing entries by what they have in common.

use std::time::Duration;

use super::Cache;
use super::walk::Way;
use crate::entry::Entry;
use crate::error::Result;
use crate::index::Group;
use crate::key::ToKey;
use crate::query::Filter;

use super::lookup::hash_of;

/// Removing entries.
impl Cache {
    /// Removes the entry of a key; says whether there was one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn invalidate(&self, key: impl ToKey) -> Result<bool> {
        self.engine()?.store().remove(&self.index_key(key)?)
    }

    /// Removes the entry of this name in listings, 16 hex digits; says whether there was one.
    ///
    /// Where several keys share the name, which takes somebody who wants them to, all of them go.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is no such name; else as [`clear`](Self::clear).
    pub fn invalidate_by_cache_key(&self, cache_key: &str) -> Result<bool> {
        let store = self.engine()?.store();
        let mut removed = false;
        for (key, _) in store.index().with_hash(hash_of(cache_key)?)? {
            removed |= store.remove(&key)?;
        }
        Ok(removed)
    }

    /// Removes every entry with this tag; returns how many.
    ///
    /// ```
    /// use cacheness::{Cache, PutOptions};
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put_with("profile", &1u8, PutOptions::new().tag("user:7"))?;
    /// cache.put_with("orders", &2u8, PutOptions::new().tag("user:7").tag("orders"))?;
    /// assert_eq!(cache.invalidate_tag("user:7")?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn invalidate_tag(&self, tag: &str) -> Result<u64> {
        let tagged = |entry: &Entry| entry.tags().iter().any(|other| other == tag);
        self.engine()?.remove_wanted(Way::Of(Group::tag(tag)), tagged)
    }

    /// Removes every entry that was stored under this prefix, exactly; returns how many.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn invalidate_prefix(&self, prefix: &str) -> Result<u64> {
        let under = |entry: &Entry| entry.prefix() == Some(prefix);
        self.engine()?.remove_wanted(Way::Of(Group::prefix(prefix)), under)
    }

    /// Removes every entry; returns how many there were. Files that the cache did not write stay.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage), [`Metadata`](crate::ErrorKind::Metadata),
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn clear(&self) -> Result<u64> {
        self.engine()?.clear()
    }

    /// Removes the entries that have expired; returns how many. Others are not looked at.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn cleanup_expired(&self) -> Result<u64> {
        self.engine()?.cleanup_expired()
    }

    /// Removes the entries for which `wanted` returns true; returns how many. Looks at every entry.
    ///
    /// An entry that is replaced while it is looked at is looked at again.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("a text", &"text".to_owned())?;
    /// cache.put("a number", &7u64)?;
    /// assert_eq!(cache.delete_where(|entry| entry.data_type() == "u64")?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`clear`](Self::clear); what was removed before the error is gone.
    pub fn delete_where(&self, wanted: impl FnMut(&Entry) -> bool) -> Result<u64> {
        self.engine()?.remove_wanted(Way::All, wanted)
    }

    /// Removes the entries that meet a condition; returns how many. Looks at every entry.
    ///
    /// # Errors
    /// As [`delete_where`](Self::delete_where).
    pub fn delete_matching(&self, filter: &Filter) -> Result<u64> {
        self.delete_where(|entry| filter.matches(entry))
    }
}

/// Renewing entries.
impl Cache {
    /// Lets the entry of a key begin its life anew: it was created now, and has its whole time to live before it. Its value
    /// is not read. Says whether there was an entry that had not expired.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn touch(&self, key: impl ToKey) -> Result<bool> {
        self.engine()?.touch(&self.index_key(key)?, None)
    }

    /// [`touch`](Self::touch) with a new time to live.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("one", &1u8)?;
    /// assert_eq!(cache.remaining_ttl("one")?, None);
    /// assert!(cache.touch_with_ttl("one", Duration::from_secs(60))?);
    /// assert!(cache.remaining_ttl("one")? <= Some(Duration::from_secs(60)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The time to live is kept in the index. If damage of the index costs the entry, it is a miss; if the index is gone
    /// altogether, a value that lies in a file is taken up again with the time to live it was put with.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the time to live is zero or too long.
    pub fn touch_with_ttl(&self, key: impl ToKey, ttl: Duration) -> Result<bool> {
        self.engine()?.touch(&self.index_key(key)?, Some(ttl))
    }

    /// [`touch`](Self::touch) for every entry that meets a condition and has not expired; returns how many there were.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn touch_batch(&self, filter: &Filter) -> Result<u64> {
        self.renew_matching(filter, None)
    }

    /// [`touch_with_ttl`](Self::touch_with_ttl) for every entry that meets a condition and has not expired; returns how
    /// many there were.
    ///
    /// # Errors
    /// As [`clear`](Self::clear); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) as [`touch_with_ttl`](Self::touch_with_ttl).
    pub fn touch_batch_with_ttl(&self, filter: &Filter, ttl: Duration) -> Result<u64> {
        self.renew_matching(filter, Some(ttl))
    }

    fn renew_matching(&self, filter: &Filter, ttl: Option<Duration>) -> Result<u64> {
        let engine = self.engine()?;
        engine.check_ttl(ttl)?;
        let wanted = |entry: &Entry| filter.matches(entry) && !engine.is_expired(entry);
        engine.each_wanted(Way::All, wanted, |_, record| engine.renew(record, ttl))
    }
}

/// Control by function: every entry that an attribute stored for it.
impl Cache {
    /// The entries of a function, by its path as [`std::any::type_name`] writes it; also those of earlier runs, and
    /// expired ones that were not cleaned up yet.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata), [`Closed`](crate::ErrorKind::Closed).
    pub fn function_entries(&self, function: &str) -> Result<Vec<Entry>> {
        let engine = self.engine()?;
        let mut entries = Vec::new();
        engine.each(Way::Of(Group::function(function)), |_, record| {
            entries.extend(Some(engine.describe(record)?).filter(|entry| entry.function() == Some(function)));
            Ok(())
        })?;
        Ok(entries)
    }

    /// Removes the entries of a function, also those of earlier runs; returns how many.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn clear_function(&self, function: &str) -> Result<u64> {
        let stored_by = |entry: &Entry| entry.function() == Some(function);
        self.engine()?.remove_wanted(Way::Of(Group::function(function)), stored_by)
    }
}
