//! Whether a return type may hold something that does not live for `'static`, as far as its text tells: lifetimes in it
//! are refused, so by the type parameters. What it has of type aliases and of an `impl` is not to be seen here.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Generics, Type, TypeParam, TypeParamBound, WherePredicate};

/// Whether the type names a type parameter that is not said to be `'static`.
pub(crate) fn may_borrow(ty: &Type, generics: &Generics) -> bool {
    let borrowed: Vec<_> = generics.type_params().filter(|param| !is_static(param, generics)).collect();
    names_one(ty.to_token_stream(), &borrowed)
}

fn names_one(tokens: TokenStream, params: &[&TypeParam]) -> bool {
    tokens.into_iter().any(|tree| match tree {
        TokenTree::Group(group) => names_one(group.stream(), params),
        TokenTree::Ident(word) => params.iter().any(|param| param.ident == word),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Whether a bound of its own or of a `where` says that it is `'static`.
fn is_static(param: &TypeParam, generics: &Generics) -> bool {
    let says = |bound: &TypeParamBound| matches!(bound, TypeParamBound::Lifetime(of) if of.ident == "static");
    let is_its_own = |ty: &Type| matches!(ty, Type::Path(path) if path.path.is_ident(&param.ident));
    let mut predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    param.bounds.iter().any(says)
        || predicates.any(|predicate| match predicate {
            WherePredicate::Type(of) => is_its_own(&of.bounded_ty) && of.bounds.iter().any(says),
            _ => false,
        })
}

#[cfg(test)]
mod tests {

    fn may_borrow(function: &str) -> bool {
        let sig: syn::Signature = syn::parse_str(function).unwrap();
        let syn::ReturnType::Type(_, ty) = &sig.output else { panic!("{function}") };
        super::may_borrow(ty, &sig.generics)
    }

    #[test]
    fn a_type_parameter_may_borrow_unless_it_is_static() {
        for owned in [
            "fn f<'a>(s: &'a str) -> Result<u32, Error>",
            "fn f<E: Clone + 'static>() -> Result<u32, E>",
            "fn f<E>() -> Result<u32, E> where E: 'static",
            "fn f<T>(t: T) -> io::Result<Option<(u32, [u8; 4])>>",
        ] {
            assert!(!may_borrow(owned), "{owned}");
        }
        for borrowed in [
            "fn f<E: Clone + Send + Sync>() -> Result<u32, E>",
            "fn f<T: FromStr>() -> Result<u32, T::Err>",
            "fn f<T, E>() -> Result<u32, Box<(E, u32)>> where T: 'static",
        ] {
            assert!(may_borrow(borrowed), "{borrowed}");
        }
    }
}
