//! The implementation that the derive writes.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Field, Fields, Ident, Index, Member, Result, Type};

use super::attributes::{Counts, Options};
use super::bounds;

/// `impl CacheKey` for the type.
pub(super) fn implementation(input: &DeriveInput) -> Result<TokenStream> {
    let Options { root } = Options::of(input)?;
    let shapes = shapes(input)?;
    let where_clause = bounds::where_clause(&input.generics, shapes.iter().flat_map(Shape::types), &root);
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let ident = &input.ident;
    let name = ident.unraw().to_string();
    // Hygiene protects locals from locals, but a constant in scope would turn a binding into a comparison.
    let writer = Ident::new("__writer", Span::mixed_site());
    let constants: Vec<&Ident> = input.generics.const_params().map(|parameter| &parameter.ident).collect();
    let target = Target { root: &root, writer: &writer, name: &name, constants: &constants };
    let arms = shapes.iter().map(|shape| shape.arm(&target));
    let matched = if shapes.is_empty() { quote!(*self) } else { quote!(self) };
    Ok(quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #impl_generics #root::CacheKey for #ident #type_generics #where_clause {
            fn encode(&self, #writer: &mut #root::KeyWriter) {
                match #matched { #(#arms)* }
            }
        }
    })
}

/// What every arm has to know.
struct Target<'a> {
    root: &'a TokenStream,
    writer: &'a Ident,
    name: &'a str,
    constants: &'a [&'a Ident],
}

/// A struct or one variant of an enum, without the fields that are skipped.
struct Shape<'a> {
    variant: Option<&'a Ident>,
    kind: Kind,
    fields: Vec<(Member, &'a Field, Counts)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unit,
    Positional,
    Named,
}

fn shapes(input: &DeriveInput) -> Result<Vec<Shape<'_>>> {
    match &input.data {
        Data::Struct(data) => Ok(vec![Shape::of(None, &data.fields)?]),
        Data::Enum(data) => {
            data.variants.iter().map(|variant| Shape::of(Some(&variant.ident), &variant.fields)).collect()
        }
        // Refused together with the attributes.
        Data::Union(_) => Ok(Vec::new()),
    }
}

impl<'a> Shape<'a> {
    fn of(variant: Option<&'a Ident>, fields: &'a Fields) -> Result<Self> {
        let kind = match fields {
            Fields::Unit => Kind::Unit,
            Fields::Unnamed(_) => Kind::Positional,
            Fields::Named(_) => Kind::Named,
        };
        let mut counted = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let counts = Counts::of(field)?;
            if counts != Counts::Not {
                let member = field.ident.clone().map_or_else(|| Member::Unnamed(Index::from(index)), Member::Named);
                counted.push((member, field, counts));
            }
        }
        Ok(Self { variant, kind, fields: counted })
    }

    /// Of the fields that have to implement `CacheKey`.
    fn types(&self) -> impl Iterator<Item = &'a Type> + '_ {
        self.fields.iter().filter(|(_, _, counts)| *counts == Counts::ByCacheKey).map(|(_, field, _)| &field.ty)
    }

    /// The arm of the match that writes this shape.
    fn arm(&self, target: &Target<'_>) -> TokenStream {
        let Target { root, writer, name, .. } = target;
        let variant = self.variant.map(|variant| quote!(::#variant));
        let variant_name = option(self.variant.map(|variant| variant.unraw().to_string()));
        let members = self.fields.iter().map(|(member, ..)| member);
        let bindings: Vec<Ident> =
            (0..self.fields.len()).map(|i| format_ident!("__field_{i}", span = Span::mixed_site())).collect();
        let key_fields = self.key_fields(target);
        let writes = self.writes(target, &bindings);
        quote! {
            Self #variant { #(#members: #bindings,)* .. } => #root::KeyWriter::record(
                #writer,
                ::core::concat!(::core::module_path!(), "::", #name),
                #variant_name,
                #key_fields,
                |#writer| { let _ = &#writer; #(#writes)* },
            ),
        }
    }

    fn key_fields(&self, target: &Target<'_>) -> TokenStream {
        let root = target.root;
        let count = self.fields.len() + target.constants.len();
        match self.kind {
            Kind::Unit if count == 0 => quote!(#root::KeyFields::Unit),
            Kind::Unit | Kind::Positional => quote!(#root::KeyFields::Positional(#count)),
            Kind::Named => quote!(#root::KeyFields::Named(#count)),
        }
    }

    /// Statements that write the fields, and the const parameters after them: no field need contain those.
    fn writes(&self, target: &Target<'_>, bindings: &[Ident]) -> Vec<TokenStream> {
        let root = target.root;
        let fields = self.fields.iter().zip(bindings).map(|((member, _, counts), value)| match counts {
            Counts::BySerialize => (member_name(member), quote!(&#root::SerdeKey(#value))),
            Counts::ByCacheKey | Counts::Not => (member_name(member), quote!(#value)),
        });
        let constants = target.constants.iter().map(|constant| (constant.unraw().to_string(), quote!(&#constant)));
        let Target { root, writer, .. } = target;
        let write = |(name, value): (String, TokenStream)| match self.kind {
            Kind::Named => quote!(#root::KeyWriter::field(#writer, #name, #value);),
            Kind::Unit | Kind::Positional => quote!(#root::CacheKey::encode(#value, #writer);),
        };
        fields.chain(constants).map(write).collect()
    }
}

fn member_name(member: &Member) -> String {
    match member {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

fn option(text: Option<String>) -> TokenStream {
    match text {
        None => quote!(::core::option::Option::None),
        Some(text) => quote!(::core::option::Option::Some(#text)),
    }
}
