use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{Error, Result};

/// Errors of one attribute, collected so that they are reported together.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn at(&mut self, span: Span, message: &str) {
        self.push(Error::new(span, message));
    }

    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: &str) {
        self.push(Error::new_spanned(tokens, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The value; an error is kept for the report.
    pub(crate) fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// The report, if there is an error.
    pub(crate) fn report(self) -> Option<TokenStream> {
        self.0.map(Error::into_compile_error)
    }
}
