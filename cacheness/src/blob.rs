//! [`BlobStore`]: values under text keys that neither expire nor are evicted, and streams of any size.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! use cacheness::BlobStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = BlobStore::in_memory();
//! let mut writer = store.writer("log")?;
//! writer.write_all(b"many bytes")?;
//! writer.commit()?;
//!
//! let mut text = String::new();
//! store.reader("log")?.expect("it was just written").read_to_string(&mut text)?;
//! assert_eq!(text, "many bytes");
//! # Ok(())
//! # }
//! ```

#[doc(no_inline)]
pub use crate::{BlobOptions, BlobStore};
pub use cacheness_core::{BlobReader, BlobStoreBuilder, BlobWriter, IntegrityReport, Repair, VerifyReport};
