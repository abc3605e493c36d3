use quote::{ToTokens, quote};
use syn::DeriveInput;

use super::{bounds, derive};

fn expanded(item: proc_macro2::TokenStream) -> String {
    derive(item).to_string()
}

/// The messages of the compile errors in an expansion.
fn errors(item: proc_macro2::TokenStream) -> Vec<String> {
    let text = expanded(item);
    let parts = text.split("compile_error ! { \"").skip(1);
    parts.map(|part| part.split("\" }").next().unwrap_or_default().to_owned()).collect()
}

fn bounds_of(item: proc_macro2::TokenStream) -> String {
    let input: DeriveInput = syn::parse2(item).unwrap();
    let syn::Data::Struct(data) = &input.data else { panic!("not a struct") };
    let types: Vec<_> = data.fields.iter().map(|field| &field.ty).collect();
    let clause = bounds::where_clause(&input.generics, types.into_iter(), &quote!(::cacheness));
    clause.map(|clause| clause.to_token_stream().to_string()).unwrap_or_default()
}

#[test]
fn a_skipped_field_is_not_named() {
    let text = expanded(quote! { struct S { kept: u8, #[cache_key(skip)] left: u8 } });
    assert!(text.contains("\"kept\"") && !text.contains("left"), "{text}");
    assert!(text.contains("Named (1usize)"), "{text}");
}

#[test]
fn a_serialised_field_needs_no_cache_key() {
    let text = expanded(quote! { struct S<T> { #[cache_key(serde)] foreign: T } });
    assert!(text.contains("SerdeKey (__field_0)") && !text.contains("where"), "{text}");
    let found = errors(quote! { struct S { #[cache_key(skip, serde)] a: u8 } });
    assert_eq!(found, ["a field that is skipped is not serialised: choose `skip` or `serde`"]);
}

#[test]
fn another_crate_can_stand_for_cacheness() {
    let text = expanded(quote! { #[cache_key(crate = crate::engine)] struct S<T>(T); });
    assert!(text.contains("impl < T > crate :: engine :: __private :: v"), "{text}");
    assert!(text.contains(":: CacheKey for S") && !text.contains("cacheness"), "{text}");
}

#[test]
fn parameters_are_bound_where_they_are_used() {
    assert_eq!(bounds_of(quote! { struct S<T>(Vec<T>, T); }), "where T : :: cacheness :: CacheKey");
    assert_eq!(bounds_of(quote! { struct S<T>(std::marker::PhantomData<T>); }), "");
    assert_eq!(bounds_of(quote! { struct S<'a, const N: usize>(&'a [u8; N]); }), "");
    assert_eq!(bounds_of(quote! { struct S<I: Iterator>(I::Item); }), "where I :: Item : :: cacheness :: CacheKey");
    assert_eq!(
        bounds_of(quote! { struct S<I: Iterator>(<I as Iterator>::Item); }),
        "where < I as Iterator > :: Item : :: cacheness :: CacheKey"
    );
    assert_eq!(bounds_of(quote! { struct S<T>(T) where T: Copy; }), "where T : Copy , T : :: cacheness :: CacheKey");
}

#[test]
fn mistakes_in_attributes_are_told_together() {
    let found = errors(quote! {
        #[cache_key(skip)]
        struct S { #[cache_key(skipp)] a: u8, #[cache_key(skip, skip)] b: u8 }
    });
    assert_eq!(
        found,
        [
            "unknown option of a type, expected `crate = path` (`skip` belongs on a field)",
            "unknown option of a field, expected `skip` or `serde`",
            "`skip` is given twice",
        ]
    );
}

#[test]
fn options_of_variants_and_unions_are_refused_with_a_reason() {
    let variant = errors(quote! { enum E { #[cache_key(skip)] A } });
    assert_eq!(variant, ["a variant has no options: put `skip` on its fields"]);
    let union = errors(quote! { union U { a: u8 } });
    assert_eq!(union, ["a union does not know which of its fields is there: implement `CacheKey` by hand"]);
    let doubled = errors(quote! { #[cache_key(crate = a, crate = b)] struct S; });
    assert_eq!(doubled, ["`crate` is given twice"]);
}
