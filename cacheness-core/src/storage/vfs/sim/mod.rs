//! A file system in memory that can lose power and fail at any call.
//!
//! It keeps two states. The live one is what calls see; the durable one is what syncs have made safe. What lies between
//! them - writes to files, names added to and taken from directories - is kept as a list, and [`SimVfs::crash`] decides
//! for each item on it, by a seed, whether and how it reached the disk. A sync of a file that fails is lost for good: the
//! next one says that all is well and has no effect, as on systems that take what they could not write for written.

mod tree;

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DirEntry, FileKind, Lock, Metadata, Owner, ReadFile, Vfs, WriteFile, user};
use tree::{Id, Tree};

/// A file system in memory for tests of crashes and failing disks. Clones are handles to the same files.
///
/// It begins with nothing but the directory `/`.
#[derive(Clone)]
pub struct SimVfs(Arc<Mutex<State>>);

/// What a [`SimVfs`] promises and does not do, to show that a test would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Syncing a file has no effect.
    FileSync,
    /// Syncing a directory has no effect.
    DirSync,
}

struct State {
    tree: Tree,
    faults: Plan,
    lie: Option<Lie>,
    /// What syncs of the whole file system say next, without an effect; after that there are none.
    answers: std::collections::VecDeque<io::Result<()>>,
}

impl SimVfs {
    /// An empty file system.
    pub fn new() -> Self {
        Self::over(Tree::new())
    }

    fn over(tree: Tree) -> Self {
        Self(Arc::new(Mutex::new(State { tree, faults: Plan::default(), lie: None, answers: Default::default() })))
    }

    /// What a power cut now would leave. The same seed cuts the same way; this file system goes on as if nothing
    /// happened.
    ///
    /// Synced things stay. Of each write since, all, nothing, a beginning, some bytes or as many zeros arrive, and the
    /// length of the file is decided apart from that. Each name that was added or removed since is kept or lost by
    /// itself, but the old name of a renamed file never goes before the new one is there.
    pub fn crash(&self, seed: u64) -> Self {
        Self::over(self.state().tree.after_power_cut(seed))
    }

    /// Lets the `call`-th call from now on (0 is the next one) fail.
    pub fn fail_at(&self, call: u64, fault: Fault, repeat: Repeat) {
        self.state().faults.arm(call, fault, repeat);
    }

    /// Lets every call succeed again, and says whether one has failed since [`SimVfs::fail_at`].
    pub fn clear_faults(&self) -> bool {
        self.state().faults.clear()
    }

    /// Makes a kind of sync do nothing.
    pub fn lie_about(&self, lie: Lie) {
        self.state().lie = Some(lie);
    }

    /// Lets the next syncs of the whole file system answer this, and do nothing.
    #[cfg(test)]
    pub(crate) fn answer_whole_syncs(&self, answers: impl IntoIterator<Item = io::Result<()>>) {
        self.state().answers.extend(answers);
    }

    /// Puts a link or a special file at a path.
    ///
    /// # Errors
    /// As [`Vfs::make_dir`].
    pub fn plant(&self, path: &Path, kind: FileKind) -> io::Result<()> {
        self.state().tree.add(path, tree::Node::of(kind)).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for one call: here planned faults strike.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.faults.strike()?;
        Ok(state)
    }

    fn handle(&self, id: Id) -> SimFile {
        SimFile { vfs: self.clone(), id, position: 0 }
    }
}

impl Default for SimVfs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimVfs").finish_non_exhaustive()
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let id = self.call()?.tree.find_file(path)?;
        Ok(Box::new(self.handle(id)))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let id = self.call()?.tree.add(path, tree::Node::of(FileKind::File))?;
        Ok(Box::new(self.handle(id)))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.tree.find_file(path) {
            Ok(id) => state.sync_file(id),
            Err(error) => state.faults.strike().and(Err(error)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?.tree.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?.tree.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?.tree.remove(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?.tree.add(path, tree::Node::of(FileKind::Dir)).map(drop)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?.tree.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        let honest = state.lie != Some(Lie::DirSync);
        state.tree.sync_dir(path, honest)
    }

    fn sync_file_system(&self, _dir: &Path) -> io::Result<()> {
        self.state().answers.pop_front().unwrap_or_else(|| Err(io::ErrorKind::Unsupported.into()))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call()?.tree.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.call()?.tree.metadata(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.call()?.tree.canonical(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let id = self.call()?.tree.lock(path)?;
        Ok(Box::new(SimLock { vfs: self.clone(), id }))
    }
}

impl State {
    /// Syncs a file, or fails to as is planned.
    fn sync_file(&mut self, id: Id) -> io::Result<()> {
        let struck = self.faults.strike();
        let file = self.tree.file_mut(id);
        if struck.is_err() {
            file.sync_failed = true;
        } else if self.lie != Some(Lie::FileSync) {
            file.sync();
        }
        struck
    }
}

#[derive(Debug)]
struct SimLock {
    vfs: SimVfs,
    id: Id,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.vfs.state().tree.unlock(self.id);
    }
}

/// An open file: goes on working when its name is taken away, as on Unix.
#[derive(Debug)]
struct SimFile {
    vfs: SimVfs,
    id: Id,
    position: u64,
}

impl ReadFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.vfs.call()?.tree.file_mut(self.id).bytes().len() as u64)
    }

    fn owner(&self) -> io::Result<Option<Owner>> {
        Ok(user().map(|uid| Owner { uid, mode: 0o600 }))
    }
}

impl Read for SimFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.vfs.call()?;
        let bytes = state.tree.file_mut(self.id).bytes();
        let start = usize::try_from(self.position).unwrap_or(usize::MAX).min(bytes.len());
        let read = (&bytes[start..]).read(buf)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SimFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let len = ReadFile::len(self)?;
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl WriteFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        self.vfs.state().sync_file(self.id)
    }
}

impl Write for SimFile {
    /// A write that fails has written half, as on a disk that fills up; an interrupted one has written nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.vfs.state();
        let struck = state.faults.strike();
        let arrived = match &struck {
            Ok(()) => bytes.len(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => bytes.len() / 2,
        };
        state.tree.file_mut(self.id).append(&bytes[..arrived]);
        struck.map(|()| arrived)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Calls that are planned to fail.

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With an error of this kind.
    Kind(io::ErrorKind),
    /// With this error number of the operating system.
    Errno(i32),
}

/// How often calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Only the chosen call.
    Once,
    /// The chosen call and all after it.
    Sticky,
}

#[derive(Debug, Default)]
struct Plan {
    armed: Option<Armed>,
    struck: bool,
}

#[derive(Debug)]
struct Armed {
    calls_left: u64,
    fault: Fault,
    repeat: Repeat,
}

impl Plan {
    fn arm(&mut self, calls_left: u64, fault: Fault, repeat: Repeat) {
        *self = Self { armed: Some(Armed { calls_left, fault, repeat }), struck: false };
    }

    fn clear(&mut self) -> bool {
        std::mem::take(self).struck
    }

    /// Counts one call, and fails when its time has come.
    fn strike(&mut self) -> io::Result<()> {
        let Some(armed) = &mut self.armed else { return Ok(()) };
        if armed.calls_left > 0 {
            armed.calls_left -= 1;
            return Ok(());
        }
        let fault = armed.fault;
        if armed.repeat == Repeat::Once {
            self.armed = None;
        }
        self.struck = true;
        Err(match fault {
            Fault::Kind(kind) => kind.into(),
            Fault::Errno(errno) => io::Error::from_raw_os_error(errno),
        })
    }
}
