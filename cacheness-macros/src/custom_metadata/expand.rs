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

/// An item of the type of the field as a column. Every use is written the same way and stands at the type: of one that
/// cannot be a column, the compiler then speaks once.
fn of_field(root: &TokenStream, column: &Column<'_>, item: &str) -> TokenStream {
    let ty = &column.field.ty;
    let item = Ident::new(item, ty.span());
    quote_spanned!(ty.span()=> <#ty as #root::ColumnField>::#item)
}

fn constant(kind: &Kind<'_>, column: &Column<'_>) -> TokenStream {
    let Kind { ident, root, name: kind_name, .. } = kind;
    let (constant, name, field) = (&column.constant, &column.name, column.field);
    let (visibility, ty, docs) = (&field.vis, &field.ty, format!(" The column {:?}.", name.value()));
    quote! {
        #[doc = #docs]
        #visibility const #constant: #root::Column<#ident, #ty> = #root::Column::new(#kind_name, #name);
    }
}

fn schema(root: &TokenStream, column: &Column<'_>) -> TokenStream {
    let (name, column_type, nullable) =
        (&column.name, of_field(root, column, "TYPE"), of_field(root, column, "NULLABLE"));
    let indexed = column.options.index.then(|| quote!(.indexed()));
    let unique = column.options.unique.then(|| quote!(.unique()));
    quote!(#root::ColumnSchema::new(#name, #column_type, #nullable) #indexed #unique)
}

fn cell(root: &TokenStream, column: &Column<'_>) -> TokenStream {
    let (name, ident, to_value) = (&column.name, column.ident, of_field(root, column, "to_value"));
    quote!((::std::string::String::from(#name), #to_value(&self.#ident)))
}

fn field(root: &TokenStream, column: &Column<'_>, row: &Ident) -> TokenStream {
    let (name, ident) = (&column.name, column.ident);
    let read = of_field(root, column, if column.options.default { "read_or_default" } else { "read" });
    quote!(#ident: #read(<Self as #root::CustomMetadata>::SCHEMA, #row, #name)?)
}
