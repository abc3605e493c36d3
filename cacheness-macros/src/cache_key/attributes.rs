//! The helper attribute `#[cache_key(..)]` on types and fields.

use proc_macro2::TokenStream;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Data, DeriveInput, Error, Field, Path, Result, Variant};

use crate::private::private;

const NAME: &str = "cache_key";

/// What the attributes say, checked as a whole.
pub(super) struct Options {
    /// The private module of `cacheness`.
    pub(super) root: TokenStream,
}

impl Options {
    /// Reads the attributes of the type, and looks for mistakes in those of its variants and fields as well.
    pub(super) fn of(input: &DeriveInput) -> Result<Self> {
        let mut errors = Errors::default();
        let root = errors.keep(root(&input.attrs)).flatten();
        check_parts(&input.data, &mut errors);
        errors.into_result()?;
        Ok(Self { root: private(root.as_ref()) })
    }
}

/// Errors of several attributes, reported together.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                match &mut self.0 {
                    Some(all) => all.combine(error),
                    None => self.0 = Some(error),
                }
                None
            }
        }
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

fn check_parts(data: &Data, errors: &mut Errors) {
    match data {
        Data::Struct(data) => check_fields(data.fields.iter(), errors),
        Data::Enum(data) => data.variants.iter().for_each(|variant| check_variant(variant, errors)),
        Data::Union(data) => {
            let message = "a union does not know which of its fields is there: implement `CacheKey` by hand";
            errors.keep::<()>(Err(Error::new(data.union_token.span, message)));
        }
    }
}

fn check_variant(variant: &Variant, errors: &mut Errors) {
    let refuse = |meta: ParseNestedMeta<'_>| Err(meta.error("a variant has no options: put `skip` on its fields"));
    errors.keep(read(&variant.attrs, refuse));
    check_fields(variant.fields.iter(), errors);
}

fn check_fields<'a>(fields: impl Iterator<Item = &'a Field>, errors: &mut Errors) {
    for field in fields {
        errors.keep(Counts::of(field));
    }
}

/// How a field counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    ByCacheKey,
    BySerialize,
    Not,
}

impl Counts {
    pub(super) fn of(field: &Field) -> Result<Self> {
        let mut counts = Self::ByCacheKey;
        read(&field.attrs, |meta| {
            let (name, said) = if meta.path.is_ident("skip") {
                ("skip", Self::Not)
            } else if meta.path.is_ident("serde") {
                ("serde", Self::BySerialize)
            } else {
                return Err(meta.error("unknown option of a field, expected `skip` or `serde`"));
            };
            match std::mem::replace(&mut counts, said) {
                Self::ByCacheKey => Ok(()),
                before if before == said => Err(meta.error(format!("`{name}` is given twice"))),
                _ => Err(meta.error("a field that is skipped is not serialised: choose `skip` or `serde`")),
            }
        })?;
        Ok(counts)
    }
}

fn root(attributes: &[Attribute]) -> Result<Option<Path>> {
    let mut root = None;
    read(attributes, |meta| {
        if !meta.path.is_ident("crate") {
            return Err(meta.error("unknown option of a type, expected `crate = path` (`skip` belongs on a field)"));
        }
        if root.is_some() {
            return Err(meta.error("`crate` is given twice"));
        }
        root = Some(meta.value()?.call(Path::parse_mod_style)?);
        Ok(())
    })?;
    Ok(root)
}

fn read(attributes: &[Attribute], mut option: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(NAME)) {
        attribute.parse_nested_meta(&mut option)?;
    }
    Ok(())
}
