//! All entries as one file: a tar archive, compressed by zstd, with one blob for each entry, sealed as blob files are.

use std::io::{self, Read, Write};

use super::{Cache, Taken, Transfer};
use crate::entry::{self, Entry};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::{self, Rules};
use crate::util::digest;

const LEVEL: i32 = 3;
/// What is written by level 3 needs 2 MiB; a reader takes no more than this for what somebody else wrote.
const LARGEST_WINDOW_LOG: u32 = 23;
const MANIFEST: &str = "cacheness-archive.toml";
const MANIFEST_TEXT: &[u8] = b"# Entries of a cacheness cache.\nformat = 1\n";
const MANIFEST_MAX: u64 = 4096;
const FOLDER: &str = "entries/";
const SUFFIX: &str = ".blob";

impl Cache {
    /// Writes every entry that has not expired into an archive: a tar file compressed by zstd. Needs the feature
    /// `archive`.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("answer", &42u8)?;
    /// let mut archive = Vec::new(); // in real life, a file
    /// cache.export(&mut archive)?;
    ///
    /// let other = Cache::in_memory();
    /// assert_eq!(other.import(archive.as_slice())?.copied, 1);
    /// assert_eq!(other.get::<u8>("answer")?, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if the archive cannot be written, or the cache not be read; it is not whole then.
    /// [`Metadata`](ErrorKind::Metadata), [`Closed`](ErrorKind::Closed).
    pub fn export(&self, archive: impl Write) -> Result<Transfer> {
        let engine = self.engine()?;
        let limits = &self.config().limits;
        let mut transfer = Transfer { total: self.len()?, ..Transfer::default() };
        let compressed = zstd::Encoder::new(archive, LEVEL).map_err(unwritable)?;
        let mut tar = tar::Builder::new(compressed);
        append(&mut tar, MANIFEST, &[MANIFEST_TEXT]).map_err(unwritable)?;
        engine.each_stored(|taken| {
            let (entry, stored) = match taken {
                Taken::Whole(entry, stored) => (entry, stored),
                left => {
                    left.count(&mut transfer);
                    return Ok(());
                }
            };
            if engine.is_expired(&entry) {
                transfer.expired += 1;
                return Ok(());
            }
            let mut header = Vec::new();
            entry::encode(&entry, limits.max_header_bytes, &mut header)?;
            let name = format!("{FOLDER}{:08}{SUFFIX}", transfer.copied);
            append(&mut tar, &name, &format::seal(&header, &stored, engine.store().rules())?.parts())
                .map_err(unwritable)?;
            transfer.copied += 1;
            transfer.bytes += stored.len() as u64;
            Ok(())
        })?;
        let compressed = tar.into_inner().map_err(unwritable)?;
        compressed.finish().and_then(|mut archive| archive.flush()).map_err(unwritable)?;
        Ok(transfer)
    }

    /// Takes in the entries of an archive that [`export`](Self::export) wrote, on this machine or another. What the cache
    /// has already, of the same time or newer, is not touched. Needs the feature `archive`.
    ///
    /// Damage in the archive is found by its checksums. A whole archive by somebody else is believed, unless entries are to
    /// be [signed](crate::SecurityConfig): then an entry that is not signed with a key at hand counts as damaged.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if it is no such archive, or ends too early; [`Conflict`](ErrorKind::Conflict) if a
    /// newer release wrote it; [`Storage`](ErrorKind::Storage), [`Metadata`](ErrorKind::Metadata),
    /// [`Closed`](ErrorKind::Closed). The entries before the fault are in the cache then, whole.
    pub fn import(&self, archive: impl Read) -> Result<Transfer> {
        let engine = self.engine()?;
        let mut inflated = zstd::Decoder::new(archive).map_err(unreadable)?;
        inflated.window_log_max(LARGEST_WINDOW_LOG).map_err(unreadable)?;
        let mut tar = tar::Archive::new(inflated);
        let mut transfer = Transfer::default();
        let mut known = false;
        // Raw: extensions with long names would be read into memory, however long they are.
        for member in tar.entries().map_err(unreadable)?.raw(true) {
            let mut member = member.map_err(unreadable)?;
            let name = member.path_bytes().into_owned();
            if name == MANIFEST.as_bytes() {
                check_format(&read(&mut member, MANIFEST_MAX).map_err(|_| foreign())?)?;
                known = true;
            } else if !known {
                return Err(foreign());
            } else if name.starts_with(FOLDER.as_bytes()) {
                let sealed = match read(&mut member, format::max_envelope_bytes(&self.config().limits)) {
                    Err(error) if error.is_limit() => {
                        transfer.refused += 1;
                        continue;
                    }
                    read => read?,
                };
                match open(&sealed, engine.store().rules()) {
                    Ok((entry, stored)) => engine.take_over(&entry, stored, &mut transfer)?,
                    Err(error) if error.is_limit() => transfer.refused += 1,
                    Err(_) => transfer.damaged += 1,
                }
            }
        }
        if known { self.read_to_end(tar.into_inner(), transfer) } else { Err(foreign()) }
    }

    /// What follows the last member must be the end: an archive that was cut off behind one looks like a shorter one.
    fn read_to_end(&self, mut rest: impl Read, transfer: Transfer) -> Result<Transfer> {
        let mut buffer = [0; 1024];
        loop {
            match rest.read(&mut buffer).map_err(unreadable)? {
                0 => return Ok(transfer),
                _ => continue,
            }
        }
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(parts.iter().map(|part| part.len() as u64).sum());
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_cksum();
    let empty: Box<dyn Read> = Box::new(io::empty());
    let content = parts.iter().fold(empty, |before, part| Box::new(before.chain(*part)));
    tar.append(&header, content)
}

fn read(member: &mut impl Read, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    member.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max {
        return Err(CacheError::new(ErrorKind::Limit, format!("a member of the archive is longer than {max} bytes")));
    }
    Ok(bytes)
}

fn open<'a>(sealed: &'a [u8], rules: Rules<'_>) -> Result<(Entry, &'a [u8])> {
    let opened = format::open(sealed, rules)?;
    let (entry, rest) = entry::decode(opened.header)?;
    entry.key()?;
    let core = &entry.core;
    let fits = core.stored_size == opened.payload.len() as u64 && core.checksum == digest::checksum(opened.payload);
    if !fits || !rest.is_empty() {
        return Err(CacheError::new(ErrorKind::Integrity, "an entry of the archive has another value than it says"));
    }
    Ok((entry, opened.payload))
}

fn check_format(manifest: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(manifest).map_err(|_| foreign())?;
    let format = text.lines().find_map(|line| line.strip_prefix("format = ")).ok_or_else(foreign)?;
    match format.parse::<u32>() {
        Ok(1) => Ok(()),
        Ok(newer) => Err(CacheError::new(
            ErrorKind::Conflict,
            format!("the archive has format {newer}, this release of cacheness reads format 1: use the newer release"),
        )),
        Err(_) => Err(foreign()),
    }
}

fn foreign() -> CacheError {
    CacheError::new(ErrorKind::Integrity, "not an archive of a cache: pass a file that `export` wrote")
}

fn unwritable(error: io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, "cannot write the archive", error)
}

/// What a broken archive says comes as errors of these kinds; others are those of the reader.
fn unreadable(error: io::Error) -> CacheError {
    let kind = match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Integrity,
        _ => ErrorKind::Storage,
    };
    CacheError::caused_by(kind, "cannot read the archive", error)
}
