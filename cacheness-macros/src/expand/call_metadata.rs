//! What a function tells of a result beside the value, when its body runs: recorded arguments, tags and metadata.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Lit};

use super::Expansion;
use crate::mentions::mentions;
use crate::parse::bare;
use crate::shape::Shape;

impl Expansion<'_> {
    /// Statements before the body that record arguments, while they are still there. Those of which `key(..)` makes no
    /// use are as good as skipped.
    fn params(&self, shape: &Shape) -> TokenStream {
        let key = self.options.key.as_ref().map(|(_, exprs)| exprs);
        let counts = |name: &str| {
            key.is_none_or(|exprs| exprs.iter().any(|expr| mentions(expr.to_token_stream(), &|word| word == name)))
        };
        let arguments = shape.arguments.iter().filter(|argument| !self.skips(argument) && argument.ident != "self");
        let arguments = arguments.flat_map(|argument| argument.bindings.iter().map(move |name| (name, &argument.cfgs)));
        let arguments = arguments.filter_map(|(ident, cfgs)| {
            let name = ident.unraw().to_string();
            counts(&name).then(|| self.param(&name, ident, ident.span(), cfgs))
        });
        let fields = key.into_iter().flatten().filter(|expr| is_field(expr));
        let fields =
            fields.map(|expr| self.param(&expr.to_token_stream().to_string().replace(' ', ""), expr, expr.span(), &[]));
        arguments.chain(fields).collect()
    }

    fn param(&self, name: &str, value: impl ToTokens, span: Span, cfgs: &[Attribute]) -> TokenStream {
        let p = &self.p;
        quote_spanned!(self.at(span)=> #(#cfgs)* call_metadata.param(#name, #p::param(&#value).value());)
    }

    /// Statements before the body that tell what belongs to the result, while the arguments are still there.
    pub(super) fn call_metadata(&self, shape: &Shape) -> TokenStream {
        let params = self.params(shape);
        let tags = self.options.tags.iter().map(|tag| self.tag(tag));
        let metadata = self.options.metadata.iter().map(|(name, value)| {
            let name = syn::ext::IdentExt::unraw(name).to_string();
            quote_spanned!(self.at(value.span())=> call_metadata.add(#name, #value);)
        });
        quote_spanned!(self.site=> #params #(#tags)* #(#metadata)*)
    }

    /// The statement that tells a tag. A literal is a format string: what it captures is found where it is written.
    fn tag(&self, tag: &Expr) -> TokenStream {
        let span = self.at(tag.span());
        match bare(tag) {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                quote_spanned!(span=> call_metadata.tag(::core::format_args!(#text));)
            }
            _ => quote_spanned!(span=> call_metadata.tag(#tag);),
        }
    }
}

/// Whether it is a field of something that has a name, like `user.id`.
fn is_field(expr: &Expr) -> bool {
    match bare(expr) {
        Expr::Field(field) => matches!(bare(&field.base), Expr::Path(_)) || is_field(&field.base),
        _ => false,
    }
}
