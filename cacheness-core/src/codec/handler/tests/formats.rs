//! Types that bincode cannot read back are written by name.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::PayloadFormat::{Bincode, MessagePack, Readable};
use super::*;

#[test]
fn json_is_kept() {
    comes_back_as(MessagePack, json!({"a": [1, -2, 3.5, null, true], "b": {"c": "d"}, "e": u64::MAX}));
}

#[test]
fn an_untagged_enum_is_kept() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(untagged)]
    enum Answer {
        Number(i64),
        Text(String),
        Both { number: i64, text: String },
    }
    comes_back_as(MessagePack, Answer::Number(-3));
    comes_back_as(MessagePack, Answer::Text("three".into()));
    comes_back_as(MessagePack, Answer::Both { number: 3, text: "three".into() });
}

#[test]
fn tagged_enums_are_kept() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(tag = "type")]
    enum Inside {
        Circle { radius: f64 },
        Nothing,
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(tag = "type", content = "content")]
    enum Beside {
        Circle(f64),
        Square(f64, f64),
    }
    comes_back_as(MessagePack, Inside::Circle { radius: 1.0 });
    comes_back_as(MessagePack, Inside::Nothing);
    comes_back(Beside::Circle(2.0));
    comes_back(Beside::Square(1.0, 2.0));
}

#[test]
fn flattened_structs_are_kept() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Page {
        items: Vec<u8>,
        #[serde(flatten)]
        rest: HashMap<String, String>,
    }
    let rest = HashMap::from([("a".into(), "b".into()), ("c".into(), "d".into())]);
    comes_back_as(MessagePack, Page { items: vec![1, 2], rest });
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u32>,
    b: u32,
}

#[test]
fn a_value_that_skips_a_field_is_written_by_name_also_after_one_that_does_not() {
    comes_back_as(Bincode, vec![Sparse { a: Some(1), b: 2 }]);
    comes_back_as(MessagePack, vec![Sparse { a: Some(1), b: 2 }, Sparse { a: None, b: 2 }]);
    comes_back_as(Bincode, vec![Sparse { a: Some(1), b: 2 }]);
}

#[test]
fn a_value_that_skips_a_field_is_written_by_name_also_as_the_first_of_its_type() {
    comes_back_as(MessagePack, Some(Sparse { a: None, b: 2 }));
    comes_back_as(Bincode, Some(Sparse { a: Some(1), b: 2 }));
}

#[test]
fn a_later_variant_that_bincode_loses_is_found_out() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Reply {
        Empty,
        Number(u32),
        Json(serde_json::Value),
    }
    comes_back_as(Bincode, Reply::Empty);
    comes_back_as(Bincode, Reply::Number(1));
    comes_back_as(MessagePack, Reply::Json(json!([1, "two"])));
    comes_back_as(MessagePack, Reply::Number(1));
}

/// Written like the number it contains, but read by asking what is there.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Asks {
    Number(u32),
}

#[test]
fn a_later_variant_that_consists_of_the_same_kinds_of_values_is_found_out_too() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Newtypes {
        Plain(u32),
        Asks(Asks),
    }
    comes_back_as(Bincode, Newtypes::Plain(1));
    comes_back_as(MessagePack, Newtypes::Asks(Asks::Number(1)));
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Structs {
        Plain { x: u32 },
        Asks { x: Asks },
    }
    comes_back_as(Bincode, Structs::Plain { x: 1 });
    comes_back_as(MessagePack, Structs::Asks { x: Asks::Number(1) });
}

#[test]
fn a_nothing_inside_of_something_that_neither_format_keeps_is_refused() {
    #[derive(Serialize, Deserialize)]
    struct Nested {
        #[serde(flatten)]
        fields: BTreeMap<String, Option<Option<u8>>>,
    }
    let value = |inner| Nested { fields: [("a".to_owned(), inner), ("b".to_owned(), None)].into() };
    assert!(encode(&value(Some(Some(1))), &LIMITS).is_ok());
    let error = encode(&value(Some(None)), &LIMITS).unwrap_err();
    assert!(error.is_serialization());
    assert!(error.to_string().contains("Nested` does not read back what it wrote"), "{error}");
    assert!(encode(&value(Some(Some(1))), &LIMITS).is_ok(), "other values of the type are still kept");
}

#[test]
fn a_field_that_is_only_written_is_no_reason_to_lose_the_others() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct OneWay {
        #[serde(skip_deserializing)]
        written: u8,
        kept: u64,
    }
    comes_back_as(MessagePack, OneWay { written: 0, kept: 7 });
}

#[test]
fn a_sequence_of_unknown_length_is_kept() {
    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(transparent)]
    struct Even(Vec<u32>);
    impl Serialize for Even {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            if self.0.len() == 1 {
                return self.0.serialize(serializer);
            }
            serializer.collect_seq(self.0.iter().filter(|n| *n % 2 == 0))
        }
    }
    comes_back_as(Bincode, Even(vec![2]));
    comes_back_as(MessagePack, Even(vec![2, 4]));
    comes_back_as(Bincode, Even(vec![6]));
}

#[test]
fn the_numbers_of_the_formats_are_those_on_disk() {
    assert_eq!([Bincode, MessagePack, Readable].map(PayloadFormat::id), [1, 2, 5]);
    let known = [0, 1, 2, 3, 4, 5, 6].map(PayloadFormat::from_id);
    assert_eq!(known, [None, Some(Bincode), Some(MessagePack), None, None, Some(Readable), None]);
}

#[test]
fn vectors_of_numbers_are_told_from_bytes_and_everything_else() {
    assert_eq!(payload::width_of(type_fingerprint::<Vec<f64>>()), Some(8));
    assert_eq!(payload::width_of(type_fingerprint::<Vec<u16>>()), Some(2));
    assert_eq!(payload::width_of(type_fingerprint::<Vec<i8>>()), Some(1));
    for other in [type_fingerprint::<Vec<u8>>(), type_fingerprint::<f64>(), type_fingerprint::<Vec<Vec<f64>>>(), 0] {
        assert_eq!(payload::width_of(other), None);
    }
}
