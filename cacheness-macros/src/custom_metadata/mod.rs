//! `#[derive(CustomMetadata)]`: check the struct and its attributes, expand.

mod attributes;
mod check;
mod expand;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use syn::DeriveInput;

/// The implementation for `input`, or all its errors.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    match syn::parse2::<DeriveInput>(input) {
        Ok(input) => check::kind(&input).map_or_else(|errors| errors, |kind| expand::implementation(&kind)),
        Err(error) => error.into_compile_error(),
    }
}
