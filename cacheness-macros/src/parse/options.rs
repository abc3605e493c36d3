//! The options of the attributes, from one table.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Expr, Ident, LitBool, Path, Result, Token, parenthesized, token};

use super::foreign;
use super::suggest::nearest;
use super::values::{
    CallName, ShareErrors, SingleFlight, Ttl, Version, expressions, flag, list, names, pairs, path, read_cache,
    read_call, read_condition, read_prefix, read_share_errors, read_single_flight, read_ttl, read_version, switch,
    value,
};
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
    pub(crate) single_flight: Option<SingleFlight>,
    pub(crate) share_errors: Option<ShareErrors>,
    pub(crate) memory: Option<LitBool>,
    pub(crate) handler: Option<Expr>,
    pub(crate) call: Option<CallName>,
    pub(crate) krate: Option<Path>,
}

/// How an option is written.
pub(super) enum Given {
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
    "cache" or "cache_instance" as "cache = CACHE" => cache = |name, given| Some(read_cache(value(name, given)?)?),
    "prefix" or "cache_key_prefix" or "key_prefix" as "prefix = \"weather\"" => prefix = |name, given| Some(read_prefix(value(name, given)?)?),
    "include_defaults" as "include_defaults = false" => include_defaults = |name, given| Some(switch(name, given)?),
    "metadata" as "metadata(name = value, ..)" => metadata = |name, given| pairs(name, given)?,
    "tags" as "tags(\"user:{id}\", ..)" => tags = |name, given| list(name, given)?,
    "key" or "key_func" as "key(expression, ..)" => key = |name, given| Some((name.span(), expressions(name, given)?)),
    "skip" as "skip(argument, ..)" => skip = |name, given| names(name, given)?,
    "version" as "version = 2` or `version = auto" => version = |name, given| Some(read_version(value(name, given)?)?),
    "condition" as "condition = |result| .." => condition = |name, given| Some(read_condition(value(name, given)?)?),
    "cache_none" as "cache_none = true" => cache_none = |name, given| switch(name, given)?.value,
    "cache_err" as "cache_err = true" => cache_err = |name, given| switch(name, given)?.value,
    "ignore_errors" as "ignore_errors = false" => ignore_errors = |name, given| Some(switch(name, given)?),
    "single_flight" as "single_flight = false` or `single_flight = \"global\"" => single_flight = |name, given| Some(read_single_flight(name, given)?),
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
        let Some(option) = option(&name.to_string()) else {
            errors.push(unknown(&name));
            return skip_value(input);
        };
        if input.peek(Token![:]) {
            return Err(written_wrong(&name));
        }
        let given = Given::parse(input)?;
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

    /// The expressions that say where and how long, which may be all that an argument is for.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = &Expr> {
        let ttl = self.ttl.as_ref().and_then(|ttl| match ttl {
            Ttl::Expr(ttl) => Some(ttl),
            Ttl::Micros(_) | Ttl::OfResult(_) => None,
        });
        self.cache.iter().chain(ttl)
    }

    /// Whether arguments equal to their default are left out of the key.
    pub(crate) fn leaves_out_defaults(&self) -> bool {
        self.include_defaults.as_ref().is_some_and(|include| !include.value)
    }
}

/// Goes to the next option, behind what stands for the value of one that is unknown.
fn skip_value(input: ParseStream) -> Result<()> {
    let ahead = input.fork();
    if Given::parse(&ahead).is_ok() {
        input.advance_to(&ahead);
    }
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
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
    if let Some(here) = foreign::here(&name.to_string()) {
        return Error::new(name.span(), format!("`{name}` is an option of another crate: {here}"));
    }
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

pub(super) fn written_wrong(name: &Ident) -> Error {
    let usage = option(&name.to_string()).map_or("", |option| option.usage);
    Error::new(name.span(), format!("`{name}` is written as `{usage}`"))
}
