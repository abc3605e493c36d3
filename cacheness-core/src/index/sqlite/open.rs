//! How a database is found, made, checked and connected to.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};

use super::pool::{Pool, leave_parent};
use super::rows;
use crate::config::sqlite::SqliteOptions;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::{remove, shown, sync_dir};
use crate::util::emit;
use crate::util::threads::lock;

/// The database in the directory of a cache.
pub(crate) const FILE_NAME: &str = "index.sqlite3";
/// What SQLite puts beside it: commits that are not in it yet, and what processes share about those.
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// Says that a call met damage: the next opening looks at all of the file.
const DAMAGED: &str = ".damaged";
/// Held by whoever opens, so that a new file is made by one alone.
const OPENING: &str = ".lock";
/// One who opens needs milliseconds, or as long as it takes to read the file where it is damaged.
const OPENING_TAKES: Duration = Duration::from_secs(30);
const STATEMENTS: usize = 64;
/// The smallest page, in bytes.
const SHORTEST: u64 = 512;
/// Commits wait for a checkpoint only where no flush makes one before; in pages.
const CHECKPOINT_BY_A_COMMIT: i64 = 16_000;

/// Where a database is.
#[derive(Debug)]
pub(super) enum Place {
    Memory,
    File(DatabaseFile),
}

#[derive(Debug)]
pub(super) struct DatabaseFile {
    /// Absolute, and without links in it.
    path: PathBuf,
    /// Whether it is the one in the directory of a cache, and nobody's else.
    own: bool,
    busy_timeout: Duration,
    page_cache_bytes: i64,
    /// The file that connections are made to.
    opened: Mutex<Option<FileId>>,
}

/// Device and number of a file.
type FileId = (u64, u64);

#[cfg(unix)]
fn id_of(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn id_of(_path: &Path) -> Option<FileId> {
    None
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// Opens a database in memory.
pub(super) fn in_memory() -> Result<Arc<Pool>> {
    let connection = Connection::open_in_memory().and_then(|connection| {
        configure(&connection)?;
        rows::create(&connection)?;
        Ok(connection)
    });
    connection.map(|connection| Pool::new(Place::Memory, connection)).map_err(|error| failed("in memory", &error))
}

/// Opens the database that the options name, or the one in this directory. Makes it if it is not there.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) if it cannot be read or written, or lies on a network file system;
/// [`Conflict`](ErrorKind::Conflict) if it belongs to another program or to a newer release;
/// [`Locked`](ErrorKind::Locked) if another process does not let go of it.
pub(super) fn open(dir: impl FnOnce() -> Result<PathBuf>, options: &SqliteOptions) -> Result<Arc<Pool>> {
    let (given, own) = match &options.database {
        Some(path) => (path.clone(), false),
        None => (dir()?.join(FILE_NAME), true),
    };
    let file = DatabaseFile {
        path: absolute(&given)?,
        own,
        busy_timeout: options.busy_timeout,
        page_cache_bytes: options.page_cache_bytes,
        opened: Mutex::default(),
    };
    leave_parent(std::process::id())?;
    file.check_place()?;
    let opening = file.lock_opening()?;
    let connection = match file.prepare() {
        Err(Unusable::Damaged(why)) if file.own => {
            log::debug!("{}: {why}", shown(&file.path).display());
            file.set_aside()?;
            file.prepare()
        }
        prepared => prepared,
    };
    let connection = connection.map_err(|unusable| unusable.into_error(&file.path))?;
    file.sync_dir()?;
    file.was_replaced();
    drop(opening);
    Ok(Pool::new(Place::File(file), connection))
}

/// The path of a file in a directory that is there.
fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| storage("find", path, error))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        let message = format!("{} is no name of a file: name one for the database", path.display());
        return Err(CacheError::new(ErrorKind::Config, message));
    };
    let parent = parent.canonicalize().map_err(|error| storage("find the directory of", path, error))?;
    Ok(parent.join(name))
}

/// Why a database is not used.
enum Unusable {
    Damaged(String),
    Refused(CacheError),
}

impl Unusable {
    fn into_error(self, path: &Path) -> CacheError {
        match self {
            Self::Refused(error) => error,
            Self::Damaged(why) => {
                let message = format!(
                    "{} is damaged, or no SQLite database ({why}): move it away, or name another file",
                    shown(path).display()
                );
                CacheError::new(ErrorKind::Integrity, message)
            }
        }
    }
}

impl DatabaseFile {
    fn beside(&self, what: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(what);
        path.into()
    }

    /// Commits that are not in the database itself.
    pub(super) fn wal(&self) -> PathBuf {
        self.beside("-wal")
    }

    /// Whether another file has its name since the last time that this was asked: somebody has set it aside. One that is gone
    /// stays the one that was opened.
    pub(super) fn was_replaced(&self) -> bool {
        let Some(there) = id_of(&self.path) else { return false };
        lock(&self.opened).replace(there).is_some_and(|before| before != there)
    }

    /// What a file is called is on the disk from here on.
    fn sync_dir(&self) -> Result<()> {
        let synced = self.path.parent().map_or(Ok(()), sync_dir);
        synced.map_err(|error| storage("sync the directory of", &self.path, error))
    }

    /// That a database may lie there.
    fn check_place(&self) -> Result<()> {
        if let Some(system) = self.path.parent().and_then(network_file_system) {
            let message = format!(
                "{} lies on {system}, a network file system, on which SQLite loses data: choose a local directory, set \
                 metadata.database_url to a local file, or choose a metadata backend that is reached over the network",
                shown(&self.path).display()
            );
            return Err(CacheError::new(ErrorKind::Storage, message));
        }
        match fs::symlink_metadata(&self.path) {
            Ok(found) if !found.is_file() => {
                let message =
                    format!("{} is not a regular file: remove it, or name another", shown(&self.path).display());
                Err(CacheError::new(ErrorKind::Storage, message))
            }
            _ => Ok(()),
        }
    }

    /// Waits until nobody else opens the database.
    fn lock_opening(&self) -> Result<File> {
        let path = self.beside(OPENING);
        let file = open_private(File::options().write(true).create(true), &path);
        let file = file.map_err(|error| storage("open", &path, error))?;
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(storage("lock", &path, error)),
                Err(TryLockError::WouldBlock) if begin.elapsed() > OPENING_TAKES => {
                    let message = format!(
                        "another process has been opening {} for {} s: try again, or end that process",
                        shown(&self.path).display(),
                        OPENING_TAKES.as_secs()
                    );
                    return Err(CacheError::new(ErrorKind::Locked, message));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// A connection to a database that is there, whole and ours. The caller has the lock of opening.
    fn prepare(&self) -> Result<Connection, Unusable> {
        // A file that is there is never opened here: closing it would take the locks of other connections away.
        match open_private(File::options().write(true).create_new(true), &self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Unusable::Refused(storage("make", &self.path, error)));
            }
            _ => {}
        }
        let len =
            fs::metadata(&self.path).map_err(|error| Unusable::Refused(storage("examine", &self.path, error)))?.len();
        if (1..SHORTEST).contains(&len) {
            // SQLite would take it for an empty one, and write over it.
            return Err(Unusable::Damaged("it is too short for one".to_owned()));
        }
        self.prepared().map_err(|fault| Unusable::of(fault, &self.path))
    }

    fn prepared(&self) -> Result<Connection, Fault> {
        let connection = self.connection(Role::Writer)?;
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let application = number("PRAGMA application_id")?;
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        if application == 0 && tables == 0 {
            wal_mode(&connection)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            rows::create(&connection)?;
            connection.execute_batch("COMMIT")?;
            return Ok(connection);
        }
        if application != rows::APPLICATION {
            return Err(Fault::Other(format!(
                "{} is the database of another program: move it away, or name another file",
                shown(&self.path).display()
            )));
        }
        let version = number("PRAGMA user_version")?;
        if version != rows::VERSION {
            let age = if version > rows::VERSION { "a newer" } else { "an older" };
            return Err(Fault::Other(format!(
                "{} has the layout {version} of {age} release, and this one reads {}: use that release, or another file",
                shown(&self.path).display(),
                rows::VERSION
            )));
        }
        wal_mode(&connection)?;
        let marker = self.beside(DAMAGED);
        if marker.exists() {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(Fault::Sqlite(damage(found)));
            }
        }
        rows::check(&connection)?;
        let _ = remove(&marker);
        Ok(connection)
    }

    fn connection(&self, role: Role) -> rusqlite::Result<Connection> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        // Before anything else, which may have to wait already.
        connection.busy_timeout(self.busy_timeout)?;
        // The last one to close would take the file of commits away, also from under a forked child.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        configure(&connection)?;
        connection.pragma_update(None, "cache_size", -(self.page_cache_bytes >> 10))?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_BY_A_COMMIT)?;
        // A commit survives a kill; `flush` brings it to the disk.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        if role == Role::Reader {
            connection.pragma_update(None, "query_only", true)?;
        }
        Ok(connection)
    }

    /// Moves a damaged database out of the way; the one before goes.
    fn set_aside(&self) -> Result<()> {
        let Some(dir) = self.path.parent() else { return Ok(()) };
        let quarantine = dir.join("quarantine");
        let aside = quarantine.join(FILE_NAME);
        let moved = (|| {
            fs::create_dir_all(&quarantine)?;
            for what in BESIDE {
                let (from, to) = (self.beside(what), quarantine.join(format!("{FILE_NAME}{what}")));
                remove(&to)?;
                match fs::rename(from, to) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::rename(&self.path, &aside)?;
            remove(&self.beside(DAMAGED))
        })();
        moved.map_err(|error| storage("set aside", &self.path, error))?;
        emit(&format!(
            "cacheness: {} is damaged and was moved to {}: entries whose values lie in it are lost",
            shown(&self.path).display(),
            shown(&aside).display()
        ));
        Ok(())
    }
}

impl Place {
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory)
    }

    pub(super) fn file(&self) -> Option<&DatabaseFile> {
        match self {
            Self::Memory => None,
            Self::File(file) => Some(file),
        }
    }

    /// Another connection to the database.
    pub(super) fn connect(&self, role: Role) -> Result<Connection> {
        let Self::File(file) = self else {
            return Err(CacheError::new(ErrorKind::Metadata, "the SQLite database in memory is gone"));
        };
        file.connection(role).map_err(|error| failed(self.name(), &error))
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Memory => "in memory".to_owned(),
            Self::File(file) => shown(&file.path).display().to_string(),
        }
    }

    /// After damage the next opening looks at all of the file.
    pub(super) fn note_damage(&self, error: &Error) {
        if let (true, Self::File(file)) = (is_damage(error), self)
            && let Err(error) = open_private(File::options().write(true).create(true), &file.beside(DAMAGED))
        {
            log::debug!("that {} is damaged cannot be noted: {error}", self.name());
        }
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // A damaged page is an error rather than what happens to be there.
    connection.pragma_update(None, "cell_size_check", true)
}

/// Lets readers and a writer work side by side. Stays with the file.
fn wal_mode(connection: &Connection) -> Result<(), Fault> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode == "wal" {
        return Ok(());
    }
    Err(Fault::Other(format!(
        "SQLite cannot keep a write-ahead log there (the journal is {mode:?}): choose a local directory"
    )))
}

/// What stands between us and a database.
enum Fault {
    Sqlite(Error),
    Other(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Unusable {
    fn of(fault: Fault, path: &Path) -> Self {
        match fault {
            Fault::Other(message) => Self::Refused(CacheError::new(ErrorKind::Conflict, message)),
            // A table that is missing is damage, too.
            Fault::Sqlite(error) if is_damage(&error) || error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                Self::Damaged(error.to_string())
            }
            Fault::Sqlite(error) => Self::Refused(failed(shown(path).display().to_string(), &error)),
        }
    }
}

fn damage(found: String) -> Error {
    Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(found))
}

fn is_damage(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The error of a call on a database.
pub(super) fn failed(database: impl AsRef<str>, error: &Error) -> CacheError {
    let database = database.as_ref();
    let (kind, what) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Locked,
            "is in use by another process for too long; raise `busy_timeout_ms`, or end that process",
        ),
        Some(ErrorCode::DiskFull) => (ErrorKind::Storage, "cannot be written, the disk is full"),
        Some(
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied,
        ) => (ErrorKind::Storage, "cannot be read or written"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (ErrorKind::Metadata, "is damaged; it is checked when it is opened the next time")
        }
        _ => (ErrorKind::Metadata, "cannot be asked"),
    };
    CacheError::new(kind, format!("the SQLite database {database} {what}: {error}"))
}

fn storage(doing: &str, path: &Path, error: io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, format!("cannot {doing} {}: {error}", shown(path).display()), error)
}

/// Opens a file that its owner alone may read, if it is made.
fn open_private(options: &mut fs::OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

/// The name of the network file system that a directory lies on, if it lies on one.
#[cfg(target_os = "linux")]
fn network_file_system(dir: &Path) -> Option<&'static str> {
    // The number has another type on every machine, and fits 32 bits on all.
    #[allow(clippy::unnecessary_cast, reason = "see above")]
    let number = rustix::fs::statfs(dir).ok()?.f_type as u32;
    network_name(number)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_dir: &Path) -> Option<&'static str> {
    None
}

/// By the numbers of `statfs(2)`.
#[cfg(any(target_os = "linux", test))]
fn network_name(number: u32) -> Option<&'static str> {
    Some(match number {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 | 0xfe53_4d42 => "CIFS",
        0x0102_1997 => "9p",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x00c3_6400 => "CephFS",
        0x7375_7245 => "Coda",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x1983_0326 => "BeeGFS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xff53_4d42), Some("CIFS"));
        for local in [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630] {
            assert_eq!(network_name(local), None);
        }
        assert_eq!(network_file_system(&std::env::temp_dir()), None);
    }
}
