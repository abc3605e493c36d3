//! Bytes of numbers sorted by their place: all first bytes, all second ones, and so on. What is no whole number at the end
//! stays where it is.

/// Sorts the bytes of numbers of 2, 4 or 8 bytes; others give nothing.
pub(super) fn sort(bytes: &[u8], width: u8, sorted: &mut Vec<u8>) {
    match width {
        2 => sort_by::<2>(bytes, sorted),
        4 => sort_by::<4>(bytes, sorted),
        8 => sort_by::<8>(bytes, sorted),
        _ => sorted.clear(),
    }
}

/// Undoes [`sort`].
pub(super) fn unsort(sorted: &[u8], width: u8, bytes: &mut Vec<u8>) {
    match width {
        2 => unsort_by::<2>(sorted, bytes),
        4 => unsort_by::<4>(sorted, bytes),
        8 => unsort_by::<8>(sorted, bytes),
        _ => bytes.clear(),
    }
}

fn sort_by<const WIDTH: usize>(bytes: &[u8], sorted: &mut Vec<u8>) {
    let (numbers, rest) = bytes.as_chunks::<WIDTH>();
    sorted.clear();
    for place in 0..WIDTH {
        sorted.extend(numbers.iter().map(|number| number[place]));
    }
    sorted.extend_from_slice(rest);
}

fn unsort_by<const WIDTH: usize>(sorted: &[u8], bytes: &mut Vec<u8>) {
    let count = sorted.len() / WIDTH;
    bytes.clear();
    bytes.resize(sorted.len(), 0);
    let (numbers, rest) = bytes.as_chunks_mut::<WIDTH>();
    let mut places = sorted.chunks(count.max(1));
    for place in 0..WIDTH {
        // As many as there are numbers; none if there is no number.
        let bytes = places.next().unwrap_or_default();
        for (number, byte) in numbers.iter_mut().zip(bytes) {
            number[place] = *byte;
        }
    }
    rest.copy_from_slice(&sorted[count * WIDTH..]);
}
