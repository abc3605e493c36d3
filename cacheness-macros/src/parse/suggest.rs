/// The candidate nearest to what was written, if one is near enough to be meant.
pub(crate) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let mut part = None;
    let near = candidates.into_iter().inspect(|candidate| {
        if is_part(written, candidate) || is_part(candidate, written) {
            part = part.or(Some(*candidate));
        }
    });
    let (distance, candidate) =
        near.map(|word| (distance(written, word), word)).min_by_key(|(distance, _)| *distance)?;
    if distance <= 1 + candidate.len() / 4 { Some(candidate) } else { part }
}

/// Whether one word is the beginning or the end of the other, and long enough to tell something.
fn is_part(word: &str, whole: &str) -> bool {
    word.len() >= 4 && (whole.starts_with(word) || whole.ends_with(word))
}

/// Insertions, deletions and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let words = ["ttl", "prefix", "condition"];
        assert_eq!(nearest("tll", words), Some("ttl"));
        assert_eq!(nearest("conditon", words), Some("condition"));
        assert_eq!(nearest("banana", words), None);
        assert_eq!(nearest("flight", ["single_flight", "ttl"]), Some("single_flight"), "half of a name");
        assert_eq!(nearest("cache_condition", words), Some("condition"), "more than a name");
    }
}
