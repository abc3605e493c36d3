//! A type that changed between the build that wrote a value and the build that reads it.

use serde::{Deserialize, Serialize};

use super::*;

/// Two versions of a type that serde knows by the same name, and a value of the first.
macro_rules! changed {
    ($test:ident: $old:item => $new:item, $value:expr) => {
        #[test]
        fn $test() {
            mod old {
                use super::*;
                #[derive(Serialize, Deserialize)]
                $old
                pub(super) fn value() -> T {
                    $value
                }
            }
            mod new {
                #![allow(dead_code, reason = "serde alone reads some fields")]
                use super::*;
                #[derive(Serialize, Deserialize)]
                $new
            }
            let encoded = put(&old::value());
            let error = get_as::<new::T>(&encoded).err().expect("never the value of another version");
            assert!(error.is_serialization(), "{error}");
            assert!(get::<old::T>(&encoded).is_ok());
        }
    };
}

changed!(swapped_fields_of_equal_type_are_not_read:
    pub(super) struct T { width: u32, height: u32 } => pub(super) struct T { height: u32, width: u32 },
    T { width: 1, height: 2 });

changed!(a_renamed_field_is_not_read:
    pub(super) struct T { metres: f64 } => pub(super) struct T { feet: f64 },
    T { metres: 1.5 });

changed!(a_renamed_struct_is_not_read_even_in_a_field:
    pub(super) struct T { of: Option<Inner> } => pub(super) struct T { of: Option<Other> },
    T { of: Some(Inner { a: 1 }) });

changed!(an_integer_of_another_sign_is_not_read:
    pub(super) struct T { n: u32 } => pub(super) struct T { n: i32 },
    T { n: 7 });

changed!(an_integer_that_became_a_float_is_not_read:
    pub(super) struct T { n: u64 } => pub(super) struct T { n: f64 },
    T { n: 7 });

changed!(reordered_variants_are_not_read:
    pub(super) enum T { Red, Green } => pub(super) enum T { Green, Red },
    T::Red);

changed!(a_renamed_variant_is_not_read:
    pub(super) enum T { Red, Green(u8) } => pub(super) enum T { Red, Blue(u8) },
    T::Green(1));

changed!(a_renamed_newtype_is_not_read:
    pub(super) struct T { length: Metres } => pub(super) struct T { length: Feet },
    T { length: Metres(1.0) });

changed!(a_removed_field_is_not_read:
    pub(super) struct T { a: u8, b: u8 } => pub(super) struct T { a: u8 },
    T { a: 1, b: 2 });

changed!(an_added_field_is_not_read:
    pub(super) struct T { a: u8 } => pub(super) struct T { a: u8, b: () },
    T { a: 1 });

changed!(an_added_field_with_a_default_is_not_read:
    pub(super) struct T { a: u8 } => pub(super) struct T { a: u8, #[serde(default)] b: u32 },
    T { a: 1 });

changed!(an_added_field_with_a_default_is_not_read_by_name_either:
    pub(super) struct T { a: u8, #[serde(flatten)] rest: Rest }
    => pub(super) struct T { a: u8, #[serde(default)] b: u32, #[serde(flatten)] rest: Rest },
    T { a: 1, rest: Rest { z: 2 } });

changed!(a_renamed_field_whose_replacement_has_a_default_is_not_read_by_name_either:
    pub(super) struct T { a: u32, #[serde(flatten)] rest: Rest }
    => pub(super) struct T { #[serde(default)] b: u32, #[serde(flatten)] rest: Rest },
    T { a: 1, rest: Rest { z: 2 } });

changed!(a_field_that_was_left_out_does_not_stand_for_another_one:
    pub(super) struct T { #[serde(skip_serializing_if = "Option::is_none")] a: Option<u32>, b: u32 }
    => pub(super) struct T { #[serde(skip_serializing_if = "Option::is_none")] c: Option<u32>, b: u32 },
    T { a: None, b: 2 });

changed!(a_string_that_became_bytes_is_not_read:
    pub(super) struct T { a: String } => pub(super) struct T { a: Vec<u8> },
    T { a: "seven".into() });

changed!(a_list_that_became_a_set_is_not_read_if_it_loses_something:
    pub(super) struct T { a: Vec<u8> } => pub(super) struct T { a: std::collections::BTreeSet<u8> },
    T { a: vec![1, 1, 2] });

changed!(variants_whose_tags_were_swapped_are_not_read_for_each_other:
    #[serde(tag = "type")] pub(super) enum T { #[serde(rename = "a")] First { x: u8 }, #[serde(rename = "b")] Second { x: u8 } }
    => #[serde(tag = "type")] pub(super) enum T { #[serde(rename = "b")] First { x: u8 }, #[serde(rename = "a")] Second { x: u8 } },
    T::First { x: 1 });

changed!(variants_in_a_list_whose_tags_were_swapped_are_not_read_for_each_other:
    pub(super) struct T { list: Vec<old_tagged::Tagged> } => pub(super) struct T { list: Vec<new_tagged::Tagged> },
    T { list: vec![old_tagged::Tagged::First(Rest { z: 1 }), old_tagged::Tagged::Unit] });

changed!(flattened_variants_whose_tags_were_swapped_are_not_read_for_each_other:
    pub(super) struct T { a: u8, #[serde(flatten)] kind: old_tagged::Tagged }
    => pub(super) struct T { a: u8, #[serde(flatten)] kind: new_tagged::Tagged },
    T { a: 1, kind: old_tagged::Tagged::First(Rest { z: 1 }) });

changed!(variants_whose_adjacent_tags_were_swapped_are_not_read_for_each_other:
    #[serde(tag = "t", content = "c")] pub(super) enum T { #[serde(rename = "a")] First(u8), #[serde(rename = "b")] Second(u8) }
    => #[serde(tag = "t", content = "c")] pub(super) enum T { #[serde(rename = "b")] First(u8), #[serde(rename = "a")] Second(u8) },
    T::First(1));

changed!(a_text_is_not_read_as_what_a_new_variant_makes_of_it:
    #[serde(untagged)] pub(super) enum T { Text(String) }
    => #[serde(untagged)] pub(super) enum T { Address(std::net::IpAddr), Text(String) },
    T::Text("127.0.0.1".into()));

changed!(a_wider_integer_is_not_read_by_name_either:
    pub(super) struct T { n: u32, #[serde(flatten)] rest: Rest } => pub(super) struct T { n: u64, #[serde(flatten)] rest: Rest },
    T { n: 7, rest: Rest { z: 2 } });

changed!(an_alias_does_not_make_a_field_another_one:
    pub(super) struct T { a: u32, #[serde(flatten)] rest: Rest }
    => pub(super) struct T { #[serde(alias = "a")] b: u32, #[serde(flatten)] rest: Rest },
    T { a: 7, rest: Rest { z: 2 } });

changed!(a_field_that_is_skipped_now_is_not_replaced_by_its_default:
    pub(super) struct T { a: u32, #[serde(flatten)] rest: Rest }
    => pub(super) struct T { #[serde(skip)] a: u32, #[serde(flatten)] rest: Rest },
    T { a: 7, rest: Rest { z: 2 } });

changed!(a_flattened_struct_that_changed_is_not_read:
    pub(super) struct T { #[serde(flatten)] rest: Rest } => pub(super) struct T { #[serde(flatten)] rest: Inner },
    T { rest: Rest { z: 2 } });

mod old_tagged {
    use super::*;
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    pub(super) enum Tagged {
        #[serde(rename = "one")]
        First(Rest),
        #[serde(rename = "two")]
        Second(Rest),
        Unit,
    }
}

mod new_tagged {
    use super::*;
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    pub(super) enum Tagged {
        #[serde(rename = "two")]
        First(Rest),
        #[serde(rename = "one")]
        Second(Rest),
        Unit,
    }
}

#[derive(Serialize, Deserialize)]
struct Inner {
    a: u8,
}

#[derive(Serialize, Deserialize)]
struct Other {
    a: u8,
}

#[derive(Serialize, Deserialize)]
struct Rest {
    z: u32,
}

#[derive(Serialize, Deserialize)]
struct Metres(f64);

#[derive(Serialize, Deserialize)]
struct Feet(f64);

#[test]
fn a_value_of_another_type_is_not_read() {
    let error = get::<i64>(&Encoded { type_fingerprint: type_fingerprint::<u64>(), ..put(&1i64) }).unwrap_err();
    assert!(error.is_serialization());
    assert_eq!(error.to_string(), "`i64` is not the type of the stored value");
}

#[test]
fn a_vector_of_other_numbers_is_not_read() {
    assert!(get_as::<Vec<i32>>(&put(&vec![1u32, 2])).unwrap_err().is_serialization());
    assert!(get_as::<Vec<f64>>(&put(&vec![1u64, 2])).unwrap_err().is_serialization());
    assert!(get_as::<Vec<u8>>(&put(&String::from("ab"))).unwrap_err().is_serialization());
}

#[test]
fn a_type_that_grew_a_variant_still_reads_what_it_has_written() {
    mod old {
        use super::*;
        #[derive(Serialize, Deserialize)]
        pub(super) enum T {
            A(u8),
        }
    }
    mod new {
        use super::*;
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        pub(super) enum T {
            A(u8),
            B,
        }
    }
    let _ = new::T::B;
    assert_eq!(get_as::<new::T>(&put(&old::T::A(3))).unwrap(), new::T::A(3));
}
