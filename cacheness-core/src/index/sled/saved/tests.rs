use std::fs;

use super::*;

#[test]
fn chunks_read_back_up_to_the_first_that_is_torn_or_damaged() {
    let pairs = |from: u64| -> Vec<Pair> { (from..from + 3).map(|n| [n, u64::MAX - n]).collect() };
    let mut file = Vec::new();
    write_chunk(&mut file, &pairs(0)).unwrap();
    let first = file.len();
    assert_eq!(first as u64, chunk_len(3));
    write_chunk(&mut file, &pairs(5)).unwrap();
    let read = |bytes: &[u8]| {
        let mut rest = bytes;
        std::iter::from_fn(|| read_chunk(&mut rest)).collect::<Vec<_>>()
    };
    assert_eq!(read(&file), [pairs(0), pairs(5)]);
    for len in first..file.len() {
        assert_eq!(read(&file[..len]), [pairs(0)], "cut at {len}");
    }
    for bit in first * 8..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read(&flipped), [pairs(0)], "bit {bit}");
    }
}

#[test]
fn more_pairs_than_a_chunk_holds_are_several() {
    let mut file = Vec::new();
    let written = write_all(&mut file, (0..MOST_PAIRS as u64 + 1).map(|n| [n, n])).unwrap();
    assert_eq!(written, file.len() as u64);
    let mut rest = &file[..];
    let lengths: Vec<_> = std::iter::from_fn(|| read_chunk(&mut rest)).map(|chunk| chunk.len()).collect();
    assert_eq!(lengths, [MOST_PAIRS, 1]);
}

#[test]
fn values_read_back_and_a_flipped_bit_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let states = States::default();
    for (name, value) in [("one", &b"1"[..]), ("none", b""), ("two", b"22")] {
        let swap = Swap { expected: None, new: Some(value) };
        assert_eq!(states.get(root.path(), name, Some(swap)).unwrap().as_deref(), Some(value));
    }
    assert_eq!(States::default().get(root.path(), "two", None).unwrap().as_deref(), Some(&b"22"[..]));
    let whole = fs::read(place(root.path())).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(place(root.path()), flipped).unwrap();
        assert!(States::default().get(root.path(), "two", None).unwrap_err().is_integrity(), "bit {bit}");
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

#[test]
fn what_was_appended_is_there_after_a_kill_and_the_last_use_counts() {
    let root = tempfile::tempdir().unwrap();
    let uses = Uses::default();
    uses.note(1, at(10));
    uses.note(2, at(11));
    uses.append(root.path()).unwrap();
    uses.note(1, at(12));
    uses.append(root.path()).unwrap();
    uses.note(2, at(13));
    let after = Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9);
    assert_eq!((after.last(1), after.last(2)), (Some(at(12)), Some(at(11))), "the last was not appended");
    assert_eq!(Uses::read(root.path(), [1].into_iter()).last(2), None, "an entry that is gone has no use");
}

#[test]
fn what_is_appended_behind_a_torn_chunk_is_read() {
    let root = tempfile::tempdir().unwrap();
    let uses = Uses::default();
    uses.note(1, at(10));
    uses.append(root.path()).unwrap();
    let mut torn = fs::read(uses_path(root.path())).unwrap();
    torn.extend_from_slice(&[9, 0, 0, 0, 1, 2, 3]);
    fs::write(uses_path(root.path()), torn).unwrap();
    let uses = Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9);
    uses.note(2, at(20));
    uses.append(root.path()).unwrap();
    let uses = Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9);
    assert_eq!((uses.last(1), uses.last(2)), (Some(at(10)), Some(at(20))));
}

#[test]
fn a_file_of_outdated_uses_is_written_anew() {
    let root = tempfile::tempdir().unwrap();
    let uses = Uses::default();
    for round in 0..5 {
        (0..MOST_PAIRS as i64).for_each(|n| uses.note(7, at(round * 1_000_000 + n)));
        uses.append(root.path()).unwrap();
    }
    assert!(fs::metadata(uses_path(root.path())).unwrap().len() <= 3 * chunk_len(MOST_PAIRS));
    assert_eq!(Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9).last(7), uses.last(7));
}

#[test]
fn a_close_saves_also_what_was_too_much_to_wait() {
    let root = tempfile::tempdir().unwrap();
    let uses = Uses::default();
    (0..MOST_PAIRS as u64 + 5).for_each(|hash| uses.note(hash, at(1)));
    uses.save(root.path()).unwrap();
    assert_eq!(Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9).last(MOST_PAIRS as u64 + 4), Some(at(1)));
}
