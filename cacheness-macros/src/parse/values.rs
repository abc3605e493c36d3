//! The values of options, each from how it is written.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitBool, Path, Result, Token};

use super::literal::{self, bare};
use super::options::{Given, written_wrong};
use super::ttl;

pub(crate) enum Ttl {
    Micros(u64),
    /// Evaluated before the call.
    Expr(Expr),
    /// Asks the result.
    OfResult(Expr),
}

/// What those who waited for a call get when its result is not stored.
pub(crate) enum ShareErrors {
    /// A copy, or a compile error; or they run the body.
    Switch(LitBool),
    /// A copy of the error by this function.
    By(Box<Expr>),
}

/// Which concurrent calls run the body once.
pub(crate) enum SingleFlight {
    /// Those that the cache is configured for, or none.
    Switch(LitBool),
    /// Those on all machines.
    Global,
}

impl SingleFlight {
    pub(crate) fn is_off(&self) -> bool {
        matches!(self, Self::Switch(on) if !on.value)
    }
}

pub(crate) enum Version {
    Text(String),
    OfBody,
}

/// The name of the function that returns the bound call.
pub(crate) struct CallName {
    pub(crate) name: Ident,
    /// Written `Self::name`: the function is an associated one.
    pub(crate) associated: bool,
}

pub(super) fn flag(name: &Ident, given: Given) -> Result<Span> {
    match given {
        Given::Flag => Ok(name.span()),
        _ => Err(written_wrong(name)),
    }
}

pub(super) fn value(name: &Ident, given: Given) -> Result<Expr> {
    match given {
        Given::Value(expr) => Ok(expr),
        _ => Err(written_wrong(name)),
    }
}

/// `name` alone means true.
pub(super) fn switch(name: &Ident, given: Given) -> Result<LitBool> {
    match given {
        Given::Flag => Ok(LitBool::new(true, name.span())),
        Given::Value(expr) => match bare(&expr) {
            Expr::Lit(literal) if let Lit::Bool(value) = &literal.lit => Ok(value.clone()),
            _ => Err(Error::new_spanned(expr, format!("`{name}` is `true` or `false`"))),
        },
        Given::List(_) => Err(written_wrong(name)),
    }
}

/// A switch, or the name of all machines.
pub(super) fn read_single_flight(name: &Ident, given: Given) -> Result<SingleFlight> {
    match given {
        Given::Value(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) => match text.value().as_str() {
            "global" => Ok(SingleFlight::Global),
            _ => Err(Error::new_spanned(text, format!("`{name}` is `true`, `false` or `\"global\"`"))),
        },
        given => switch(name, given).map(SingleFlight::Switch),
    }
}

/// A switch, or how to copy an error.
pub(super) fn read_share_errors(name: &Ident, given: Given) -> Result<ShareErrors> {
    match given {
        Given::Value(expr) if !matches!(bare(&expr), Expr::Lit(_)) => Ok(ShareErrors::By(Box::new(expr))),
        given => switch(name, given).map(ShareErrors::Switch),
    }
}

pub(super) fn list<T: Parse>(name: &Ident, given: Given) -> Result<Vec<T>> {
    let Given::List(tokens) = given else { return Err(written_wrong(name)) };
    items(Punctuated::<T, Token![,]>::parse_terminated, name, tokens)
}

fn items<T>(
    parser: fn(ParseStream) -> Result<Punctuated<T, Token![,]>>,
    name: &Ident,
    tokens: TokenStream,
) -> Result<Vec<T>> {
    let items: Vec<T> = parser.parse2(tokens)?.into_iter().collect();
    if items.is_empty() { Err(written_wrong(name)) } else { Ok(items) }
}

pub(super) fn expressions(name: &Ident, given: Given) -> Result<Vec<Expr>> {
    match given {
        Given::Value(expr) => Ok(vec![expr]),
        given => list(name, given),
    }
}

/// Argument names, `self` among them.
pub(super) fn names(name: &Ident, given: Given) -> Result<Vec<Ident>> {
    let Given::List(tokens) = given else { return Err(written_wrong(name)) };
    items(|input| Punctuated::parse_terminated_with(input, Ident::parse_any), name, tokens).map_err(|error| {
        Error::new(error.span(), format!("`{name}` takes the names of arguments: `skip(argument, ..)`"))
    })
}

struct Pair(Ident, Expr);

impl Parse for Pair {
    fn parse(input: ParseStream) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        Ok(Self(name, input.parse()?))
    }
}

pub(super) fn pairs(name: &Ident, given: Given) -> Result<Vec<(Ident, Expr)>> {
    let pairs: Vec<Pair> = list(name, given)?;
    let mut seen: Vec<(Ident, Expr)> = Vec::new();
    for Pair(name, expr) in pairs {
        if seen.iter().any(|(other, _)| *other == name) {
            return Err(Error::new(name.span(), format!("`{name}` is given twice: remove one of them")));
        }
        seen.push((name, expr));
    }
    Ok(seen)
}

pub(super) fn read_ttl(expr: Expr) -> Result<Ttl> {
    if let Expr::Closure(closure) = bare(&expr) {
        return match closure.inputs.len() {
            1 => Ok(Ttl::OfResult(expr)),
            _ => {
                Err(Error::new_spanned(expr, "`ttl` as a closure takes the result: `ttl = |result| result.expires_in`"))
            }
        };
    }
    Ok(match ttl::literal(&expr)? {
        Some(micros) => Ttl::Micros(micros),
        None => Ttl::Expr(expr),
    })
}

pub(super) fn read_version(expr: Expr) -> Result<Version> {
    match bare(&expr) {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => return Ok(Version::Text(literal::text("version", text)?)),
            other => {
                if let Some(number) = literal::number("version", other)? {
                    return Ok(Version::Text(number));
                }
            }
        },
        Expr::Path(path) if path.path.is_ident("auto") => return Ok(Version::OfBody),
        _ => {}
    }
    Err(Error::new_spanned(expr, "`version` is a number, a text, or `auto`"))
}

/// A cache, which lives longer than one call.
pub(super) fn read_cache(expr: Expr) -> Result<Expr> {
    if let Some(Lit::Str(text)) = literal::of(&expr) {
        let message = format!(
            "`cache` is an open cache, not a directory: open it once, in a `static CACHE: LazyLock<Cache>` that calls \
             `Cache::open(\"{}\")`, and write `cache = CACHE`",
            text.value()
        );
        return Err(Error::new_spanned(expr, message));
    }
    if literal::of(&expr).is_some() {
        let message = "`cache` is an open cache: a static like `cache = CACHE`, an argument, or a field like `cache = self.cache`";
        return Err(Error::new_spanned(expr, message));
    }
    if opens(expr.to_token_stream()) {
        let message = "`cache` is evaluated at every call: open it once, in a `static CACHE: LazyLock<Cache>`, and write \
                       `cache = CACHE`";
        return Err(Error::new_spanned(expr, message));
    }
    Ok(expr)
}

/// Whether there is a call like `Cache::open(..)`, or a `?`.
fn opens(tokens: TokenStream) -> bool {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let is_punct = |tree: &TokenTree, c: char| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == c);
    trees.iter().any(|tree| is_punct(tree, '?'))
        || trees.windows(5).any(|part| match part {
            [TokenTree::Ident(cache), first, second, TokenTree::Ident(_), TokenTree::Group(_)] => {
                cache == "Cache" && is_punct(first, ':') && is_punct(second, ':')
            }
            _ => false,
        })
}

pub(super) fn read_prefix(expr: Expr) -> Result<Expr> {
    match literal::of(&expr) {
        None => Ok(expr),
        Some(Lit::Str(text)) => literal::text("prefix", text).map(|_| expr),
        Some(other) => {
            let written = other.to_token_stream().to_string().replace('"', "");
            let message = format!("`prefix` is a text: write it in quotes, `prefix = \"{written}\"`");
            Err(Error::new_spanned(other, message))
        }
    }
}

pub(super) fn read_condition(expr: Expr) -> Result<Expr> {
    match literal::of(&expr) {
        None => Ok(expr),
        Some(_) => Err(Error::new_spanned(
            expr,
            "`condition` is a closure or a function of the result: `condition = |result| ..`",
        )),
    }
}

pub(super) fn path(expr: &Expr) -> Result<Path> {
    match bare(expr) {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path.clone()),
        _ => Err(Error::new_spanned(expr, "expected a path, like `crate::reexports::cacheness`")),
    }
}

pub(super) fn read_call(expr: &Expr) -> Result<CallName> {
    let wrong = || Error::new_spanned(expr, "`call` is the name of the function to add, like `call = weather_call`");
    let path = path(expr).map_err(|_| wrong())?;
    if let Some(name) = path.get_ident() {
        return Ok(CallName { name: name.clone(), associated: false });
    }
    let mut segments = path.segments.into_iter();
    match (segments.next(), segments.next(), segments.next()) {
        (Some(first), Some(second), None) if first.ident == "Self" && second.arguments.is_none() => {
            Ok(CallName { name: second.ident, associated: true })
        }
        _ => Err(wrong()),
    }
}
