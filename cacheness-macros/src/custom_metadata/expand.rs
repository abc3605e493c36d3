//! The implementation that the derive writes.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::check::{Column, Kind};

/// The constants of the columns, and `impl CustomMetadata`.
pub(super) fn implementation(kind: &Kind<'_>) -> TokenStream {
    let Kind { ident, root, name, columns } = kind;
    let constants = columns.iter().map(|column| constant(kind, column));
    let schemas = columns.iter().map(|column| schema(root, column));
    let cells = columns.iter().map(|column| cell(root, column));
    let row = Ident::new("__row", Span::mixed_site());
    let fields = columns.iter().map(|column| field(root, column, &row));
    quote! {
        #[automatically_derived]
        #[allow(dead_code, deprecated)]
        impl #ident {
            #(#constants)*
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl #root::CustomMetadata for #ident {
            const SCHEMA: &'static #root::Schema = &#root::Schema::new(#name, &[#(#schemas),*]);

            fn to_row(&self) -> #root::Metadata {
                ::core::iter::FromIterator::from_iter([#(#cells),*])
            }

            fn from_row(#row: &#root::Metadata) -> #root::Result<Self> {
                ::core::result::Result::Ok(Self { #(#fields),* })
            }
        }
    }
}

/// The type of the field as a column. Every use is written the same way: of a type that cannot be one, the compiler then
/// speaks once.
fn column_field(root: &TokenStream, column: &Column<'_>) -> TokenStream {
    let ty = &column.field.ty;
    quote_spanned!(ty.span()=> <#ty as #root::ColumnField>)
}

fn constant(kind: &Kind<'_>, column: &Column<'_>) -> TokenStream {
    let Kind { ident, root, name: kind_name, .. } = kind;
    let (constant, name, visibility) = (&column.constant, &column.name, &column.field.vis);
    let (of_field, docs) = (column_field(root, column), format!(" The column {:?}.", name.value()));
    quote! {
        #[doc = #docs]
        #visibility const #constant: #root::Column<#ident, #of_field::Value> = #root::Column::new(#kind_name, #name);
    }
}

fn schema(root: &TokenStream, column: &Column<'_>) -> TokenStream {
    let (name, of_field) = (&column.name, column_field(root, column));
    let indexed = column.options.index.then(|| quote!(.indexed()));
    let unique = column.options.unique.then(|| quote!(.unique()));
    quote!(#root::ColumnSchema::new(#name, #of_field::TYPE, #of_field::NULLABLE) #indexed #unique)
}

fn cell(root: &TokenStream, column: &Column<'_>) -> TokenStream {
    let (name, ident, of_field) = (&column.name, column.ident, column_field(root, column));
    quote!((::std::string::String::from(#name), #of_field::to_value(&self.#ident)))
}

fn field(root: &TokenStream, column: &Column<'_>, row: &Ident) -> TokenStream {
    let (name, ident, of_field) = (&column.name, column.ident, column_field(root, column));
    let read = match column.options.default {
        true => quote!(read_or_default),
        false => quote!(read),
    };
    quote!(#ident: #of_field::#read(<Self as #root::CustomMetadata>::SCHEMA, #row, #name)?)
}
