//! What writes and reads the values of one type that is not left to serde.

use std::error::Error;
use std::io;
use std::sync::Arc;

/// What went wrong in a [`Handler`]: any error, a text too. The cache wraps it in a [`CacheError`](crate::CacheError) of the
/// kind [`Handler`](crate::ErrorKind::Handler).
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// Writes the values of one type as bytes and reads them back, in a format of its own.
///
/// Registered for a cache ([`Cache::register_handler`](crate::Cache::register_handler)) or for all caches of the process
/// ([`register_handler`](crate::register_handler)), it stands in for serde wherever a value of exactly this type is put or
/// fetched. For a type that serde does not know, it is given at each call: [`Cache::put_by`](crate::Cache::put_by),
/// [`Cache::get_by`](crate::Cache::get_by), or the option `handler` of an attribute.
///
/// Its bytes are treated as all others: compressed, bounded by `limits.max_value_bytes`, and verified by their checksum
/// before `read` sees them. A panic in it is an error of the cache. No lock is held while it runs.
///
/// ```
/// use std::io::{Read, Write};
/// use cacheness::Cache;
/// use cacheness::handler::{Handler, HandlerError};
///
/// /// No serde in sight.
/// #[derive(Debug, PartialEq)]
/// struct Table(Vec<Vec<String>>);
///
/// struct Csv;
///
/// impl Handler for Csv {
///     type Value = Table;
///
///     fn name(&self) -> &str {
///         "csv"
///     }
///
///     fn write(&self, table: &Table, to: &mut dyn Write) -> Result<(), HandlerError> {
///         table.0.iter().try_for_each(|row| Ok(writeln!(to, "{}", row.join(","))?))
///     }
///
///     fn read(&self, from: &mut dyn Read) -> Result<Table, HandlerError> {
///         let text = std::io::read_to_string(from)?;
///         Ok(Table(text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()))
///     }
/// }
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// let table = Table(vec![vec!["a".into(), "b".into()]]);
/// cache.put_by(&Csv, "table", &table, Default::default())?;
/// assert_eq!(cache.get_by(&Csv, "table")?, Some(table));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of values",
    label = "implement `cacheness::handler::Handler` for it"
)]
#[doc(alias = "CacheHandler")]
pub trait Handler: Send + Sync {
    /// The type whose values it handles.
    type Value: 'static;

    /// What entries have for [`handler_used`](crate::Entry::handler_used): 1 to 64 of the characters `a-z A-Z 0-9 . _ - :`.
    ///
    /// It is stored with each value and says who may read it: **a name is for ever**. A handler whose format changes takes
    /// a new one, and the old values are misses then.
    fn name(&self) -> &str;

    /// Whether it takes this value; one that it does not take is offered to the next handler of the type. Not asked when
    /// values are read.
    fn can_handle(&self, value: &Self::Value) -> bool {
        let _ = value;
        true
    }

    /// Writes a value. Past `limits.max_value_bytes` the stream refuses to take more, and nothing is stored.
    ///
    /// # Errors
    /// Whatever keeps it from writing; nothing is stored then.
    fn write(&self, value: &Self::Value, to: &mut dyn io::Write) -> Result<(), HandlerError>;

    /// Reads what [`write`](Self::write) wrote, all of it: bytes that are left make the value a miss.
    ///
    /// # Errors
    /// Whatever keeps it from reading; the value is a miss then.
    fn read(&self, from: &mut dyn io::Read) -> Result<Self::Value, HandlerError>;
}

macro_rules! passed_on {
    ($($pointer:ty),*) => {$(
        impl<H: Handler + ?Sized> Handler for $pointer {
            type Value = H::Value;

            fn name(&self) -> &str {
                (**self).name()
            }

            fn can_handle(&self, value: &H::Value) -> bool {
                (**self).can_handle(value)
            }

            fn write(&self, value: &H::Value, to: &mut dyn io::Write) -> Result<(), HandlerError> {
                (**self).write(value, to)
            }

            fn read(&self, from: &mut dyn io::Read) -> Result<H::Value, HandlerError> {
                (**self).read(from)
            }
        }
    )*};
}

passed_on!(&H, Arc<H>, Box<H>);
