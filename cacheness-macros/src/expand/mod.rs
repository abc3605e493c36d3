//! A checked function to its expansion.
//!
//! Locals of the expansion and the user's names cannot meet: they are of different hygiene. Every token that can cause an
//! error stands at the place of its cause, with the hygiene of the expansion, so that lints know whose it is.

mod bound;
mod call_metadata;
#[cfg(test)]
mod tests;
mod version;

use proc_macro2::{Group, Ident, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, FnArg, Lit, Type};

use crate::check;
use crate::errors::Errors;
use crate::fallback;
use crate::mentions::{captures, mentions};
use crate::parse::{Flavor, Function, Options, ShareErrors, SingleFlight, Ttl, Version, bare};
use crate::private::private;
use crate::shape::{Argument, BoxedBody, Kind, Shape};

const FOR_API_TTL_MICROS: u64 = 6 * 3600 * 1_000_000;

/// Expands one attribute: parse, shape, check, expand; or the errors and the item as it was.
pub(crate) fn attribute(flavor: Flavor, options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse(flavor, options, &mut errors);
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.push(not_a_function(&item, error));
            return fallback::expand(errors.report().unwrap_or_default(), item);
        }
    };
    let shape = Shape::of(&function);
    check::check(flavor, &options, &function, &shape, &mut errors);
    match errors.report() {
        Some(report) => fallback::expand(report, item),
        None => Expansion { flavor, options: &options, site: Span::mixed_site(), p: private(options.krate.as_ref()) }
            .function(function, &shape),
    }
}

/// The error for an item that is something else, or the parser's for a function that is not finished.
fn not_a_function(item: &TokenStream, error: syn::Error) -> syn::Error {
    let is_function = item.clone().into_iter().any(|tree| matches!(tree, TokenTree::Ident(word) if word == "fn"));
    if is_function {
        error
    } else {
        syn::Error::new_spanned(item, "only a function can be cached: put the attribute on a `fn`")
    }
}

/// Whether a call runs the body, and whether the body records metadata of the call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    Not,
    Plain,
    WithMetadata,
}

struct Expansion<'o> {
    flavor: Flavor,
    options: &'o Options,
    site: Span,
    /// The path of the private module.
    p: TokenStream,
}

impl Expansion<'_> {
    fn function(&self, mut function: Function, shape: &Shape) -> TokenStream {
        let beside = self.bound(&function, shape);
        let body = match &shape.kind {
            Kind::Boxed(boxed) => self.boxed(&function, shape, boxed),
            Kind::Async | Kind::Sync => self.body(&function, shape, &function.body.0),
        };
        for (input, argument) in function.sig.inputs.iter_mut().zip(&shape.arguments) {
            if let (FnArg::Typed(typed), Some(_)) = (input, &argument.pattern) {
                let ident = &argument.ident;
                *typed.pat = syn::parse_quote!(#ident);
            }
        }
        let Function { attrs, vis, defaultness, sig, .. } = &function;
        quote!(#(#attrs)* #vis #defaultness #sig { #body } #beside)
    }

    fn boxed(&self, function: &Function, shape: &Shape, boxed: &BoxedBody) -> TokenStream {
        let BoxedBody { before, pin, block } = boxed;
        let body = self.body(function, shape, block);
        quote_spanned!(self.site=> #before #pin(async move { #body }))
    }

    /// Key, call, and the body handed over.
    fn body(&self, function: &Function, shape: &Shape, body: &Group) -> TokenStream {
        let site = &self.site;
        let key = self.key(function, shape, None);
        let call_metadata = self.call_metadata(shape);
        let tells = !call_metadata.is_empty() || self.ttl_of_result(shape).is_some();
        let (setup, call) = self.call(shape, if tells { Runs::WithMetadata } else { Runs::Plain });
        let plan = self.plan(shape, true);
        let ty = &shape.output.ty;
        if !shape.is_async() {
            let run = quote_spanned!(*site=> || -> #ty);
            let body = if call_metadata.is_empty() {
                quote!(#run #body)
            } else {
                let body = self.nested(body);
                quote!(#run { #call_metadata #body })
            };
            return quote_spanned!(*site=> #key #setup #call.run(#plan, #body));
        }
        let body = self.nested(body);
        let (span, p) = (self.at(shape.output.span), self.p(self.at(shape.output.span)));
        let output = quote_spanned!(span=> return #p::output::<#ty>());
        let make = quote_spanned!(*site=> move || async move { if false { #output } #call_metadata #body });
        // One place for the call and for waiting: the compiler then reports one of the same errors of both.
        let run = quote_spanned!(span=> #call.run_async(#plan, #make).await);
        quote!(#key #setup #run)
    }

    /// The body in braces of the expansion: lints take those of the user for needless ones inside other braces.
    fn nested(&self, body: &Group) -> Group {
        let mut nested = Group::new(body.delimiter(), body.stream());
        nested.set_span(self.at(body.span()));
        nested
    }

    /// Statements that write the key into `w` and then match the patterns that the signature no longer has.
    fn key(&self, function: &Function, shape: &Shape, beside: Option<&Ident>) -> TokenStream {
        let Self { site, p, .. } = self;
        let settings = self.settings(function);
        let begin = match beside {
            Some(name) => {
                let name = name.to_string();
                quote_spanned!(*site=> #p::begin_sibling(const { &#settings }, || (), #name))
            }
            None => quote_spanned!(*site=> #p::begin(const { &#settings }, || ())),
        };
        let patterns = shape.arguments.iter().filter_map(|argument| self.matched(argument, beside.is_some()));
        let keyed: Vec<&Argument> = shape.arguments.iter().filter(|argument| !self.skips(argument)).collect();
        let (count, encode): (usize, Vec<_>) = match &self.options.key {
            Some((_, exprs)) => (exprs.len(), exprs.iter().map(|expr| self.encode_expr(expr, shape)).collect()),
            None => (
                keyed.iter().filter(|argument| argument.cfgs.is_empty()).count(),
                keyed.iter().enumerate().map(|(at, argument)| self.encode(at, argument)).collect(),
            ),
        };
        // Arguments that a `cfg` takes away leave nothing that changes the key.
        let now = beside.is_none() && !shape.is_async();
        let binding = match (count, encode.len()) {
            _ if now => quote_spanned!(*site=> let mut w),
            (_, 0) => quote_spanned!(*site=> let w),
            (0, _) => quote_spanned!(*site=> #[allow(unused_mut)] let mut w),
            _ => quote_spanned!(*site=> let mut w),
        };
        if self.options.key.is_some() {
            quote_spanned!(*site=> #(#patterns)* #binding = #begin; #(#encode)*)
        } else {
            quote_spanned!(*site=> #binding = #begin; #(#encode)* #(#patterns)*)
        }
    }

    /// The statement that matches a pattern. A bound call only looks: it passes the argument on as it came.
    fn matched(&self, argument: &Argument, bound: bool) -> Option<TokenStream> {
        let (ident, pattern, cfgs) = (&argument.ident, argument.pattern.as_ref()?, &argument.cfgs);
        if !bound {
            return Some(quote_spanned!(self.site=> #(#cfgs)* let #pattern = #ident;));
        }
        let needed = self.options.key.is_some() || matches!(self.options.ttl, Some(Ttl::Expr(_)));
        needed.then(|| quote_spanned!(self.site=> #[allow(unused_variables)] let #pattern = &#ident;))
    }

    fn skips(&self, argument: &Argument) -> bool {
        argument.is_skipped(&self.options.skip)
    }

    fn encode(&self, at: usize, argument: &Argument) -> TokenStream {
        let (ident, cfgs) = (&argument.ident, &argument.cfgs);
        let span = self.at(ident.span());
        let p = self.p(span);
        if !self.options.leaves_out_defaults() {
            return quote_spanned!(span=> #(#cfgs)* #p::arg(&#ident).encode(w.argument()););
        }
        let name = argument.name.clone().unwrap_or_else(|| at.to_string());
        quote_spanned! {span=> #(#cfgs)* {
            if !#p::unless_default(&#ident).is_default(|value, w| #p::arg(value).encode(w)) {
                #p::arg(&#ident).encode(w.named(#name));
            }
        }}
    }

    /// A part of the key. A text that captures arguments is a format string.
    fn encode_expr(&self, expr: &Expr, shape: &Shape) -> TokenStream {
        let span = self.at(expr.span());
        let p = self.p(span);
        match bare(expr) {
            // By its parts: no tuple implements more than all of them do.
            Expr::Tuple(tuple) if tuple.elems.len() > 1 && tuple.attrs.is_empty() => {
                let (values, count) = (tuple.elems.iter(), tuple.elems.len());
                let names: Vec<_> = (0..count).map(|n| format_ident!("part_{n}", span = self.site)).collect();
                quote_spanned! {span=> match (#(&(#values),)*) {
                    (#(#names,)*) => #p::tuple(w.argument(), #count, |w| { #(#p::arg(#names).encode(w);)* }),
                }}
            }
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. })
                if captures(&text.value()).iter().any(|name| shape.names().any(|known| known == *name)) =>
            {
                quote_spanned!(span=> #p::arg(&#p::text(::core::format_args!(#text))).encode(w.argument());)
            }
            _ => quote_spanned!(span=> #p::arg(&(#expr)).encode(w.argument());),
        }
    }

    /// The constant part of the options.
    fn settings(&self, function: &Function) -> TokenStream {
        let (p, options) = (&self.p, self.options);
        let mut settings = quote_spanned!(self.site=> #p::Site::at({ static P: fn() = || (); &P }));
        if function.sig.receiver().is_none() {
            let tokens = Literal::u64_unsuffixed(version::tokens_of(&function.sig, &function.body.0));
            settings.extend(quote_spanned!(self.site=> .without_self(#tokens, ::core::module_path!())));
        }
        let for_api = self.flavor == Flavor::ForApi || options.for_api.is_some();
        match &options.ttl {
            Some(Ttl::Micros(micros)) => settings.extend(quote_spanned!(self.site=> .ttl_micros(#micros))),
            None if for_api => settings.extend(quote_spanned!(self.site=> .ttl_micros(#FOR_API_TTL_MICROS))),
            _ => {}
        }
        if let Some(prefix) = &options.prefix {
            settings.extend(quote_spanned!(self.site=> .prefix(#prefix)));
        }
        if let Some(version) = &options.version {
            let text = match version {
                Version::Text(text) => text.clone(),
                Version::OfBody => version::of(&function.body.0),
            };
            settings.extend(quote_spanned!(self.site=> .version(#text)));
        }
        match &options.single_flight {
            Some(SingleFlight::Global) => settings.extend(quote_spanned!(self.site=> .global_flight())),
            Some(flight) if flight.is_off() => settings.extend(quote_spanned!(self.site=> .crowded())),
            _ => {}
        }
        settings
    }

    /// Statements that set up the call, and the call. The body of one that runs it may record metadata.
    fn call(&self, shape: &Shape, runs: Runs) -> (TokenStream, TokenStream) {
        let (p, options) = (&self.p, self.options);
        let mut setup = TokenStream::new();
        if let Some(cache) = &options.cache {
            let span = self.at(cache.span());
            setup.extend(quote_spanned!(span=> let cache: &#p::Cache = &(#cache);));
            if runs != Runs::Not && self.moves(cache, shape) {
                setup.extend(quote_spanned!(span=> let cache = &::core::clone::Clone::clone(cache);));
            }
            setup.extend(quote_spanned!(span=> call.cache(cache);));
        }
        if let (Some(Ttl::Expr(ttl)), None) = (&options.ttl, self.ttl_of_result(shape)) {
            let span = self.at(ttl.span());
            setup.extend(quote_spanned!(span=> call.ttl(#ttl);));
        }
        let output = self.at(shape.output.span);
        let span = if setup.is_empty() { output } else { self.site };
        let now = runs != Runs::Not && !shape.is_async();
        let begun = if now { quote_spanned!(span=> w.call()) } else { quote_spanned!(span=> w.into_call()) };
        let (mut setup, mut call) = match setup.is_empty() {
            true => (setup, begun),
            false => (quote_spanned!(self.site=> let mut call = #begun; #setup), quote_spanned!(output=> call)),
        };
        if runs == Runs::WithMetadata {
            setup.extend(quote_spanned!(self.site=> let call_metadata = &#p::CallMetadata::new();));
            call.extend(quote_spanned!(output=> .metadata(call_metadata)));
        }
        (setup, call)
    }

    /// Whether an expression borrows from an argument that the body may move or change.
    fn moves(&self, expr: &Expr, shape: &Shape) -> bool {
        let kept = |argument: &Argument| match &argument.ty {
            Some(Type::Reference(reference)) => reference.mutability.is_none(),
            Some(_) => false,
            None => argument.is_shared_self,
        };
        let moved: Vec<String> =
            shape.arguments.iter().filter(|argument| !kept(argument)).flat_map(Argument::names).collect();
        mentions(expr.to_token_stream(), &|name| moved.iter().any(|moved| moved == name))
    }

    /// The `ttl` that asks the result: a closure, or a path that by its name is a function.
    fn ttl_of_result(&self, shape: &Shape) -> Option<&Expr> {
        match self.options.ttl.as_ref()? {
            Ttl::OfResult(ttl) => Some(ttl),
            Ttl::Expr(ttl) => match bare(ttl) {
                Expr::Path(path) => {
                    let last = path.path.segments.last()?.ident.to_string();
                    let is_argument = path.path.get_ident().is_some() && shape.names().any(|name| name == last);
                    (last.contains(char::is_lowercase) && !is_argument).then_some(ttl)
                }
                _ => None,
            },
            Ttl::Micros(_) => None,
        }
    }

    /// What is done with results, decided by their type. A call that does not run the body has none to decide on.
    fn plan(&self, shape: &Shape, runs: bool) -> TokenStream {
        let (ty, options) = (&shape.output.ty, self.options);
        let choice = match (options.cache_err, options.cache_none) {
            (false, false) => "plan",
            (true, false) => "plan_err",
            (false, true) => "plan_none",
            (true, true) => "plan_all",
        };
        let span = self.at(shape.output.span);
        let (choice, p) = (Ident::new(choice, span), self.p(span));
        let mut plan = quote_spanned!(span=> #p::Returns::<#ty>::new().#choice());
        plan.extend(self.codec(span));
        if runs {
            plan.extend(self.shares(shape, span));
        }
        if options.is_strict() {
            plan.extend(quote_spanned!(span=> .strict()));
        }
        if options.serves_stale().is_some() && runs {
            plan.extend(quote_spanned!(span=> .stale_on_error()));
        }
        if let Some(condition) = options.condition.as_ref().filter(|_| runs) {
            plan.extend(quote_spanned!(self.at(condition.span())=> .only_if(#condition)));
        }
        if let Some(ttl) = self.ttl_of_result(shape).filter(|_| runs) {
            let span = self.at(ttl.span());
            let p = self.p(span);
            plan.extend(quote_spanned!(span=> .lives(call_metadata, #ttl, #p::lifetime)));
        }
        plan
    }

    /// What those get who waited for a result that is not stored.
    fn shares(&self, shape: &Shape, output: Span) -> TokenStream {
        let (ty, p) = (&shape.output.ty, self.p(output));
        let how = match &self.options.share_errors {
            Some(ShareErrors::By(copy)) => {
                let span = self.at(copy.span());
                let p = self.p(span);
                let of = quote_spanned!(span=> #p::Shares::<#ty>);
                let shares = quote_spanned! {span=>
                    #of::by(|result| #of::give_error(result, #copy), |shared| #of::take_error(shared, #copy))
                };
                return quote_spanned!(output=> .shared(::core::option::Option::Some(#shares)));
            }
            Some(ShareErrors::Switch(share)) if share.value => "always",
            Some(ShareErrors::Switch(_)) => return TokenStream::new(),
            // Method lookup takes no notice of lifetimes, and would find what the type must be `'static` for.
            None if shape.output.may_borrow => return TokenStream::new(),
            None => "if_possible",
        };
        let how = Ident::new(how, output);
        quote_spanned!(output=> .shared(#p::Sharable::<#ty>::new().#how()))
    }

    /// How results are stored.
    fn codec(&self, output: Span) -> TokenStream {
        if let Some(handler) = &self.options.handler {
            return quote_spanned!(self.at(handler.span())=> .by(&(#handler)));
        }
        let method =
            if self.options.memory.as_ref().is_some_and(|on| !on.value) { "not_in_memory" } else { "in_memory" };
        let method = Ident::new(method, output);
        quote_spanned!(output=> .compared().#method())
    }

    /// The path of the private module at a place: an error that names it points there.
    fn p(&self, span: Span) -> TokenStream {
        let respan = |mut tree: TokenTree| {
            tree.set_span(tree.span().located_at(span));
            tree
        };
        self.p.clone().into_iter().map(respan).collect()
    }

    /// A place in the user's code, with the hygiene of the expansion.
    fn at(&self, span: Span) -> Span {
        span.resolved_at(self.site)
    }
}
