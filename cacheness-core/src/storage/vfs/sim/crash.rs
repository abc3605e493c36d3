//! What a power cut leaves of a simulated file system.

use super::tree::{FileNode, Node, Tree};

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
