//! File calls of Unix that follow no link.
//!
//! A call opens the directory that holds the name first, without following links, and then works on that open
//! directory: what somebody does to the path in between cannot lead it elsewhere. Linux refuses a link anywhere in the
//! path (`openat2`); other systems, and kernels before 5.6, refuse it in the last two names, which are those below a
//! cache directory that only its owner may write to.
//!
//! Paths below a [`Home`] are opened from the handle of its directory, wherever that has been moved meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::{DirEntry, FileKind, Metadata, Owner, not_regular};
use crate::clock::Timestamp;

/// How far links are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sys {
    /// Anywhere in a path.
    #[cfg(target_os = "linux")]
    NoLinks,
    /// In the last name, and in that of the directory that holds it.
    NoLinksAtTheEnd,
}

/// A handle that is good for calls relative to a directory, and asks for no right to read it.
#[cfg(target_os = "linux")]
const HOLD_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
#[cfg(not(target_os = "linux"))]
const HOLD_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

const READ_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// Without `NONBLOCK`, opening a pipe waits for somebody to write to it.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);
const CREATE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL);
const OPEN_LOCK: OFlags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::NONBLOCK);

/// Part of every open.
const NO_LINK: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

const OWNER_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const OWNER_DIR: Mode = Mode::RWXU;

/// A path, and the directory that it begins at.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    dir: BorrowedFd<'a>,
    path: &'a Path,
}

impl<'a> At<'a> {
    pub(super) fn path(path: &'a Path) -> Self {
        Self { dir: CWD, path }
    }
}

/// What a directory itself is called from its own handle.
const ITSELF: &str = ".";

/// A directory that is held open: it stays the same one, also when it is moved and another one takes its path.
#[derive(Debug)]
pub(super) struct Home {
    dir: OwnedFd,
    root: PathBuf,
}

impl Home {
    pub(super) fn open(sys: Sys, root: &Path) -> io::Result<Self> {
        let dir = sys.open_whole(At::path(root), HOLD_DIR, Mode::empty())?;
        Ok(Self { dir, root: root.to_path_buf() })
    }

    /// A path, from the handle if it lies below this directory.
    pub(super) fn at<'a>(&'a self, path: &'a Path) -> At<'a> {
        let below = path.as_os_str().as_bytes().strip_prefix(self.root.as_os_str().as_bytes());
        let inside = match below {
            Some([]) => Path::new(ITSELF),
            Some([b'/', name @ ..]) if !name.is_empty() => Path::new(OsStr::from_bytes(name)),
            _ => return At::path(path),
        };
        At { dir: self.dir.as_fd(), path: inside }
    }

    /// Tells directories apart.
    pub(super) fn identity(&self) -> io::Result<super::DirId> {
        Ok(dir_id(&fs::fstat(&self.dir)?))
    }

    /// A path that leads here by the handle, for code that only knows paths; none where the system has no such path.
    pub(super) fn way(&self) -> Option<PathBuf> {
        let way = PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd()));
        let leads_here = fs::stat(&way).is_ok_and(|found| self.identity().is_ok_and(|id| id == dir_id(&found)));
        leads_here.then_some(way)
    }
}

#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the types of these fields differ between systems")]
fn dir_id(stat: &Stat) -> super::DirId {
    super::DirId::Inode(stat.st_dev as u64, stat.st_ino as u64)
}

impl Sys {
    pub(super) fn strictest() -> Self {
        #[cfg(target_os = "linux")]
        if openat2_works() {
            return Self::NoLinks;
        }
        Self::NoLinksAtTheEnd
    }

    fn open_with(self, at: At<'_>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        match self {
            #[cfg(target_os = "linux")]
            Self::NoLinks => self.open_whole(at, flags, mode),
            Self::NoLinksAtTheEnd => {
                let (dir, name) = self.parent(at)?;
                opened(|| fs::openat(&dir, name, flags | NO_LINK, mode))
            }
        }
    }

    /// Opens a path by one call; where links are refused at the end only, that is the last name.
    fn open_whole(self, At { dir, path }: At<'_>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        opened(|| match self {
            #[cfg(target_os = "linux")]
            Self::NoLinks => fs::openat2(dir, path, flags | NO_LINK, mode, fs::ResolveFlags::NO_SYMLINKS),
            Self::NoLinksAtTheEnd => fs::openat(dir, path, flags | NO_LINK, mode),
        })
    }

    /// Holds the directory of a path, for a call on the name in it.
    fn parent<'a>(self, At { dir, path }: At<'a>) -> io::Result<(OwnedFd, &'a OsStr)> {
        let itself = Path::new(ITSELF);
        if path == itself {
            return Ok((self.open_whole(At { dir, path }, HOLD_DIR, Mode::empty())?, itself.as_os_str()));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        let path = if parent.as_os_str().is_empty() { itself } else { parent };
        Ok((self.open_whole(At { dir, path }, HOLD_DIR, Mode::empty())?, name))
    }

    pub(super) fn open(self, at: At<'_>) -> io::Result<File> {
        Ok(self.open_with(at, READ, Mode::empty())?.into())
    }

    pub(super) fn open_to_sync(self, at: At<'_>) -> io::Result<File> {
        self.open(at)
    }

    pub(super) fn create_new(self, at: At<'_>) -> io::Result<File> {
        Ok(self.open_with(at, CREATE, OWNER_FILE)?.into())
    }

    pub(super) fn open_lock(self, at: At<'_>) -> io::Result<File> {
        Ok(self.open_with(at, OPEN_LOCK, OWNER_FILE)?.into())
    }

    /// The directory of a file, open to be locked.
    pub(super) fn open_parent(self, at: At<'_>) -> io::Result<File> {
        let (dir, _) = self.parent(at)?;
        let dir = At { dir: dir.as_fd(), path: Path::new(ITSELF) };
        Ok(self.open_whole(dir, READ_DIR, Mode::empty())?.into())
    }

    /// Whether an open file is the one of this name.
    pub(super) fn is_at(self, file: &File, at: At<'_>) -> io::Result<bool> {
        let (dir, name) = self.parent(at)?;
        let (held, named) = (fs::fstat(file)?, fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?);
        Ok(dir_id(&held) == dir_id(&named))
    }

    pub(super) fn rename(self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        let (from_dir, from) = self.parent(from)?;
        let (to_dir, to) = self.parent(to)?;
        Ok(retry_on_intr(|| fs::renameat(&from_dir, from, &to_dir, to))?)
    }

    /// By a second name: no rename of all Unix systems leaves alone what is there.
    pub(super) fn rename_new(self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        let (from_dir, from) = self.parent(from)?;
        let (to_dir, to) = self.parent(to)?;
        retry_on_intr(|| fs::linkat(&from_dir, from, &to_dir, to, AtFlags::empty()))?;
        Ok(retry_on_intr(|| fs::unlinkat(&from_dir, from, AtFlags::empty()))?)
    }

    pub(super) fn remove(self, at: At<'_>) -> io::Result<()> {
        let (dir, name) = self.parent(at)?;
        Ok(retry_on_intr(|| fs::unlinkat(&dir, name, AtFlags::empty()))?)
    }

    pub(super) fn make_dir(self, at: At<'_>) -> io::Result<()> {
        let (dir, name) = self.parent(at)?;
        Ok(retry_on_intr(|| fs::mkdirat(&dir, name, OWNER_DIR))?)
    }

    pub(super) fn remove_dir(self, at: At<'_>) -> io::Result<()> {
        let (dir, name) = self.parent(at)?;
        Ok(retry_on_intr(|| fs::unlinkat(&dir, name, AtFlags::REMOVEDIR))?)
    }

    pub(super) fn sync_dir(self, at: At<'_>) -> io::Result<()> {
        let dir = File::from(self.open_with(at, READ_DIR, Mode::empty())?);
        match dir.sync_all() {
            // Some network and user-space file systems know no sync of directories: nothing more can be done there.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn sync_file_system(self, dir: At<'_>) -> io::Result<()> {
        Ok(fs::syncfs(self.open_with(dir, READ_DIR, Mode::empty())?)?)
    }

    pub(super) fn metadata(self, at: At<'_>) -> io::Result<Metadata> {
        let (dir, name) = self.parent(at)?;
        Ok(metadata_of(&fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    pub(super) fn list(self, at: At<'_>) -> io::Result<Vec<DirEntry>> {
        let mut dir = fs::Dir::new(self.open_with(at, READ_DIR, Mode::empty())?)?;
        let mut entries = Vec::new();
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems keep no kinds in their directories.
                FileType::Unknown => metadata_of(&fs::statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?).kind,
                known => kind_of(known),
            };
            entries.push(DirEntry { name: OsString::from(OsStr::from_bytes(name.to_bytes())), kind });
        }
        Ok(entries)
    }
}

/// Whose an open file is.
pub(super) fn owner(metadata: &std::fs::Metadata) -> Option<Owner> {
    use std::os::unix::fs::MetadataExt;
    Some(Owner { uid: metadata.uid(), mode: metadata.mode() & 0o7777 })
}

fn opened(open: impl FnMut() -> rustix::io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    retry_on_intr(open).map_err(|errno| match errno {
        // A link where none is followed; a socket.
        Errno::LOOP | Errno::NXIO => not_regular(),
        other => other.into(),
    })
}

#[cfg(target_os = "linux")]
fn openat2_works() -> bool {
    use std::sync::OnceLock;
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let flags = HOLD_DIR | OFlags::CLOEXEC;
        fs::openat2(CWD, "/", flags, Mode::empty(), fs::ResolveFlags::NO_SYMLINKS).is_ok()
    })
}

#[allow(clippy::unnecessary_cast, reason = "the types of these fields differ between systems")]
fn metadata_of(stat: &Stat) -> Metadata {
    Metadata {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        len: u64::try_from(stat.st_size).unwrap_or(0),
        owner: Some(Owner { uid: stat.st_uid as u32, mode: stat.st_mode as u32 & 0o7777 }),
        // The time of its inode, too: a file gets its name long after it was written, perhaps.
        modified: Some(Timestamp::from_micros((stat.st_mtime.max(stat.st_ctime) as i64).saturating_mul(1_000_000))),
    }
}

fn kind_of(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    }
}
