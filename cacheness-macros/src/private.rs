//! Where expansions find what they name.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Path;

/// The private module of `cacheness`, or of the path given as `crate = ..`. Its name has the version, so that versions
/// cannot be mixed.
pub(crate) fn private(krate: Option<&Path>) -> TokenStream {
    let version = format_ident!("v{}", env!("CARGO_PKG_VERSION").replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    match krate {
        Some(krate) => quote!(#krate::__private::#version),
        None => quote!(::cacheness::__private::#version),
    }
}
