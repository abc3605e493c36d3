//! The options of the attributes, from one table.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, Lit, LitBool, Path, Result, Token, parenthesized, token};

use super::suggest::nearest;
use super::ttl::{self, bare};
use crate::errors::Errors;

/// Which attribute was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    Cached,
    CacheAsync,
    CacheIf,
    ForApi,
}

/// What an attribute says. Spans are where to point when it cannot be meant.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) asynchronous: Option<Span>,
    pub(crate) for_api: Option<Span>,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) cache: Option<Expr>,
    pub(crate) prefix: Option<Expr>,
    pub(crate) include_defaults: Option<LitBool>,
    pub(crate) metadata: Vec<(Ident, Expr)>,
    pub(crate) tags: Vec<Expr>,
    pub(crate) stale_on_error: Option<LitBool>,
    pub(crate) key: Option<(Span, Vec<Expr>)>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) version: Option<Version>,
    pub(crate) condition: Option<Expr>,
    pub(crate) cache_none: bool,
    pub(crate) cache_err: bool,
    pub(crate) ignore_errors: Option<LitBool>,
    pub(crate) single_flight: Option<LitBool>,
    pub(crate) share_errors: Option<ShareErrors>,
    pub(crate) memory: Option<LitBool>,
    pub(crate) handler: Option<Expr>,
    pub(crate) call: Option<CallName>,
    pub(crate) krate: Option<Path>,
}

pub(crate) enum Ttl {
    Micros(u64),
    Expr(Expr),
}

/// What those who waited for a call get when its result is not stored.
pub(crate) enum ShareErrors {
    /// A copy, or a compile error; or they run the body.
    Switch(LitBool),
    /// A copy of the error by this function.
    By(Box<Expr>),
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

/// How an option is written.
enum Given {
    Flag,
    Value(Expr),
    List(TokenStream),
}

struct Spec {
    name: &'static str,
    aliases: &'static [&'static str],
    /// How to write it, for the reader of an error.
    usage: &'static str,
    read: fn(&mut Options, &Ident, Given) -> Result<()>,
}

macro_rules! options {
    ($($name:literal $(or $alias:literal)* as $usage:literal => $field:ident = |$ident:ident, $given:ident| $value:expr,)*) => {
        &[$(Spec {
            name: $name,
            aliases: &[$($alias),*],
            usage: $usage,
            read: |options, $ident, $given| {
                options.$field = $value;
                Ok(())
            },
        }),*]
    };
}

const OPTIONS: &[Spec] = options! {
    "async" as "async" => asynchronous = |name, given| Some(flag(name, given)?),
    "for_api" as "for_api" => for_api = |name, given| Some(flag(name, given)?),
    "ttl" or "ttl_seconds" as "ttl = 3600` or `ttl = \"24h\"" => ttl = |name, given| Some(read_ttl(value(name, given)?)?),
    "cache" or "cache_instance" as "cache = CACHE" => cache = |name, given| Some(value(name, given)?),
    "prefix" or "cache_key_prefix" or "key_prefix" as "prefix = \"weather\"" => prefix = |name, given| Some(value(name, given)?),
    "include_defaults" as "include_defaults = false" => include_defaults = |name, given| Some(switch(name, given)?),
    "metadata" as "metadata(name = value, ..)" => metadata = |name, given| pairs(name, given)?,
    "tags" as "tags(\"user:{id}\", ..)" => tags = |name, given| list(name, given)?,
    "key" or "key_func" as "key(expression, ..)" => key = |name, given| Some((name.span(), expressions(name, given)?)),
    "skip" as "skip(argument, ..)" => skip = |name, given| names(name, given)?,
    "version" as "version = 2` or `version = auto" => version = |name, given| Some(read_version(value(name, given)?)?),
    "condition" as "condition = |result| .." => condition = |name, given| Some(value(name, given)?),
    "cache_none" as "cache_none = true" => cache_none = |name, given| switch(name, given)?.value,
    "cache_err" as "cache_err = true" => cache_err = |name, given| switch(name, given)?.value,
    "ignore_errors" as "ignore_errors = false" => ignore_errors = |name, given| Some(switch(name, given)?),
    "single_flight" as "single_flight = false" => single_flight = |name, given| Some(switch(name, given)?),
    "share_errors" as "share_errors`, `share_errors = false` or `share_errors = |error| .." => share_errors = |name, given| Some(read_share_errors(name, given)?),
    "stale_on_error" as "stale_on_error = true" => stale_on_error = |name, given| Some(switch(name, given)?),
    "memory" as "memory = false" => memory = |name, given| Some(switch(name, given)?),
    "handler" as "handler = HANDLER" => handler = |name, given| Some(value(name, given)?),
    "call" as "call = name" => call = |name, given| Some(read_call(&value(name, given)?)?),
    "crate" as "crate = path" => krate = |name, given| Some(path(&value(name, given)?)?),
};

fn option(name: &str) -> Option<&'static Spec> {
    OPTIONS.iter().find(|option| option.name == name || option.aliases.contains(&name))
}

/// The names of all options.
#[cfg(test)]
pub(crate) fn option_names() -> Vec<&'static str> {
    OPTIONS.iter().map(|option| option.name).collect()
}

impl Options {
    /// Reads what is in the parentheses of an attribute. Every error goes to `errors`, and reading goes on.
    pub(crate) fn parse(flavor: Flavor, tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let parsed = Parser::parse2(|input: ParseStream| options.read(flavor, input, errors), tokens);
        errors.take(parsed);
        options
    }

    fn read(&mut self, flavor: Flavor, input: ParseStream, errors: &mut Errors) -> Result<()> {
        let mut seen = Vec::new();
        while !input.is_empty() {
            if self.starts_condition(flavor, input) {
                self.condition = Some(input.parse()?);
                seen.push("condition");
            } else {
                self.read_option(input, &mut seen, errors)?;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    /// Whether a condition comes next: in `cache_if`, what is not an option.
    fn starts_condition(&self, flavor: Flavor, input: ParseStream) -> bool {
        let named = input.peek(Ident::peek_any) && {
            let ahead = input.fork();
            let name = ahead.call(Ident::parse_any);
            let known = name.is_ok_and(|name| option(&name.to_string()).is_some());
            let assigned = ahead.peek(Token![=]) && !ahead.peek(Token![==]);
            assigned || known && (ahead.is_empty() || ahead.peek(Token![,]) || ahead.peek(token::Paren))
        };
        flavor == Flavor::CacheIf && self.condition.is_none() && !named
    }

    fn read_option(&mut self, input: ParseStream, seen: &mut Vec<&'static str>, errors: &mut Errors) -> Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(misplaced(input));
        }
        let name = input.call(Ident::parse_any)?;
        let given = Given::parse(input)?;
        let Some(option) = option(&name.to_string()) else {
            errors.push(unknown(&name));
            return Ok(());
        };
        if seen.contains(&option.name) {
            errors.at(name.span(), &format!("`{}` is given twice: remove one of them", option.name));
            return Ok(());
        }
        seen.push(option.name);
        errors.take((option.read)(self, &name, given));
        Ok(())
    }

    /// Whether errors of the cache are returned to the caller.
    pub(crate) fn is_strict(&self) -> bool {
        self.ignore_errors.as_ref().is_some_and(|ignore| !ignore.value)
    }

    /// Whether an expired value stands in for an `Err`; where it is asked for.
    pub(crate) fn serves_stale(&self) -> Option<&LitBool> {
        self.stale_on_error.as_ref().filter(|stale| stale.value)
    }

    /// Whether the function tells more of a result than its value.
    pub(crate) fn has_extras(&self) -> bool {
        !self.tags.is_empty() || !self.metadata.is_empty()
    }

    /// Whether arguments equal to their default are left out of the key.
    pub(crate) fn leaves_out_defaults(&self) -> bool {
        self.include_defaults.as_ref().is_some_and(|include| !include.value)
    }
}

impl Given {
    fn parse(input: ParseStream) -> Result<Self> {
        if input.peek(token::Paren) {
            let content;
            parenthesized!(content in input);
            return content.parse().map(Self::List);
        }
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            return input.parse().map(Self::Value);
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Ok(Self::Flag);
        }
        Err(input.error("expected `,`, `=` or `(`"))
    }
}

fn misplaced(input: ParseStream) -> Error {
    let hint = if input.peek(Token![|]) || input.peek(Token![move]) {
        "a condition is given as `condition = ..`, or first in `cache_if(..)`"
    } else {
        "expected an option, like `ttl = 3600`"
    };
    input.error(hint)
}

fn unknown(name: &Ident) -> Error {
    let known = OPTIONS.iter().flat_map(|option| option.aliases.iter().chain([&option.name]).copied());
    let message = match nearest(&name.to_string(), known) {
        Some(meant) => format!("unknown option `{name}`: did you mean `{meant}`?"),
        None => {
            let names: Vec<_> = OPTIONS.iter().map(|option| option.name).collect();
            format!("unknown option `{name}`: the options are {}", names.join(", "))
        }
    };
    Error::new(name.span(), message)
}

fn written_wrong(name: &Ident) -> Error {
    let usage = option(&name.to_string()).map_or("", |option| option.usage);
    Error::new(name.span(), format!("`{name}` is written as `{usage}`"))
}

fn flag(name: &Ident, given: Given) -> Result<Span> {
    match given {
        Given::Flag => Ok(name.span()),
        _ => Err(written_wrong(name)),
    }
}

fn value(name: &Ident, given: Given) -> Result<Expr> {
    match given {
        Given::Value(expr) => Ok(expr),
        _ => Err(written_wrong(name)),
    }
}

/// `name` alone means true.
fn switch(name: &Ident, given: Given) -> Result<LitBool> {
    match given {
        Given::Flag => Ok(LitBool::new(true, name.span())),
        Given::Value(expr) => match bare(&expr) {
            Expr::Lit(literal) if let Lit::Bool(value) = &literal.lit => Ok(value.clone()),
            _ => Err(Error::new_spanned(expr, format!("`{name}` is `true` or `false`"))),
        },
        Given::List(_) => Err(written_wrong(name)),
    }
}

/// A switch, or how to copy an error.
fn read_share_errors(name: &Ident, given: Given) -> Result<ShareErrors> {
    match given {
        Given::Value(expr) if !matches!(bare(&expr), Expr::Lit(_)) => Ok(ShareErrors::By(Box::new(expr))),
        given => switch(name, given).map(ShareErrors::Switch),
    }
}

fn list<T: Parse>(name: &Ident, given: Given) -> Result<Vec<T>> {
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

fn expressions(name: &Ident, given: Given) -> Result<Vec<Expr>> {
    match given {
        Given::Value(expr) => Ok(vec![expr]),
        given => list(name, given),
    }
}

/// Argument names, `self` among them.
fn names(name: &Ident, given: Given) -> Result<Vec<Ident>> {
    let Given::List(tokens) = given else { return Err(written_wrong(name)) };
    items(|input| Punctuated::parse_terminated_with(input, Ident::parse_any), name, tokens)
}

struct Pair(Ident, Expr);

impl Parse for Pair {
    fn parse(input: ParseStream) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        Ok(Self(name, input.parse()?))
    }
}

fn pairs(name: &Ident, given: Given) -> Result<Vec<(Ident, Expr)>> {
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

fn read_ttl(expr: Expr) -> Result<Ttl> {
    Ok(match ttl::literal(&expr)? {
        Some(micros) => Ttl::Micros(micros),
        None => Ttl::Expr(expr),
    })
}

fn read_version(expr: Expr) -> Result<Version> {
    match bare(&expr) {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(int) => return Ok(Version::Text(int.base10_digits().to_owned())),
            Lit::Str(text) => return Ok(Version::Text(text.value())),
            _ => {}
        },
        Expr::Path(path) if path.path.is_ident("auto") => return Ok(Version::OfBody),
        _ => {}
    }
    Err(Error::new_spanned(expr, "`version` is a number, a text, or `auto`"))
}

fn path(expr: &Expr) -> Result<Path> {
    match bare(expr) {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path.clone()),
        _ => Err(Error::new_spanned(expr, "expected a path, like `crate::reexports::cacheness`")),
    }
}

fn read_call(expr: &Expr) -> Result<CallName> {
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
