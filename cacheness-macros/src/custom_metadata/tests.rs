use quote::quote;

use super::derive;

fn expanded(item: proc_macro2::TokenStream) -> String {
    derive(item).to_string()
}

/// The messages of the compile errors in an expansion.
fn errors(item: proc_macro2::TokenStream) -> Vec<String> {
    let text = expanded(item);
    let parts = text.split("compile_error ! { \"").skip(1);
    parts.map(|part| part.split("\" }").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_column_has_the_name_of_its_field_or_the_one_it_is_given() {
    let text = expanded(quote! {
        #[metadata(name = "runs")]
        struct Run { pub r#type: u8, #[metadata(name = "a'; DROP TABLE entries; --")] note: String }
    });
    assert!(text.contains("pub const TYPE") && text.contains("\"type\""), "{text}");
    assert!(text.contains("const NOTE") && text.contains("\"a'; DROP TABLE entries; --\""), "{text}");
    assert!(!text.contains("\"note\""), "{text}");
}

#[test]
fn another_crate_can_stand_for_cacheness() {
    let text = expanded(quote! { #[metadata(name = "runs", crate = crate::engine)] struct Run { minutes: u8 } });
    assert!(text.contains("impl crate :: engine :: __private :: v"), "{text}");
    assert!(text.contains(":: CustomMetadata for Run") && !text.contains("cacheness"), "{text}");
}

#[test]
fn mistakes_are_told_together() {
    let found = errors(quote! {
        #[metadata(nam = "runs")]
        struct Run<T> { #[metadata(uniqe)] a: T, #[metadata(name = "")] b: u8, #[metadata(index, index)] c: u8 }
    });
    assert_eq!(
        found,
        [
            "custom metadata cannot be generic: its columns are constants, of one type each",
            "unknown option `nam`: did you mean `name`?",
            "unknown option `uniqe`: did you mean `unique`?",
            "a name has at least one character",
            "`index` is given twice",
        ]
    );
}

#[test]
fn two_columns_of_one_name_or_one_constant_are_refused() {
    let names = errors(quote! { #[metadata(name = "runs")] struct Run { a: u8, #[metadata(name = "a")] b: u8 } });
    assert_eq!(names, ["two columns have the name \\\"a\\\""]);
    let constants = errors(quote! { #[metadata(name = "runs")] struct Run { a: u8, A: u8 } });
    assert_eq!(constants, ["the columns of two fields would be the constant `A`"]);
}
