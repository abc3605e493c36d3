//! The helper attribute `#[metadata(..)]` on the struct and on its fields.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, LitStr, Path, Result};

use crate::parse::nearest;

const NAME: &str = "metadata";

/// What the attributes of the struct say.
#[derive(Default)]
pub(super) struct OfStruct {
    pub(super) name: Option<LitStr>,
    pub(super) root: Option<Path>,
}

/// What the attributes of a field say.
#[derive(Default)]
pub(super) struct OfField {
    pub(super) name: Option<LitStr>,
    pub(super) unique: bool,
    pub(super) index: bool,
    pub(super) default: bool,
}

impl OfStruct {
    pub(super) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        read(attributes, &["name", "crate"], |option, meta| {
            match option {
                "name" => options.name = Some(name(&meta)?),
                _ => options.root = Some(meta.value()?.call(Path::parse_mod_style)?),
            }
            Ok(())
        })?;
        Ok(options)
    }
}

impl OfField {
    pub(super) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        read(attributes, &["name", "unique", "index", "default"], |option, meta| {
            match option {
                "name" => options.name = Some(name(&meta)?),
                "unique" => options.unique = true,
                "index" => options.index = true,
                _ => options.default = true,
            }
            Ok(())
        })?;
        Ok(options)
    }
}

/// A name is data: whatever it is, it is one, but for nothing.
fn name(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let name: LitStr = meta.value()?.parse()?;
    crate::parse::text("name", &name)?;
    if name.value().is_empty() {
        return Err(syn::Error::new(name.span(), "a name has at least one character"));
    }
    Ok(name)
}

/// Gives each option to `take`, once.
fn read(
    attributes: &[Attribute],
    options: &[&'static str],
    mut take: impl FnMut(&str, ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    let mut given: Vec<&str> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(NAME)) {
        attribute.parse_nested_meta(|meta| {
            let Some(option) = options.iter().copied().find(|option| meta.path.is_ident(option)) else {
                return Err(meta.error(unknown(&meta, options)));
            };
            if given.contains(&option) {
                return Err(meta.error(format!("`{option}` is given twice")));
            }
            given.push(option);
            take(option, meta)
        })?;
    }
    Ok(())
}

fn unknown(meta: &ParseNestedMeta<'_>, options: &[&'static str]) -> String {
    let written = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
    match nearest(&written, options.iter().copied()) {
        Some(meant) => format!("unknown option `{written}`: did you mean `{meant}`?"),
        None => format!("unknown option: there are `{}`", options.join("`, `")),
    }
}

/// The name of a field, as a column.
pub(super) fn named(text: &str, span: Span) -> LitStr {
    LitStr::new(text, span)
}
