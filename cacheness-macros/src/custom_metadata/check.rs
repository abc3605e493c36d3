//! From the struct to its kind and columns, or to everything that is wrong with it.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Field, Fields, FieldsNamed, Ident, LitStr};

use super::attributes::{OfField, OfStruct, named};
use crate::errors::Errors;
use crate::private::private;

/// A kind of custom metadata.
pub(super) struct Kind<'a> {
    pub(super) ident: &'a Ident,
    /// Where the items of `cacheness` are.
    pub(super) root: TokenStream,
    pub(super) name: LitStr,
    pub(super) columns: Vec<Column<'a>>,
}

/// A field as a column.
pub(super) struct Column<'a> {
    pub(super) ident: &'a Ident,
    pub(super) field: &'a Field,
    pub(super) name: LitStr,
    pub(super) constant: Ident,
    pub(super) options: OfField,
}

/// What the struct says, or its errors, all of them.
pub(super) fn kind(input: &DeriveInput) -> Result<Kind<'_>, TokenStream> {
    let mut errors = Errors::default();
    let fields = named_fields(input, &mut errors);
    if fields.is_some() && !input.generics.params.is_empty() {
        errors.on(&input.generics, "custom metadata cannot be generic: its columns are constants, of one type each");
    }
    let options = errors.take(OfStruct::read(&input.attrs));
    let columns = fields.map(|fields| columns(fields, &mut errors)).unwrap_or_default();
    let OfStruct { name, root } = options.unwrap_or_default();
    let message = "custom metadata needs a name, by which queries find it: `#[metadata(name = \"experiments\")]`";
    let name = match name {
        Some(name) => name,
        None => {
            // A name that could not be read was given.
            if errors.is_empty() {
                errors.on(&input.ident, message);
            }
            named("", input.ident.span())
        }
    };
    let root = private(root.as_ref());
    match errors.report() {
        Some(report) => Err(report),
        None => Ok(Kind { ident: &input.ident, root, name, columns }),
    }
}

fn named_fields<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<&'a FieldsNamed> {
    if let Data::Struct(data) = &input.data
        && let Fields::Named(fields) = &data.fields
    {
        return Some(fields);
    }
    errors.on(&input.ident, "custom metadata is a struct with named fields: each field is a column");
    None
}

fn columns<'a>(fields: &'a FieldsNamed, errors: &mut Errors) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    let (mut names, mut constants) = (HashSet::new(), HashSet::new());
    for field in &fields.named {
        let (Some(ident), Some(options)) = (&field.ident, errors.take(OfField::read(&field.attrs))) else { continue };
        let plain = ident.unraw().to_string();
        let name = options.name.clone().unwrap_or_else(|| named(&plain, ident.span()));
        if !names.insert(name.value()) {
            errors.at(name.span(), &format!("two columns have the name {:?}", name.value()));
        }
        let constant = plain.to_uppercase();
        if !constants.insert(constant.clone()) {
            errors.at(ident.span(), &format!("the columns of two fields would be the constant `{constant}`"));
        }
        let constant = Ident::new(&constant, ident.span());
        columns.push(Column { ident, field, name, constant, options });
    }
    columns
}
