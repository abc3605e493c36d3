//! Which bounds the implementation needs.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit_mut::{VisitMut, visit_type_path_mut};
use syn::{Generics, Ident, Type, TypePath, WhereClause, parse_quote};

/// The where clause of the type with a bound on every type parameter that `fields` contain by value or behind a pointer,
/// and on every associated type of one.
///
/// Parameters are bound, and not the types of fields: a recursive type would have to be proven by itself.
pub(super) fn where_clause<'a>(
    generics: &Generics,
    fields: impl Iterator<Item = &'a Type>,
    root: &TokenStream,
) -> Option<WhereClause> {
    let mut uses = Uses::new(generics);
    fields.for_each(|field| uses.visit_type_mut(&mut field.clone()));
    let mut generics = generics.clone();
    for bounded in uses.found {
        generics.make_where_clause().predicates.push(parse_quote!(#bounded: #root::CacheKey));
    }
    generics.where_clause
}

/// Collects type parameters and their associated types.
struct Uses {
    parameters: HashSet<Ident>,
    found: Vec<TypePath>,
    /// Of `found`: types cannot be compared.
    texts: HashSet<String>,
}

impl Uses {
    fn new(generics: &Generics) -> Self {
        let parameters = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
        Self { parameters, found: Vec::new(), texts: HashSet::new() }
    }

    fn is_of_parameter(&self, path: &TypePath) -> bool {
        match &path.qself {
            Some(itself) => matches!(&*itself.ty, Type::Path(inner) if self.is_of_parameter(inner)),
            None => path.path.segments.first().is_some_and(|first| self.parameters.contains(&first.ident)),
        }
    }
}

impl VisitMut for Uses {
    fn visit_type_path_mut(&mut self, path: &mut TypePath) {
        // A marker has a key whatever its parameter is.
        if path.path.segments.last().is_some_and(|last| last.ident == "PhantomData") {
            return;
        }
        if !self.is_of_parameter(path) {
            return visit_type_path_mut(self, path);
        }
        if self.texts.insert(path.to_token_stream().to_string()) {
            self.found.push(path.clone());
        }
    }
}
