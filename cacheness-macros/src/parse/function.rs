use proc_macro2::{Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Result, Signature, Token, Visibility};

/// A function. Its body stays raw tokens: half-typed code reaches the compiler as it is, and parsing it would cost time.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) defaultness: Option<Token![default]>,
    pub(crate) sig: Signature,
    pub(crate) body: Body,
}

/// The body of a function: its braces, without the attributes that stood at its beginning.
pub(crate) struct Body(pub(crate) Group);

impl Parse for Function {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let defaultness =
            if input.peek(Token![default]) && !input.peek2(Token![!]) { Some(input.parse()?) } else { None };
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            return Err(Error::new_spanned(
                &sig,
                "a cached function needs a body: put the attribute where the body is",
            ));
        }
        let TokenTree::Group(group) = input.parse()? else {
            return Err(input.error("expected the body of the function"));
        };
        let (inner, body) = split_inner_attributes(&group);
        attrs.extend(inner);
        Ok(Self { attrs, vis, defaultness, sig, body: Body(body) })
    }
}

/// A block in an expression has no inner attributes: those of the function go to its outer ones, which mean the same.
fn split_inner_attributes(body: &Group) -> (Vec<Attribute>, Group) {
    let split = |input: ParseStream| Ok((input.call(Attribute::parse_inner)?, input.parse::<TokenStream>()?));
    let starts_with_hash =
        matches!(body.stream().into_iter().next(), Some(TokenTree::Punct(first)) if first.as_char() == '#');
    if !starts_with_hash {
        return (Vec::new(), body.clone());
    }
    let Ok((mut inner, rest)) = syn::parse::Parser::parse2(split, body.stream()) else {
        return (Vec::new(), body.clone());
    };
    for attribute in &mut inner {
        attribute.style = syn::AttrStyle::Outer;
    }
    let mut group = Group::new(body.delimiter(), rest);
    group.set_span(body.span());
    (inner, group)
}

impl ToTokens for Body {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}
