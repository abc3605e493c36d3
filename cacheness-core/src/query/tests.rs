use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::entry::{Core, Details, Entry, IndexKey, sample};
use crate::key::ToKey;
use crate::value::Value;

fn entry() -> Entry {
    let key = crate::params! { run: 42, name: "exp_001", size: "large" }.to_key().unwrap();
    Entry {
        key: IndexKey::of(&key),
        core: Core {
            raw_size: 300,
            stored_size: 200,
            checksum: 3,
            ..sample::core(Timestamp::from_micros(1_000_000), Some(Duration::from_secs(60)))
        },
        details: Details {
            data_type: "u64".into(),
            tags: vec!["red".into(), "blue".into()],
            metadata: [
                ("accuracy".to_owned(), Value::from(0.5)),
                ("epochs".to_owned(), 10.into()),
                ("empty".to_owned(), Value::Null),
                ("a'; DROP TABLE entries; --".to_owned(), true.into()),
            ]
            .into(),
            params: key.params().to_vec(),
            ..Details::default()
        },
        accessed_at: None,
        signature: None,
    }
}

fn met(filter: Filter) -> bool {
    filter.matches(&entry())
}

#[test]
fn metadata_parameters_and_technical_fields_are_compared_alike() {
    assert!(met(Field::metadata("accuracy").eq(0.5)));
    assert!(met(Field::metadata("epochs").ge(10.0)) && !met(Field::metadata("epochs").gt(10)));
    assert!(met(Field::param("run").lt(43)) && met(Field::param("name").eq("exp_001")));
    assert!(met(Field::from(EntryField::Size).le(200)) && !met(Field::from(EntryField::Size).lt(200)));
    assert!(met(Field::from(EntryField::CreatedAt).eq(Timestamp::from_micros(1_000_000))));
    assert!(met(Field::from(EntryField::Ttl).eq(60)));
}

#[test]
fn values_of_another_kind_are_neither_equal_nor_in_any_order() {
    assert!(!met(Field::metadata("epochs").eq("10")));
    assert!(!met(Field::metadata("epochs").lt("99")) && !met(Field::metadata("epochs").gt("0")));
    assert!(met(Field::metadata("epochs").ne("10")));
}

#[test]
fn a_field_that_is_missing_meets_nothing_but_the_question_whether_it_is() {
    for name in ["nothing", "empty"] {
        let field = || Field::metadata(name);
        for filter in [field().eq(1), field().ne(1), field().lt(1), field().is_in([1]), field().is_present()] {
            assert!(!met(filter.clone()), "{filter:?}");
        }
        assert!(met(field().is_missing()) && met(!field().eq(1)));
    }
    assert!(met(Field::from(EntryField::Function).is_missing()));
}

#[test]
fn any_name_is_looked_up_in_metadata_then_parameters_then_the_entry_itself() {
    assert!(met(Field::any("accuracy").eq(0.5)));
    assert!(met(Field::any("size").eq("large")), "the parameter stands before the field of the entry");
    assert!(met(Field::any("data_type").eq("u64")));
    assert!(!met(Field::any("no such name").is_present()));
}

#[test]
fn a_name_is_data_whatever_is_in_it() {
    assert!(met(Field::metadata("a'; DROP TABLE entries; --").eq(true)));
    assert!(!met(Field::metadata("a.b[0]").is_present()));
}

#[test]
fn texts_and_lists_are_searched() {
    assert!(met(Field::param("name").starts_with("exp_")) && !met(Field::param("name").starts_with("001")));
    assert!(met(Field::param("name").contains("p_0")));
    assert!(met(Field::from(EntryField::Tags).contains("blue")) && !met(Field::from(EntryField::Tags).contains("blu")));
    assert!(met(Field::metadata("epochs").is_in([9, 10])) && !met(Field::metadata("epochs").is_in([9, 11])));
}

#[test]
fn filters_are_put_together() {
    let (yes, no) = (|| Field::metadata("epochs").eq(10), || Field::metadata("epochs").eq(11));
    assert!(met(yes() & yes() & yes()) && !met(yes() & yes() & no()));
    assert!(met(no() | no() | yes()) && !met(no() | no()));
    assert!(met(!no()) && !met(!yes()) && met(!(yes() & no())));
    assert!(met(Filter::everything()));
    assert!(met(Filter::matching([("name", "exp_001")])));
    assert!(!met(Filter::matching([("name", "exp_001"), ("size", "small")])));
}

#[test]
fn an_unknown_field_of_entries_is_refused_with_those_that_there_are() {
    for field in EntryField::ALL {
        assert_eq!(field.name().parse::<EntryField>().unwrap(), *field);
    }
    let error = "created".parse::<EntryField>().unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("created_at, accessed_at"), "{error}");
}

#[test]
fn percent_is_any_text_and_underscore_one_character() {
    for (pattern, text) in
        [("", ""), ("%", ""), ("%", "é"), ("a%", "a"), ("%b", "aab"), ("a_c", "aéc"), ("%a%b%", "xaxbx"), ("%%", "x")]
    {
        assert!(like_matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("", "a"), ("_", ""), ("_", "ab"), ("a%", "ba"), ("%b", "ba"), ("A", "a"), ("a%b", "a")] {
        assert!(!like_matches(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn a_backslash_takes_the_meaning_from_what_follows() {
    assert!(like_matches(r"100\%", "100%") && !like_matches(r"100\%", "1000"));
    assert!(like_matches(r"a\_b", "a_b") && !like_matches(r"a\_b", "axb"));
    assert!(like_matches(r"a\\b", r"a\b") && like_matches(r"a\", r"a\"));
    assert_eq!(
        (like_prefix(r"a\%b_c"), like_prefix("%a"), like_prefix("abc")),
        ("a%b".into(), "".into(), "abc".into())
    );
}

#[test]
fn a_pattern_that_nearly_matches_everywhere_ends_soon() {
    assert!(!like_matches(&"%a".repeat(40), &"a".repeat(5_000).replace("aaaaa", "aaaab").replace('a', "b")));
    assert!(!like_matches(&format!("{}b", "%a".repeat(30)), &"a".repeat(3_000)));
}

/// The same by the definition, without a thought of time.
fn by_definition(pattern: &[Part], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([Part::AnyText, behind @ ..], _) => (0..=text.len()).any(|from| by_definition(behind, &text[from..])),
        ([Part::AnyCharacter, behind @ ..], [_, rest @ ..]) => by_definition(behind, rest),
        ([Part::Character(wanted), behind @ ..], [first, rest @ ..]) if wanted == first => by_definition(behind, rest),
        _ => false,
    }
}

proptest! {
    #[test]
    fn it_matches_what_the_definition_matches(pattern in r"[ab%_\\]{0,7}", text in r"[ab%\\]{0,7}") {
        let (all, characters): (Vec<_>, Vec<_>) = (parts(&pattern).collect(), text.chars().collect());
        prop_assert_eq!(like_matches(&pattern, &text), by_definition(&all, &characters));
        if like_matches(&pattern, &text) {
            prop_assert!(text.starts_with(&like_prefix(&pattern)));
        }
    }
}
