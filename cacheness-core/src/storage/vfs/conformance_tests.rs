//! The simulated file system answers as the real one does, whatever is asked of it.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{DirEntry, FileKind, RealVfs, SimVfs, Vfs};

/// Names that meet often: files, directories, what was planted, and paths through all of these.
const PATHS: [&str; 12] =
    ["a", "b", "dir", "dir/a", "dir/b", "dir/sub", "dir/sub/a", "link", "link/a", "pipe", "pipe/a", "gone/a"];

#[derive(Clone, Copy, Debug)]
enum Op {
    Create(usize, u8),
    Read(usize),
    SyncFile(usize),
    Rename(usize, usize),
    RenameNew(usize, usize),
    Remove(usize),
    MakeDir(usize),
    RemoveDir(usize),
    SyncDir(usize),
    List(usize),
    Metadata(usize),
    Lock(usize),
}

/// What one call said, as far as it must be the same everywhere.
#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    Bytes(Vec<u8>),
    Names(Vec<(PathBuf, FileKind)>),
    About(FileKind, u64),
    NotFound,
    AlreadyExists,
    NotRegular,
    Refused,
}

fn op() -> impl Strategy<Value = Op> {
    let path = || 0..PATHS.len();
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(path, byte)| Op::Create(path, byte)),
        2 => path().prop_map(Op::Read),
        1 => path().prop_map(Op::SyncFile),
        3 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Op::RenameNew(from, to)),
        2 => path().prop_map(Op::Remove),
        2 => path().prop_map(Op::MakeDir),
        1 => path().prop_map(Op::RemoveDir),
        1 => path().prop_map(Op::SyncDir),
        2 => path().prop_map(Op::List),
        2 => path().prop_map(Op::Metadata),
        1 => path().prop_map(Op::Lock),
    ]
}

fn answer(vfs: &dyn Vfs, root: &Path, op: Op) -> Answer {
    let at = |path: usize| root.join(PATHS[path]);
    let result = match op {
        Op::Create(path, byte) => create(vfs, &at(path), byte),
        Op::Read(path) => read(vfs, &at(path)),
        Op::SyncFile(path) => vfs.sync_file(&at(path)).map(|()| Answer::Done),
        Op::Rename(from, to) => vfs.rename(&at(from), &at(to)).map(|()| Answer::Done),
        Op::RenameNew(from, to) => vfs.rename_new(&at(from), &at(to)).map(|()| Answer::Done),
        Op::Remove(path) => vfs.remove(&at(path)).map(|()| Answer::Done),
        Op::MakeDir(path) => vfs.make_dir(&at(path)).map(|()| Answer::Done),
        Op::RemoveDir(path) => vfs.remove_dir(&at(path)).map(|()| Answer::Done),
        Op::SyncDir(path) => vfs.sync_dir(&at(path)).map(|()| Answer::Done),
        Op::List(path) => vfs.list(&at(path)).map(names),
        Op::Metadata(path) => vfs.metadata(&at(path)).map(|found| match found.kind {
            FileKind::File => Answer::About(found.kind, found.len),
            other => Answer::About(other, 0),
        }),
        Op::Lock(path) => lock_twice(vfs, &at(path)),
    };
    result.unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Answer::NotFound,
        io::ErrorKind::AlreadyExists => Answer::AlreadyExists,
        io::ErrorKind::InvalidData if matches!(op, Op::Read(path) if !PATHS[path].contains('/')) => Answer::NotRegular,
        _ => Answer::Refused,
    })
}

fn create(vfs: &dyn Vfs, path: &Path, byte: u8) -> io::Result<Answer> {
    let mut file = vfs.create_new(path)?;
    file.write_all(&vec![byte; usize::from(byte)])?;
    file.write_all(b"end")?;
    file.sync()?;
    Ok(Answer::Done)
}

fn read(vfs: &dyn Vfs, path: &Path) -> io::Result<Answer> {
    let mut file = vfs.open(path)?;
    let len = file.len()?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::End(-3))?;
    file.read_to_end(&mut bytes)?;
    assert_eq!(bytes, b"end");
    bytes.clear();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    assert_eq!(bytes.len() as u64, len);
    Ok(Answer::Bytes(bytes))
}

fn lock_twice(vfs: &dyn Vfs, path: &Path) -> io::Result<Answer> {
    if vfs.metadata(path).is_ok_and(|found| found.kind == FileKind::Dir) {
        return Ok(Answer::Refused);
    }
    let guard = vfs.lock(path)?;
    assert_eq!(vfs.lock(path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(guard);
    vfs.remove(path)?;
    Ok(Answer::Done)
}

fn names(entries: Vec<DirEntry>) -> Answer {
    let mut names: Vec<_> = entries.into_iter().map(|entry| (PathBuf::from(entry.name), entry.kind)).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    Answer::Names(names)
}

/// Runs the operations on both, beginning with a link and a pipe in place.
fn compare(real: &RealVfs, ops: &[Op]) {
    let dir = tempfile::tempdir().unwrap();
    let real_root = real.canonical(dir.path()).unwrap();
    let (sim, sim_root) = (SimVfs::new(), Path::new("/"));
    std::os::unix::fs::symlink("dir", real_root.join("link")).unwrap();
    sim.plant(&sim_root.join("link"), FileKind::Link).unwrap();
    let pipe = real_root.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    sim.plant(&sim_root.join("pipe"), FileKind::Other).unwrap();
    for (step, op) in ops.iter().enumerate() {
        let (real, sim) = (answer(real, &real_root, *op), answer(&sim, sim_root, *op));
        assert_eq!(real, sim, "step {step}, {op:?} (real, simulated)");
    }
}

proptest! {
    #[test]
    fn the_simulation_answers_as_the_strict_real_file_system_does(ops in prop::collection::vec(op(), 1..40)) {
        compare(&RealVfs::new(), &ops);
    }

    #[test]
    fn the_simulation_answers_as_the_plain_real_file_system_does(ops in prop::collection::vec(op(), 1..40)) {
        compare(&RealVfs::with(super::sys_unix::Sys::NoLinksAtTheEnd), &ops);
    }
}

#[test]
fn a_link_anywhere_in_the_path_leads_nowhere() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = dir.path().canonicalize().unwrap();
    std::fs::create_dir(outside.path().join("deep")).unwrap();
    std::fs::write(outside.path().join("deep/secret"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("link")).unwrap();
    let vfs = RealVfs::new();
    if vfs.open(&root.join("link/deep/secret")).is_ok() {
        println!("SKIPPED: this kernel has no openat2");
        return;
    }
    std::fs::write(root.join("mine"), "mine").unwrap();
    assert!(vfs.create_new(&root.join("link/deep/new")).is_err());
    assert!(vfs.rename(&root.join("mine"), &root.join("link/deep/mine")).is_err());
    assert!(vfs.rename(&root.join("link/deep/secret"), &root.join("taken")).is_err());
    assert!(vfs.remove(&root.join("link/deep/secret")).is_err());
    assert!(vfs.make_dir(&root.join("link/deep/dir")).is_err());
    assert!(vfs.remove_dir(&root.join("link/deep")).is_err());
    assert!(vfs.list(&root.join("link/deep")).is_err());
    assert!(vfs.metadata(&root.join("link/deep/secret")).is_err());
    assert_eq!(std::fs::read_dir(outside.path().join("deep")).unwrap().count(), 1);
}
