//! What cannot work, each with its caret on the cause and what to do.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, Expr, ExprLit, Lit, Safety, Signature, Type};

use crate::errors::Errors;
use crate::mentions::{captures, mentions};
use crate::parse::{Flavor, Function, Options, ShareErrors, SingleFlight, bare, nearest};
use crate::shape::{Argument, Kind, Shape};

/// Reports what of the options and the function cannot work.
pub(crate) fn check(flavor: Flavor, options: &Options, function: &Function, shape: &Shape, errors: &mut Errors) {
    qualifiers(function, errors);
    attribute_twice(&function.attrs, errors);
    asynchrony(flavor, options, function, shape, errors);
    output(shape, errors);
    for argument in &shape.arguments {
        mutable_argument(argument, options, errors);
        if options.key.is_none() && !argument.is_skipped(&options.skip) {
            closure_argument(argument, &function.sig, errors);
        }
    }
    key(options, shape, errors);
    skipped(options, shape, errors);
    together(flavor, options, function, shape, errors);
}

fn qualifiers(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(constness) = sig.constness {
        errors.on(constness, "a `const fn` cannot be cached: it runs when the program is compiled; remove `const`");
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, "an `extern` function cannot be cached: cache a Rust function that it calls");
    }
    if let Safety::Safe(safe) = &sig.safety {
        errors.on(safe, "a `safe` foreign function cannot be cached: cache a Rust function that calls it");
    }
}

fn attribute_twice(attrs: &[Attribute], errors: &mut Errors) {
    let ours = |attribute: &&Attribute| {
        let mut segments = attribute.path().segments.iter().rev().map(|segment| segment.ident.to_string());
        let (last, parent) = (segments.next().unwrap_or_default(), segments.next());
        ["cached", "cache_async", "cache_if"].contains(&last.as_str())
            || last == "for_api" && parent.as_deref() == Some("cached")
    };
    if let Some(second) = attrs.iter().find(ours) {
        errors.on(second, "the function is cached twice: put all options into one attribute");
    }
}

fn asynchrony(flavor: Flavor, options: &Options, function: &Function, shape: &Shape, errors: &mut Errors) {
    if shape.is_async() {
        return;
    }
    let message = "the function is not `async`: make it an `async fn`, or use `#[cached]` without `async`";
    if let Some(span) = options.asynchronous {
        errors.at(span, message);
    } else if flavor == Flavor::CacheAsync {
        errors.on(function.sig.fn_token, message);
    }
}

fn output(shape: &Shape, errors: &mut Errors) {
    let ty = &shape.output.ty;
    if contains(ty, &|tree| is_ident(tree, "impl")) {
        errors.on(ty, "`impl Trait` has no name and cannot be stored: return a type like `Vec<_>` by its name");
    } else if contains(ty, &|tree| is_punct(tree, '&')) || has_lifetime(ty) {
        errors.on(ty, "a borrowed result cannot be stored: return an owned type, like `String` for `&str`");
    } else if ty.to_string() == "!" {
        errors.on(ty, "a function that never returns has no result to store: remove the attribute");
    }
}

fn mutable_argument(argument: &Argument, options: &Options, errors: &mut Errors) {
    if argument.is_skipped(&options.skip) {
        return;
    }
    let name = named(argument);
    let message = format!(
        "a hit would not change what `&mut` points to: take it by `&` or by value, or leave it out with `skip({name})`"
    );
    match &argument.ty {
        Some(ty) if borrows_mutably(ty) => errors.on(ty, &message),
        _ => {
            if let Some(span) = argument.mutable_self {
                errors.at(span, &message);
            }
        }
    }
}

/// The name by which an argument is skipped.
fn named(argument: &Argument) -> String {
    argument.bindings.first().map_or_else(|| "..".to_owned(), |name| name.unraw().to_string())
}

/// A closure or function pointer, which no type can make part of a key.
fn closure_argument(argument: &Argument, sig: &Signature, errors: &mut Errors) {
    let Some(ty) = argument.ty.as_ref().filter(|ty| is_closure(ty, sig)) else { return };
    let name = named(argument);
    errors
        .on(ty, &format!("a closure cannot be part of the key: leave it out with `skip({name})`, or name a `key(..)`"));
}

/// Whether a type is a closure by what it says, or by the bounds of the parameter that it is.
fn is_closure(ty: &Type, sig: &Signature) -> bool {
    match ty {
        Type::Group(group) => is_closure(&group.elem, sig),
        Type::Paren(paren) => is_closure(&paren.elem, sig),
        Type::Reference(reference) => is_closure(&reference.elem, sig),
        Type::FnPtr(_) => true,
        Type::ImplTrait(object) => calls(&object.bounds.to_token_stream()),
        Type::TraitObject(object) => calls(&object.bounds.to_token_stream()),
        Type::Path(path) => path.path.get_ident().is_some_and(|name| is_closure_parameter(name, sig)),
        _ => false,
    }
}

fn is_closure_parameter(name: &Ident, sig: &Signature) -> bool {
    let by_parameter =
        sig.generics.type_params().any(|param| param.ident == *name && calls(&param.bounds.to_token_stream()));
    let clauses = sig.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    by_parameter
        || clauses.into_iter().any(|predicate| match predicate {
            syn::WherePredicate::Type(predicate) => {
                *name == predicate.bounded_ty.to_token_stream().to_string()
                    && calls(&predicate.bounds.to_token_stream())
            }
            _ => false,
        })
}

/// Whether bounds have one of the traits of closures at their beginning.
fn calls(bounds: &TokenStream) -> bool {
    bounds.clone().into_iter().any(|tree| ["Fn", "FnMut", "FnOnce"].iter().any(|name| is_ident(&tree, name)))
}

fn skipped(options: &Options, shape: &Shape, errors: &mut Errors) {
    let names: Vec<String> = shape.names().collect();
    for (at, skip) in options.skip.iter().enumerate() {
        let name = skip.unraw().to_string();
        if options.skip[..at].contains(skip) {
            errors.at(skip.span(), &format!("`{name}` is skipped twice: remove one of them"));
        } else if !names.contains(&name) {
            let hint = nearest(&name, names.iter().map(|name| &**name));
            let hint = hint.map_or(String::new(), |meant| format!(": did you mean `{meant}`?"));
            errors.at(skip.span(), &format!("the function has no argument `{name}`{hint}"));
        }
    }
    for argument in shape.arguments.iter().filter(|argument| argument.is_skipped(&options.skip)) {
        if let Some(left) =
            argument.bindings.iter().find(|name| !options.skip.iter().any(|skip| skip.unraw() == name.unraw()))
        {
            let message = format!("a pattern is one argument of the key: skip `{left}` as well, or name a `key(..)`");
            let first =
                options.skip.iter().find(|skip| argument.bindings.iter().any(|name| name.unraw() == skip.unraw()));
            errors.at(first.map_or_else(Span::call_site, Ident::span), &message);
        }
    }
}

/// A key in which no argument occurs makes one entry of all calls.
fn key(options: &Options, shape: &Shape, errors: &mut Errors) {
    let Some((_, exprs)) = &options.key else { return };
    let names: Vec<String> = shape.names().collect();
    let is_name = |name: &str| names.iter().any(|known| known == name);
    if exprs.iter().any(|expr| mentions(expr.to_token_stream(), &is_name)) {
        return;
    }
    // Without arguments there is nothing to tell apart, and some may be skipped or be there for other options.
    let serves = |argument: &Argument| {
        let names: Vec<String> = argument.names().collect();
        let is_name = |name: &str| names.iter().any(|known| known == name);
        options.lookups().any(|expr| mentions(expr.to_token_stream(), &is_name))
    };
    let mut arguments = shape.arguments.iter();
    let Some(argument) = arguments.find(|argument| !argument.is_skipped(&options.skip) && !serves(argument)) else {
        return;
    };
    let meant = exprs.iter().find_map(|expr| match bare(expr) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            let text = text.value();
            let captured = captures(&text).into_iter().next();
            Some(captured.unwrap_or(text))
        }
        expr => expr.to_token_stream().into_iter().next().map(|tree| tree.to_string()),
    });
    let meant = meant.unwrap_or_default();
    let name = names.iter().find(|name| **name == meant || nearest(&meant, [&***name]).is_some());
    let name = name.cloned().unwrap_or_else(|| named(argument));
    let message = format!(
        "`key` mentions no argument, so that all calls would share one result: it takes expressions of the arguments, not \
         a type or a text, like `key = {name}`"
    );
    errors.on(&exprs[0], &message);
}

/// Options that do not go together, or not with this function.
fn together(flavor: Flavor, options: &Options, function: &Function, shape: &Shape, errors: &mut Errors) {
    if flavor == Flavor::CacheIf && options.condition.is_none() {
        errors.at(Span::call_site(), "`cache_if` needs a condition: `#[cache_if(|result| .., ttl = 3600)]`");
    }
    if let (Some(_), Some(memory)) = (&options.handler, options.memory.as_ref().filter(|memory| memory.value)) {
        errors.on(memory, "what a given handler stores does not stay in memory: remove `memory` or `handler`");
    }
    if let (Flavor::ForApi, Some(span)) = (flavor, options.for_api) {
        errors.at(span, "`for_api` is given twice: the attribute already says it");
    }
    if let (Some(include), Some(_)) = (&options.include_defaults, &options.key) {
        errors.on(include, "`include_defaults` is about arguments, and with `key(..)` they are not part of the key");
    }
    if let (Some(stale), true) = (options.serves_stale(), options.cache_err) {
        errors
            .on(stale, "`stale_on_error` answers in place of an `Err`, and `cache_err` stores it: remove one of them");
    }
    if options.single_flight.as_ref().is_some_and(SingleFlight::is_off)
        && let Some(ShareErrors::Switch(share)) = options.share_errors.as_ref()
        && share.value
    {
        errors.on(share, "with `single_flight = false` no call waits for another one: remove one of them");
    }
    let Some(call) = &options.call else { return };
    if call.name == function.sig.ident {
        errors.at(call.name.span(), "`call` adds a function: give it a name of its own");
    } else if let Some(cfg) = shape.arguments.iter().find_map(|argument| argument.cfgs.first()) {
        errors.on(cfg, "`call` does not work with `cfg` on an argument: put the `cfg` on two functions");
    } else if let Kind::Boxed(_) = shape.kind {
        errors.at(call.name.span(), "`call` cannot add a function beside a method that `#[async_trait]` has rewritten");
    }
}

fn contains(tokens: &TokenStream, wanted: &dyn Fn(&TokenTree) -> bool) -> bool {
    tokens.clone().into_iter().any(|tree| match &tree {
        TokenTree::Group(group) => contains(&group.stream(), wanted),
        tree => wanted(tree),
    })
}

fn is_ident(tree: &TokenTree, name: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(tree: &TokenTree, punct: char) -> bool {
    matches!(tree, TokenTree::Punct(found) if found.as_char() == punct)
}

fn has_lifetime(tokens: &TokenStream) -> bool {
    lifetimes(tokens).iter().any(|lifetime| lifetime != "static")
}

/// The names of all lifetimes.
fn lifetimes(tokens: &TokenStream) -> Vec<Ident> {
    let mut found = Vec::new();
    let mut quote = false;
    for tree in tokens.clone() {
        match &tree {
            TokenTree::Group(group) => found.extend(lifetimes(&group.stream())),
            TokenTree::Ident(ident) if quote => found.push(ident.clone()),
            _ => {}
        }
        quote = is_punct(&tree, '\'');
    }
    found
}

/// Whether there is a `&mut` or `&'a mut` anywhere in the type.
fn borrows_mutably(ty: &Type) -> bool {
    fn find(tokens: TokenStream) -> bool {
        let mut after_pointer = false;
        tokens.into_iter().any(|tree| {
            let found = match &tree {
                TokenTree::Group(group) => find(group.stream()),
                tree => is_ident(tree, "mut") && !after_pointer,
            };
            after_pointer = is_punct(&tree, '*');
            found
        })
    }
    find(ty.to_token_stream())
}
