//! The files and directories of a simulated file system, and what of them is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use crate::storage::vfs::{DirEntry, FileKind, Metadata, Owner, not_regular, user};

pub(super) type Id = usize;

const ROOT: Id = 0;

pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// Changes of directories that are not durable yet, oldest first.
    pub(super) changes: Vec<Change>,
    pub(super) serials: u64,
    locked: BTreeSet<Id>,
}

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
    Link,
    Other,
}

#[derive(Clone, Default)]
pub(super) struct FileNode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Where in `live` the writes since the last sync are.
    pub(super) writes: Vec<Range<usize>>,
    /// A sync has failed. What it was to write counts as written from then on, so that later ones do nothing.
    pub(super) sync_failed: bool,
}

#[derive(Clone, Default)]
pub(super) struct DirNode {
    pub(super) live: BTreeMap<OsString, Id>,
    pub(super) durable: BTreeMap<OsString, Id>,
}

/// A name that was set or taken away in a directory.
#[derive(Clone)]
pub(super) struct Change {
    serial: u64,
    dir: Id,
    name: OsString,
    node: Option<Id>,
    /// The change without which this one is never on the disk.
    needs: Option<u64>,
}

impl Node {
    pub(super) fn of(kind: FileKind) -> Self {
        match kind {
            FileKind::File => Self::File(FileNode::default()),
            FileKind::Dir => Self::Dir(DirNode::default()),
            FileKind::Link => Self::Link,
            FileKind::Other => Self::Other,
        }
    }

    fn kind(&self) -> FileKind {
        match self {
            Self::File(_) => FileKind::File,
            Self::Dir(_) => FileKind::Dir,
            Self::Link => FileKind::Link,
            Self::Other => FileKind::Other,
        }
    }
}

impl FileNode {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let start = self.live.len();
        self.live.extend_from_slice(bytes);
        self.writes.push(start..self.live.len());
    }

    pub(super) fn sync(&mut self) {
        if !self.sync_failed {
            self.durable.clone_from(&self.live);
            self.writes.clear();
        }
    }
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::of(FileKind::Dir)], changes: Vec::new(), serials: 0, locked: BTreeSet::new() }
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<Id> {
        let id = self.find(path)?;
        if self.nodes[id].kind() == FileKind::File { Ok(id) } else { Err(not_regular()) }
    }

    pub(super) fn add(&mut self, path: &Path, node: Node) -> io::Result<Id> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.nodes.len();
        self.nodes.push(node);
        self.change(dir, name, Some(id), None)?;
        Ok(id)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let id = self.entry(dir, name)?;
        if self.nodes[id].kind() == FileKind::Dir {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.change(dir, name, None, None).map(drop)
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let id = self.entry(dir, name)?;
        self.check_replaceable(id, FileKind::Dir)?;
        self.change(dir, name, None, None).map(drop)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let id = self.entry(from_dir, from_name)?;
        if self.nodes[id].kind() == FileKind::Dir && self.is_at_or_below(to_dir, id) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if let Some(replaced) = self.dir(to_dir)?.live.get(to_name).copied() {
            if replaced == id {
                return Ok(());
            }
            self.check_replaceable(replaced, self.nodes[id].kind())?;
        }
        let linked = self.change(to_dir, to_name, Some(id), None)?;
        self.change(from_dir, from_name, None, Some(linked)).map(drop)
    }

    pub(super) fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let id = self.entry(from_dir, from_name)?;
        if self.dir(to_dir)?.live.contains_key(to_name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // A second name of a directory is nowhere to be had.
        if self.nodes[id].kind() == FileKind::Dir {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.rename(from, to)
    }

    fn check_replaceable(&self, replaced: Id, by: FileKind) -> io::Result<()> {
        match (&self.nodes[replaced], by) {
            (Node::Dir(dir), FileKind::Dir) if dir.live.is_empty() => Ok(()),
            (Node::Dir(_), FileKind::Dir) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            (Node::Dir(_), _) => Err(io::ErrorKind::IsADirectory.into()),
            (_, FileKind::Dir) => Err(io::ErrorKind::NotADirectory.into()),
            _ => Ok(()),
        }
    }

    fn is_at_or_below(&self, dir: Id, top: Id) -> bool {
        let Node::Dir(node) = &self.nodes[top] else { return false };
        dir == top || node.live.values().any(|child| self.is_at_or_below(dir, *child))
    }

    pub(super) fn sync_dir(&mut self, path: &Path, honest: bool) -> io::Result<()> {
        let id = self.find(path)?;
        self.dir(id)?;
        if honest {
            self.flush(id, u64::MAX);
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.dir(self.find(path)?)?;
        let entry = |(name, id): (&OsString, &Id)| DirEntry { name: name.clone(), kind: self.nodes[*id].kind() };
        Ok(dir.live.iter().map(entry).collect())
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let node = &self.nodes[self.find(path)?];
        let len = if let Node::File(file) = node { file.live.len() as u64 } else { 0 };
        let mode = if node.kind() == FileKind::Dir { 0o700 } else { 0o600 };
        Ok(Metadata { kind: node.kind(), len, owner: user().map(|uid| Owner { uid, mode }), modified: None })
    }

    pub(super) fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let mut found = PathBuf::new();
        for component in path.components() {
            match component {
                Component::ParentDir => drop(found.pop()),
                other => found.push(other),
            }
            self.find(&found)?;
        }
        Ok(found)
    }

    pub(super) fn lock(&mut self, path: &Path) -> io::Result<Id> {
        let id = match self.find_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.add(path, Node::of(FileKind::File))?,
            found => found?,
        };
        if self.locked.insert(id) { Ok(id) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    pub(super) fn unlock(&mut self, id: Id) {
        self.locked.remove(&id);
    }

    /// The file of an open handle.
    pub(super) fn file_mut(&mut self, id: Id) -> &mut FileNode {
        match &mut self.nodes[id] {
            Node::File(file) => file,
            _ => unreachable!("handles are made for files only, and a node never changes its kind"),
        }
    }

    fn dir(&self, id: Id) -> io::Result<&DirNode> {
        match &self.nodes[id] {
            Node::Dir(dir) => Ok(dir),
            Node::Link => Err(not_regular()),
            Node::File(_) | Node::Other => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Id> {
        path.components().try_fold(ROOT, |dir, component| match component {
            Component::Normal(name) => self.entry(dir, name),
            _ => Ok(dir),
        })
    }

    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Id, &'a OsStr)> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let id = self.find(dir)?;
        self.dir(id).map(|_| (id, name))
    }

    fn entry(&self, dir: Id, name: &OsStr) -> io::Result<Id> {
        self.dir(dir)?.live.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, dir: Id, name: &OsStr, node: Option<Id>, needs: Option<u64>) -> io::Result<u64> {
        let Node::Dir(at) = &mut self.nodes[dir] else { return Err(io::ErrorKind::NotADirectory.into()) };
        set(&mut at.live, name, node);
        self.serials += 1;
        self.changes.push(Change { serial: self.serials, dir, name: name.to_owned(), node, needs });
        Ok(self.serials)
    }

    /// Makes the changes of a directory durable, those up to a serial, and before each the one that it needs.
    fn flush(&mut self, dir: Id, up_to: u64) {
        let is_due = |change: &Change| change.dir == dir && change.serial <= up_to;
        let (due, rest) = std::mem::take(&mut self.changes).into_iter().partition(is_due);
        self.changes = rest;
        let due: Vec<Change> = due;
        for change in due {
            let needed = self.changes.iter().find(|other| Some(other.serial) == change.needs);
            if let Some((dir, serial)) = needed.map(|needed| (needed.dir, needed.serial)) {
                self.flush(dir, serial);
            }
            self.make_durable(&change);
        }
    }

    fn make_durable(&mut self, change: &Change) {
        if let Node::Dir(dir) = &mut self.nodes[change.dir] {
            set(&mut dir.durable, &change.name, change.node);
        }
    }

    /// Lets `keep` decide which changes reached the disk; none does without the one it needs.
    pub(super) fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.changes) {
            let orphaned = change.needs.is_some_and(|needed| lost.contains(&needed));
            if keep() && !orphaned {
                self.make_durable(&change);
            } else {
                lost.insert(change.serial);
            }
        }
        self.locked.clear();
    }

    /// A copy to cut the power of.
    pub(super) fn copy(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            changes: self.changes.clone(),
            serials: self.serials,
            locked: self.locked.clone(),
        }
    }
}

fn set(entries: &mut BTreeMap<OsString, Id>, name: &OsStr, node: Option<Id>) {
    match node {
        Some(id) => drop(entries.insert(name.to_owned(), id)),
        None => drop(entries.remove(name)),
    }
}
