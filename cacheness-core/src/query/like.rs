//! Patterns of `like`: `%` stands for any text, `_` for one character, and a backslash takes the meaning from the
//! character behind it.

use std::str::Chars;

#[derive(Clone, Copy, PartialEq)]
enum Part {
    AnyText,
    AnyCharacter,
    Character(char),
}

/// The parts of a pattern, read while they are asked for. A backslash at the end stands for itself.
#[derive(Clone)]
struct Parts<'p>(Chars<'p>);

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        Some(match self.0.next()? {
            '%' => Part::AnyText,
            '_' => Part::AnyCharacter,
            '\\' => Part::Character(self.0.next().unwrap_or('\\')),
            other => Part::Character(other),
        })
    }
}

fn parts(pattern: &str) -> Parts<'_> {
    Parts(pattern.chars())
}

/// Whether the whole text is what the pattern says. Takes at most the product of both lengths: after a mismatch only the
/// last `%` is tried again.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (mut wanted, mut rest) = (parts(pattern), text.chars());
    let mut retry: Option<(Parts<'_>, Chars<'_>)> = None;
    loop {
        let (before, part) = (rest.clone(), wanted.next());
        let goes_on = match part {
            Some(Part::AnyText) => {
                retry = Some((wanted.clone(), before));
                true
            }
            Some(Part::AnyCharacter) => rest.next().is_some(),
            Some(Part::Character(character)) => rest.next() == Some(character),
            None if before.as_str().is_empty() => return true,
            None => false,
        };
        if !goes_on {
            let Some((behind, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            (wanted, rest) = (behind.clone(), from.clone());
        }
    }
}

/// The text that everything begins with that the pattern matches.
pub(super) fn beginning(pattern: &str) -> String {
    parts(pattern)
        .map_while(|part| if let Part::Character(character) = part { Some(character) } else { None })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percent_is_any_text_and_underscore_one_character() {
        for (pattern, text) in [
            ("", ""),
            ("%", ""),
            ("%", "é"),
            ("a%", "a"),
            ("%b", "aab"),
            ("a_c", "aéc"),
            ("%a%b%", "xaxbx"),
            ("%%", "x"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("_", ""), ("_", "ab"), ("a%", "ba"), ("%b", "ba"), ("A", "a"), ("a%b", "a")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_backslash_takes_the_meaning_from_what_follows() {
        assert!(matches(r"100\%", "100%") && !matches(r"100\%", "1000"));
        assert!(matches(r"a\_b", "a_b") && !matches(r"a\_b", "axb"));
        assert!(matches(r"a\\b", r"a\b") && matches(r"a\", r"a\"));
        assert_eq!((beginning(r"a\%b_c"), beginning("%a"), beginning("abc")), ("a%b".into(), "".into(), "abc".into()));
    }

    #[test]
    fn a_pattern_that_nearly_matches_everywhere_ends_soon() {
        assert!(!matches(&"%a".repeat(40), &"a".repeat(5_000).replace("aaaaa", "aaaab").replace('a', "b")));
        assert!(!matches(&format!("{}b", "%a".repeat(30)), &"a".repeat(3_000)));
    }

    /// The same by the definition, without a thought of time.
    fn by_definition(pattern: &[Part], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([Part::AnyText, behind @ ..], _) => (0..=text.len()).any(|from| by_definition(behind, &text[from..])),
            ([Part::AnyCharacter, behind @ ..], [_, rest @ ..]) => by_definition(behind, rest),
            ([Part::Character(wanted), behind @ ..], [first, rest @ ..]) if wanted == first => {
                by_definition(behind, rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_matches(pattern in r"[ab%_\\]{0,7}", text in r"[ab%\\]{0,7}") {
            let (all, characters): (Vec<_>, Vec<_>) = (parts(&pattern).collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), by_definition(&all, &characters));
            if matches(&pattern, &text) {
                prop_assert!(text.starts_with(&beginning(&pattern)));
            }
        }
    }
}
