//! Values into blobs and out of them.

use std::any::{Any, type_name};

use super::engine::{Encoding, Engine};
use super::options::BlobOptions;
use super::reader::BlobReader;
use super::sink::Sink;
use crate::codec::Parts;
use crate::codec::compress;
use crate::codec::handler::{self, PLAIN_BYTES, PayloadFormat, Storable};
use crate::config::StoredCodec;
use crate::engine::opened::Opened;
use crate::engine::read::MAX_OVERTAKEN;
use crate::engine::text_key;
use crate::entry::{self, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format;
use crate::storage::BlobName;
use crate::util::digest;

impl Encoding {
    /// Bytes as they are, put in one piece or as a stream: both are a `Vec<u8>`.
    pub(super) fn of_bytes() -> Self {
        Self {
            data_type: type_name::<Vec<u8>>(),
            type_fingerprint: handler::type_fingerprint::<Vec<u8>>(),
            shape: 0,
            payload_format: PLAIN_BYTES,
        }
    }
}

impl Engine {
    pub(super) fn put<T: Storable>(&self, value: &T, options: BlobOptions) -> Result<Entry> {
        let value_as_any: &dyn Any = value;
        match value_as_any.downcast_ref::<Vec<u8>>() {
            Some(bytes) => self.put_bytes(bytes, options),
            None => self.put_encoded(value, options),
        }
    }

    fn put_encoded<T: Storable>(&self, value: &T, options: BlobOptions) -> Result<Entry> {
        let encoded = handler::encode(value, self.store().limits())?;
        let content = self.is_content_addressable().then(|| text_key::content_of(&encoded));
        let encoding = Encoding {
            data_type: type_name::<T>(),
            type_fingerprint: encoded.type_fingerprint,
            shape: encoded.shape,
            payload_format: encoded.payload_format,
        };
        let entry = self.draft(options, &encoding, content)?;
        self.place(entry, &self.in_flight().begin(), |entry, name| {
            let stored = self.store().seal(entry, &encoded.bytes)?;
            self.write_whole(entry, name, &stored)
        })
    }

    fn put_bytes(&self, bytes: &[u8], options: BlobOptions) -> Result<Entry> {
        let (len, limit) = (bytes.len() as u64, self.store().limits().max_value_bytes);
        if len > limit {
            let message = format!("the value takes {len} bytes, the limit `max_value_bytes` is {limit}");
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        let content = self.is_content_addressable().then(|| digest::identity(bytes));
        let entry = self.draft(options, &Encoding::of_bytes(), content)?;
        self.place(entry, &self.in_flight().begin(), |entry, name| {
            let stored = self.store().seal(entry, bytes)?;
            if entry.core.codec != StoredCodec::None {
                return self.write_whole(entry, name, &stored);
            }
            let mut sink = Sink::begin(self.store(), entry, name)?;
            sink.write(bytes)?;
            sink.end(&mut entry.core)?.publish(self.durability_of(entry))
        })
    }

    fn write_whole(&self, entry: &Entry, name: &BlobName, stored: &Parts<'_>) -> Result<()> {
        let (store, mut header) = (self.store(), Vec::new());
        entry::encode(entry, store.limits().max_header_bytes, &mut header)?;
        let envelope = format::seal_summed(&header, stored, entry.core.checksum, store.rules())?;
        store.blobs.write(name, &envelope.parts(), self.durability_of(entry))
    }

    pub(super) fn get<T: Storable>(&self, key: &str) -> Result<Option<T>> {
        let Some((entry, mut blob)) = self.opened(key)? else { return Ok(None) };
        let core = entry.core;
        if core.type_fingerprint != handler::type_fingerprint::<T>() {
            let message = format!("{key:?} holds a `{}`, not a `{}`", entry.data_type(), type_name::<T>());
            return Err(CacheError::new(ErrorKind::Serialization, message));
        }
        if core.payload_format == PLAIN_BYTES {
            let mut value = None::<T>;
            let slot: &mut dyn Any = &mut value;
            if let Some(slot) = slot.downcast_mut::<Option<Vec<u8>>>() {
                *slot = Some(self.bytes_of(key, &entry, &mut blob)?);
            }
            return Ok(value);
        }
        let format = PayloadFormat::from_id(core.payload_format).ok_or_else(|| {
            CacheError::new(ErrorKind::Serialization, format!("{key:?} has a format that this release does not know"))
        })?;
        let stored = blob.payload(None, true).map_err(|error| about(key, &error))?;
        let raw = self.store().raw_of_stored(&core, stored.into(), handler::numbers_in::<T>)?;
        handler::decode_raw(raw, format, core.type_fingerprint, core.shape, self.store().limits()).map(Some)
    }

    pub(super) fn reader(&self, key: &str) -> Result<Option<BlobReader>> {
        let Some((entry, mut blob)) = self.opened(key)? else { return Ok(None) };
        if entry.core.payload_format != PLAIN_BYTES {
            let message = format!("{key:?} holds a `{}` and no plain bytes: read it by `get`", entry.data_type());
            return Err(CacheError::new(ErrorKind::Serialization, message));
        }
        if entry.core.codec == StoredCodec::None {
            return Ok(Some(BlobReader::of_stream(entry, blob)));
        }
        let bytes = self.bytes_of(key, &entry, &mut blob)?;
        Ok(Some(BlobReader::of_bytes(entry, bytes)))
    }

    fn bytes_of(&self, key: &str, entry: &Entry, blob: &mut Opened) -> Result<Vec<u8>> {
        let stored = blob.payload(None, true).map_err(|error| about(key, &error))?;
        if entry.core.codec == StoredCodec::None {
            return Ok(blob.chunks().without_seals(stored));
        }
        let limits = self.store().limits();
        compress::inflate(entry.core.codec, &stored, entry.core.raw_size, limits).map(|raw| raw.into_owned())
    }

    /// The entry of a key with its blob, open, and both of them belong together.
    fn opened(&self, key: &str) -> Result<Option<(Entry, Opened)>> {
        let index_key = text_key::index_key(key)?;
        let mut last = None;
        for _ in 0..MAX_OVERTAKEN {
            let Some(found) = self.store().find(&index_key)? else { return Ok(None) };
            if last.as_ref() == Some(&found.record) {
                break;
            }
            if let Some(name) = found.record.blob()
                && let Some(opened) = self.open_blob(&found.record.entry()?, &name).map_err(|e| about(key, &e))?
            {
                return Ok(Some(opened));
            }
            // Replaced or removed meanwhile, if the record is another one now.
            last = Some(found.record);
        }
        let message = format!("the blob of {key:?} is gone: `verify` with repair removes such entries");
        Err(CacheError::new(ErrorKind::Integrity, message))
    }

    fn open_blob(&self, entry: &Entry, name: &BlobName) -> Result<Option<(Entry, Opened)>> {
        let Some(blob) = Opened::open(&*self.store().blobs, name, self.store().rules())? else { return Ok(None) };
        blob.check_is_of(entry)?;
        Ok(Some((entry.clone(), blob)))
    }

    pub(super) fn entry(&self, key: &IndexKey) -> Result<Option<Entry>> {
        self.store().find(key)?.map(|found| found.record.entry()).transpose()
    }
}

/// An error that tells which entry it is about.
fn about(key: &str, error: &CacheError) -> CacheError {
    CacheError::caused_by(error.kind(), format!("{key:?}: {error}"), error.clone())
}
