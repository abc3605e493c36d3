//! The function that `call = name` adds: the same arguments, and a bound call in place of the result.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, FnArg, GenericParam, Lifetime, ParenthesizedGenericArguments, Pat, ReceiverKind, Safety, Signature,
    Type, TypeReference,
};

use super::{Expansion, Runs};
use crate::parse::{CallName, Function};
use crate::shape::Shape;

impl Expansion<'_> {
    /// The added function; nothing without `call`.
    pub(super) fn bound(&self, function: &Function, shape: &Shape) -> TokenStream {
        let Some(call) = &self.options.call else { return TokenStream::new() };
        let p = &self.p;
        let sig = self.bound_signature(function, shape, call);
        let original = &function.sig;
        let key = self.key(function, shape, Some(&original.ident));
        let (setup, bound) = self.call(shape, Runs::Not);
        let plan = self.plan(shape, false);
        let make = self.call_original(function, shape, call);
        let bind = match original.asyncness {
            Some(_) => quote_spanned!(self.site=> #p::bind_async(#bound, #plan, #make)),
            None => quote_spanned!(self.site=> #p::bind(#bound, #plan, move || #make)),
        };
        let attrs = function.attrs.iter().filter(|attribute| is_shared(attribute));
        let vis = &function.vis;
        quote_spanned!(self.site=> #(#attrs)* #vis #sig { #key #setup #bind })
    }

    fn bound_signature(&self, function: &Function, shape: &Shape, call: &CallName) -> Signature {
        let mut sig = function.sig.clone();
        sig.ident = call.name.clone();
        sig.asyncness = None;
        let mut elided = Elided { lifetime: Lifetime::new("'cacheness", Span::mixed_site()), found: false };
        for (input, argument) in sig.inputs.iter_mut().zip(&shape.arguments) {
            elided.visit_fn_arg_mut(input);
            match input {
                FnArg::Receiver(receiver) => receiver.mutability = None,
                FnArg::Typed(typed) => {
                    let ident = &argument.ident;
                    *typed.pat = Pat::Verbatim(ident.to_token_stream());
                }
            }
        }
        if elided.found {
            let lifetime = &elided.lifetime;
            sig.generics.params.insert(0, syn::parse_quote!(#lifetime));
        }
        sig.output = self.bound_output(&sig, shape);
        sig
    }

    fn bound_output(&self, sig: &Signature, shape: &Shape) -> syn::ReturnType {
        let (p, ty) = (&self.p, &shape.output.ty);
        let lifetimes = sig.generics.lifetimes().map(|param| &param.lifetime);
        let captures = quote!(#p::Captures<(#(&#lifetimes (),)*)>);
        let make = match shape.is_async() {
            true => quote!(#p::Later<impl ::core::future::Future<Output = #ty> + #captures>),
            false => quote!(#p::Now<impl ::core::ops::FnOnce() -> #ty + #captures>),
        };
        let output: TokenStream = quote_spanned!(self.site=> -> #p::BoundCall<#ty, #make>);
        syn::parse_quote!(#output)
    }

    /// The call of the user's function by its path: through `Self` where it is known to be an associated function.
    fn call_original(&self, function: &Function, shape: &Shape, call: &CallName) -> TokenStream {
        let sig = &function.sig;
        let associated = call.associated || mentions_self(sig.to_token_stream()) || speaks_of_self(function);
        let path = if associated { quote_spanned!(self.site=> Self::) } else { TokenStream::new() };
        let name = &sig.ident;
        let arguments: Vec<_> = sig.generics.params.iter().filter_map(argument_of).collect();
        let turbofish = if arguments.is_empty() { TokenStream::new() } else { quote!(::<#(#arguments),*>) };
        let values = shape.arguments.iter().map(|argument| &argument.ident);
        let made = quote_spanned!(self.at(call.name.span())=> #path #name #turbofish(#(#values),*));
        match sig.safety {
            Safety::Unsafe(_) => quote_spanned!(self.site=> unsafe { #made }),
            _ => made,
        }
    }
}

/// Whether an attribute of the function is also one of the function beside it.
fn is_shared(attribute: &Attribute) -> bool {
    ["doc", "cfg", "deprecated", "allow"].iter().any(|name| attribute.path().is_ident(name))
}

fn argument_of(param: &GenericParam) -> Option<TokenStream> {
    match param {
        GenericParam::Lifetime(_) => None,
        GenericParam::Type(param) => Some(param.ident.to_token_stream()),
        GenericParam::Const(param) => Some(param.ident.to_token_stream()),
    }
}

/// Whether the body names the type it is implemented for, and has no items that could be the ones who do.
fn speaks_of_self(function: &Function) -> bool {
    let body = || function.body.to_token_stream();
    mentions(body(), &["Self"]) && !mentions(body(), &["impl", "trait", "struct", "enum"])
}

fn mentions_self(tokens: TokenStream) -> bool {
    mentions(tokens, &["Self", "self"])
}

fn mentions(tokens: TokenStream, words: &[&str]) -> bool {
    tokens.into_iter().any(|tree| match tree {
        proc_macro2::TokenTree::Group(group) => mentions(group.stream(), words),
        proc_macro2::TokenTree::Ident(ident) => words.iter().any(|word| ident == word),
        _ => false,
    })
}

/// Gives elided lifetimes of arguments one name.
struct Elided {
    lifetime: Lifetime,
    found: bool,
}

impl Elided {
    fn name(&mut self) -> Lifetime {
        self.found = true;
        self.lifetime.clone()
    }
}

impl VisitMut for Elided {
    fn visit_receiver_mut(&mut self, receiver: &mut syn::Receiver) {
        if let ReceiverKind::Reference(_, lifetime @ None, _) = &mut receiver.kind {
            *lifetime = Some(self.name());
        }
        visit_mut::visit_receiver_mut(self, receiver);
    }

    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        if reference.lifetime.is_none() {
            reference.lifetime = Some(self.name());
        }
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == "_" {
            *lifetime = self.name();
        }
    }

    /// Lifetimes in `fn(..)` and `Fn(..)` are their own.
    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut ParenthesizedGenericArguments) {}

    fn visit_type_mut(&mut self, ty: &mut Type) {
        if !matches!(ty, Type::FnPtr(_)) {
            visit_mut::visit_type_mut(self, ty);
        }
    }
}
