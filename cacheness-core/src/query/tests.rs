use std::time::Duration;

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
