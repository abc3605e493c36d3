//! `#[derive(CacheKey)]`: parse, check the attributes, expand.

mod attributes;
mod bounds;
mod expand;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use syn::DeriveInput;

/// The implementation for `input`, or all its errors. The item itself is not part of what a derive returns, so that one
/// mistake stays one error.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let expanded = syn::parse2::<DeriveInput>(input).and_then(|input| expand::implementation(&input));
    expanded.unwrap_or_else(|error| error.to_compile_error())
}
