//! What kind of function it is, and what its parts mean to the expansion.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::visit::Visit;
use syn::{
    Attribute, Expr, FnArg, GenericArgument, Pat, PatIdent, PathArguments, ReturnType, Signature, Stmt, Token, Type,
    TypeParamBound,
};

use crate::borrows::may_borrow;
use crate::parse::Function;

/// A function as the expansion sees it.
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) arguments: Vec<Argument>,
    /// What the body returns: for futures, their output.
    pub(crate) output: Output,
}

pub(crate) enum Kind {
    Sync,
    Async,
    /// `fn .. -> Pin<Box<dyn Future>> { Box::pin(async move { body }) }`, as `#[async_trait]` leaves it behind.
    Boxed(BoxedBody),
}

/// The parts of a body that is one boxed `async` block.
pub(crate) struct BoxedBody {
    pub(crate) before: TokenStream,
    pub(crate) pin: TokenStream,
    pub(crate) block: Group,
}

pub(crate) struct Output {
    pub(crate) ty: TokenStream,
    pub(crate) span: Span,
    /// Whether it may hold what does not live for `'static`.
    pub(crate) may_borrow: bool,
}

/// An argument by the name that the expansion uses for it.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    /// What it is called in keys and in `skip(..)`; a pattern has no such name.
    pub(crate) name: Option<String>,
    /// The names that the body knows it by: its own, or those in its pattern.
    pub(crate) bindings: Vec<Ident>,
    /// A pattern that the signature no longer has, to be matched before the body.
    pub(crate) pattern: Option<Pat>,
    pub(crate) ty: Option<Type>,
    pub(crate) mutable_self: Option<Span>,
    /// `&self`.
    pub(crate) is_shared_self: bool,
    pub(crate) cfgs: Vec<Attribute>,
}

impl Shape {
    pub(crate) fn of(function: &Function) -> Self {
        let declared = match &function.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some(&**ty),
        };
        let boxed = declared.and_then(|ty| Some((boxed_output(ty)?, boxed_body(&function.body.0)?)));
        let (kind, output) = match boxed {
            _ if function.sig.asyncness.is_some() => (Kind::Async, declared),
            Some((output, body)) => (Kind::Boxed(body), Some(output)),
            None => (Kind::Sync, declared),
        };
        let output = Output::of(output, &function.sig);
        let arguments = function.sig.inputs.iter().enumerate().map(|(at, input)| Argument::of(at, input)).collect();
        Self { kind, arguments, output }
    }

    /// The names that the body knows its arguments by.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.arguments.iter().flat_map(Argument::names)
    }

    pub(crate) fn is_async(&self) -> bool {
        !matches!(self.kind, Kind::Sync)
    }
}

impl Output {
    fn of(ty: Option<&Type>, sig: &Signature) -> Self {
        match ty {
            Some(ty) => Self {
                ty: ty.to_token_stream(),
                span: syn::spanned::Spanned::span(ty),
                may_borrow: may_borrow(ty, &sig.generics),
            },
            None => Self { ty: quote::quote!(()), span: sig.ident.span(), may_borrow: false },
        }
    }
}

impl Argument {
    /// The names that the body knows it by.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.bindings.iter().map(|name| name.unraw().to_string())
    }

    /// Whether `skip(..)` names it, or something in its pattern.
    pub(crate) fn is_skipped(&self, skip: &[Ident]) -> bool {
        self.bindings.iter().any(|name| skip.iter().any(|skip| skip.unraw() == name.unraw()))
    }

    fn of(at: usize, input: &FnArg) -> Self {
        match input {
            FnArg::Receiver(receiver) => {
                let (mutable, ty) = match &receiver.kind {
                    syn::ReceiverKind::Reference(_, _, mutable) => (mutable.as_ref().map(|token| token.span), None),
                    syn::ReceiverKind::Typed(_, ty) => (None, Some((**ty).clone())),
                    _ => (None, None),
                };
                Self {
                    ident: Ident::new("self", receiver.self_token.span),
                    name: Some("self".to_owned()),
                    bindings: vec![Ident::new("self", receiver.self_token.span)],
                    pattern: None,
                    ty,
                    is_shared_self: matches!(&receiver.kind, syn::ReceiverKind::Reference(_, _, None)),
                    mutable_self: mutable,
                    cfgs: cfgs(&receiver.attrs),
                }
            }
            FnArg::Typed(typed) => {
                let ident = plain_name(&typed.pat);
                Self {
                    bindings: bindings(&typed.pat),
                    name: ident.map(|ident| syn::ext::IdentExt::unraw(ident).to_string()),
                    ident: ident.cloned().unwrap_or_else(|| stand_in(at, &typed.pat)),
                    pattern: ident.is_none().then(|| (*typed.pat).clone()),
                    ty: Some((*typed.ty).clone()),
                    mutable_self: None,
                    is_shared_self: false,
                    cfgs: cfgs(&typed.attrs),
                }
            }
        }
    }
}

/// The names that a pattern binds.
fn bindings(pat: &Pat) -> Vec<Ident> {
    struct Bound(Vec<Ident>);
    impl Visit<'_> for Bound {
        fn visit_pat_ident(&mut self, pat: &PatIdent) {
            self.0.push(pat.ident.clone());
            syn::visit::visit_pat_ident(self, pat);
        }
    }
    let mut bound = Bound(Vec::new());
    bound.visit_pat(pat);
    bound.0
}

fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

/// The name of an argument that is not a pattern.
fn plain_name(pat: &Pat) -> Option<&Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Some(&pat.ident),
        _ => None,
    }
}

/// The name that a pattern gets in the signature, shown at the pattern's place.
fn stand_in(at: usize, pat: &Pat) -> Ident {
    let span = syn::spanned::Spanned::span(pat).resolved_at(Span::mixed_site());
    format_ident!("__arg{at}", span = span)
}

/// The output of `Pin<Box<dyn Future<Output = T>>>`.
fn boxed_output(ty: &Type) -> Option<&Type> {
    let Type::TraitObject(object) = last_argument(last_argument(ty, "Pin")?, "Box")? else { return None };
    object.bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let segment = bound.path.segments.last().filter(|segment| segment.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
            _ => None,
        })
    })
}

/// `T` of `name<T>`.
fn last_argument<'t>(ty: &'t Type, name: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// The parts of a body that ends in `Box::pin(async move { .. })`.
fn boxed_body(body: &Group) -> Option<BoxedBody> {
    struct Block(Vec<Stmt>);
    impl Parse for Block {
        fn parse(input: ParseStream) -> syn::Result<Self> {
            input.call(syn::Block::parse_within).map(Self)
        }
    }
    let Block(mut statements) = syn::parse2(body.stream()).ok()?;
    let Stmt::Expr(Expr::Call(call), None) = statements.pop()? else { return None };
    let Expr::Path(pin) = &*call.func else { return None };
    if pin.path.segments.last()?.ident != "pin" {
        return None;
    }
    let arguments: &Punctuated<Expr, Token![,]> = &call.args;
    let (Some(Expr::Async(block)), 1) = (arguments.first(), arguments.len()) else { return None };
    block.capture?;
    let TokenTree::Group(group) = block.block.to_token_stream().into_iter().next()? else { return None };
    let before = statements.iter().map(ToTokens::to_token_stream).collect();
    Some(BoxedBody { before, pin: pin.to_token_stream(), block: group })
}
