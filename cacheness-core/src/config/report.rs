//! What is wrong with the text of a configuration, and where: file, line, field, and what was probably meant.

use serde_path_to_error::Path;

use crate::error::{CacheError, ErrorKind};

/// Where a text came from: a file's name, or `TOML` or `JSON`.
pub(super) struct Source<'a>(pub(super) &'a str);

impl Source<'_> {
    /// An error at a line, counted from 1, in a field if it is known which.
    pub(super) fn error(&self, line: Option<usize>, field: &Path, message: &str) -> CacheError {
        let place = line.map_or_else(|| self.0.to_owned(), |line| format!("{}:{line}", self.0));
        let field = match field.iter().next() {
            Some(_) => format!("{field}: "),
            None => String::new(),
        };
        let text = format!("configuration {place}: {field}{}", explained(message));
        CacheError::new(ErrorKind::Config, text)
    }
}

/// The message of a deserializer, with what helps.
fn explained(message: &str) -> String {
    let message = message.trim_end();
    if let Some(expected) = message.strip_prefix("unknown field ") {
        return unknown(expected);
    }
    if message.starts_with("duplicate ") {
        return format!("{message}: it is there twice, leave one");
    }
    if message.contains("integer `-") {
        return format!("{message}: it must not be negative");
    }
    message.to_owned()
}

/// `text` is what follows in serde's message: the unknown name, then the known ones, each in backticks.
fn unknown(text: &str) -> String {
    let mut names = text.split('`').skip(1).step_by(2);
    let name = names.next().unwrap_or_default();
    let known: Vec<_> = names.collect();
    let nearest = nearest(name, &known).map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default();
    format!("there is no field `{name}`{nearest} (known here: {})", known.join(", "))
}

/// The name that is at most a third of its letters away.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &&str| distance(name, known);
    let nearest = known.iter().copied().min_by_key(|known| distance(known))?;
    (distance(&nearest) * 3 <= nearest.chars().count()).then_some(nearest)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    // A name out of a file may be as long as the file.
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 0..from.len() {
        let mut row = vec![i + 1];
        for j in 0..to.len() {
            let changed = last[j] + usize::from(from[i] != to[j]);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i] == to[j - 1] && from[i - 1] == to[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        (before, last) = (last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_told_if_it_is_near() {
        let known = ["cache_dir", "max_cache_size_mb", "inline_bytes"];
        assert_eq!(nearest("cache_dri", &known), Some("cache_dir"));
        assert_eq!(nearest("max_size_mb", &known), None);
        assert_eq!(nearest("max_cache_size", &known), Some("max_cache_size_mb"));
        assert_eq!(nearest("inlinebytes", &known), Some("inline_bytes"));
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn distances_count_changes() {
        for (from, to, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ab", 1), ("", "ab", 2), ("xbcd", "abce", 2)]
        {
            assert_eq!((distance(from, to), distance(to, from)), (expected, expected), "{from} {to}");
        }
    }
}
