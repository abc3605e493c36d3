//! The files and directories of a simulated file system, what of them is durable, and what a power cut leaves.

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

// What a power cut leaves of a simulated file system.

impl Tree {
    /// The tree as the next start finds it, decided by a seed.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut tree = self.copy();
        // One cut in four loses every name since the last sync and one in four keeps all: the extremes are what a
        // coin for each name would nearly never show.
        let style = dice.below(4);
        tree.settle(|| match style {
            0 => false,
            1 => true,
            _ => dice.below(2) == 0,
        });
        for node in &mut tree.nodes {
            match node {
                Node::File(file) => restart_file(file, &mut dice),
                Node::Dir(dir) => dir.live.clone_from(&dir.durable),
                Node::Link | Node::Other => {}
            }
        }
        tree
    }
}

fn restart_file(file: &mut FileNode, dice: &mut Dice) {
    let bytes = surviving_bytes(file, dice);
    *file = FileNode { live: bytes.clone(), durable: bytes, ..FileNode::default() };
}

fn surviving_bytes(file: &FileNode, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    for write in &file.writes {
        let arrived = arrived(&file.live[write.clone()], dice);
        let end = write.start + arrived.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[write.start..end].copy_from_slice(&arrived);
    }
    if !file.writes.is_empty() {
        let grown = file.live.len() - file.durable.len();
        match dice.below(4) {
            0 => bytes.truncate(file.durable.len() + dice.below(grown as u64 + 1) as usize),
            1 => bytes.resize(file.live.len(), 0),
            _ => {}
        }
    }
    bytes
}

/// What reached the disk of one write.
fn arrived(data: &[u8], dice: &mut Dice) -> Vec<u8> {
    match dice.below(6) {
        0 | 1 => data.to_vec(),
        2 => Vec::new(),
        3 => data[..dice.below(data.len() as u64 + 1) as usize].to_vec(),
        4 => data.iter().map(|byte| if dice.below(2) == 0 { *byte } else { 0 }).collect(),
        _ => vec![0; data.len()],
    }
}

/// Numbers that depend on the seed alone (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{Read, Write};
    use std::path::Path;

    use crate::storage::vfs::{SimVfs, Vfs, WriteFile};

    fn content(vfs: &SimVfs, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        vfs.open(Path::new(path)).ok()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    fn written(vfs: &SimVfs, path: &str, bytes: &[u8]) -> Box<dyn WriteFile> {
        let mut file = vfs.create_new(Path::new(path)).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_synced_file_of_a_synced_directory_survives_every_cut() {
        let vfs = SimVfs::new();
        written(&vfs, "/a", b"hello").sync().unwrap();
        vfs.sync_dir(Path::new("/")).unwrap();
        assert!((0..200).all(|seed| content(&vfs.crash(seed), "/a").as_deref() == Some(b"hello")));
    }

    #[test]
    fn an_unsynced_write_is_seen_whole_lost_cut_zeroed_and_torn() {
        let vfs = SimVfs::new();
        written(&vfs, "/a", b"hello");
        vfs.sync_dir(Path::new("/")).unwrap();
        let seen: BTreeSet<_> = (0..500).map(|seed| content(&vfs.crash(seed), "/a").unwrap()).collect();
        for expected in [b"hello".as_slice(), b"", b"hel", b"\0\0\0\0\0", b"h\0l\0o"] {
            assert!(seen.contains(expected), "{expected:?}");
        }
    }

    #[test]
    fn a_rename_is_seen_done_undone_and_with_both_names_but_never_with_none() {
        let vfs = SimVfs::new();
        written(&vfs, "/old", b"x").sync().unwrap();
        vfs.sync_dir(Path::new("/")).unwrap();
        vfs.rename(Path::new("/old"), Path::new("/new")).unwrap();
        let names = |seed| {
            let after = vfs.crash(seed);
            (content(&after, "/old").is_some(), content(&after, "/new").is_some())
        };
        let seen: BTreeSet<_> = (0..200).map(names).collect();
        assert_eq!(seen, BTreeSet::from([(true, false), (false, true), (true, true)]));
    }

    #[test]
    fn syncing_the_directory_a_file_left_makes_its_arrival_durable_too() {
        let vfs = SimVfs::new();
        ["/from", "/to"].iter().for_each(|dir| vfs.make_dir(Path::new(dir)).unwrap());
        written(&vfs, "/from/a", b"x").sync().unwrap();
        vfs.sync_dir(Path::new("/")).unwrap();
        vfs.rename(Path::new("/from/a"), Path::new("/to/a")).unwrap();
        vfs.sync_dir(Path::new("/from")).unwrap();
        assert!((0..100).all(|seed| content(&vfs.crash(seed), "/to/a").is_some()));
    }

    #[test]
    fn a_file_in_a_directory_that_was_lost_is_lost_with_it() {
        let vfs = SimVfs::new();
        vfs.make_dir(Path::new("/dir")).unwrap();
        written(&vfs, "/dir/a", b"x").sync().unwrap();
        vfs.sync_dir(Path::new("/dir")).unwrap();
        let found = (0..100).filter(|seed| content(&vfs.crash(*seed), "/dir/a").is_some()).count();
        assert!((1..100).contains(&found), "{found}");
    }

    #[test]
    fn the_same_seed_cuts_the_same_way() {
        let vfs = SimVfs::new();
        written(&vfs, "/a", &[7; 100]);
        assert!((0..50).all(|seed| content(&vfs.crash(seed), "/a") == content(&vfs.crash(seed), "/a")));
    }
}
