//! What becomes of a result that is not stored: those who waited for it get a copy, if it can be copied. Decided by its
//! type, as in `returns`.

use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

pub use crate::engine::flight::SharedResult;
use crate::util::threads::contained;

/// How results are given to those who waited. Neither function is called under a lock. They are user code: where one
/// panics, nothing is shared, and the results of both calls stay what they are.
pub struct Shares<R> {
    /// A copy to be given to them, if there can be one.
    give: fn(&R) -> Option<SharedResult>,
    /// A copy of what was given.
    take: fn(&SharedResult) -> Option<R>,
}

impl<R> Shares<R> {
    /// By a function each.
    pub const fn by(give: fn(&R) -> Option<SharedResult>, take: fn(&SharedResult) -> Option<R>) -> Self {
        Self { give, take }
    }

    pub(super) fn give(&self, result: &R) -> Option<SharedResult> {
        contained(|| (self.give)(result)).flatten()
    }

    pub(super) fn take(&self, shared: &SharedResult) -> Option<R> {
        contained(|| (self.take)(shared)).flatten()
    }
}

impl<R> Clone for Shares<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Shares<R> {}

impl<R> fmt::Debug for Shares<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shares")
    }
}

impl<T, E: Send + Sync + 'static> Shares<Result<T, E>> {
    /// What is in `Err`, as this function copies it.
    pub fn give_error(result: &Result<T, E>, copy: impl FnOnce(&E) -> E) -> Option<SharedResult> {
        result.as_ref().err().map(|error| Arc::new(copy(error)) as SharedResult)
    }

    /// The error that was given, as this function copies it.
    pub fn take_error(shared: &SharedResult, copy: impl FnOnce(&E) -> E) -> Option<Result<T, E>> {
        shared.downcast_ref::<E>().map(|error| Err(copy(error)))
    }
}

impl<R: Clone + Send + Sync + 'static> Shares<R> {
    fn whole() -> Self {
        Self::by(|result| Some(Arc::new(result.clone())), |shared| shared.downcast_ref::<R>().cloned())
    }
}

impl<T, E: Clone + Send + Sync + 'static> Shares<Result<T, E>> {
    fn errors() -> Self {
        Self::by(|result| Self::give_error(result, E::clone), |shared| Self::take_error(shared, E::clone))
    }
}

impl<T> Shares<Option<T>> {
    fn nothing() -> Self {
        Self::by(
            |result| result.is_none().then(|| Arc::new(()) as SharedResult),
            |shared| shared.is::<()>().then_some(None),
        )
    }
}

impl<T, E: From<SharedError> + fmt::Display> Shares<Result<T, E>> {
    fn texts() -> Self {
        Self::by(
            |result| {
                let (error, mut text) = (result.as_ref().err()?, String::new());
                // The alternate form has the causes as well, where an error type offers that.
                write!(text, "{error:#}").ok()?;
                Some(Arc::new(SharedError { text }) as SharedResult)
            },
            |shared| shared.downcast_ref::<SharedError>().map(|error| Err(error.clone().into())),
        )
    }
}

/// The error of another call, which ran the function at the same time and failed: what a caller who waited for it gets in
/// place of an error that cannot be cloned, with `share_errors = true`.
///
/// `anyhow::Error` and `Box<dyn Error + Send + Sync>` are made from it as from any error; for a type of your own
/// implement `From<SharedError>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedError {
    text: String,
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SharedError {}

/// The return type of a function, to be asked how its results are given on. Method lookup finds the first of a row of
/// types, each one deref after the other, that fits.
#[derive(Debug)]
pub struct Sharable<R>(SharableParts<R>);

/// One whose errors, or `None`, can be copied.
#[derive(Debug)]
pub struct SharableParts<R>(SharableText<R>);

/// One whose errors can be made of a text.
#[derive(Debug)]
pub struct SharableText<R>(AnyResult<R>);

/// Any return type.
#[derive(Debug)]
pub struct AnyResult<R>(PhantomData<fn() -> R>);

impl<R> Sharable<R> {
    /// The return type.
    #[allow(clippy::new_without_default, reason = "only expansions make one")]
    pub fn new() -> Self {
        Self(SharableParts(SharableText(AnyResult(PhantomData))))
    }
}

impl<R: Clone + Send + Sync + 'static> Sharable<R> {
    /// Copies whatever there is.
    pub fn if_possible(&self) -> Option<Shares<R>> {
        Some(Shares::whole())
    }

    /// The same.
    pub fn always(&self) -> Option<Shares<R>> {
        Some(Shares::whole())
    }
}

impl<T, E: Clone + Send + Sync + 'static> SharableParts<Result<T, E>> {
    /// Copies errors.
    pub fn if_possible(&self) -> Option<Shares<Result<T, E>>> {
        Some(Shares::errors())
    }

    /// The same.
    pub fn always(&self) -> Option<Shares<Result<T, E>>> {
        Some(Shares::errors())
    }
}

impl<T> SharableParts<Option<T>> {
    /// Copies `None`.
    pub fn if_possible(&self) -> Option<Shares<Option<T>>> {
        Some(Shares::nothing())
    }

    /// The same.
    pub fn always(&self) -> Option<Shares<Option<T>>> {
        Some(Shares::nothing())
    }
}

impl<T, E: From<SharedError> + fmt::Display> SharableText<Result<T, E>> {
    /// Copies the text of errors.
    pub fn always(&self) -> Option<Shares<Result<T, E>>> {
        Some(Shares::texts())
    }
}

impl<R> AnyResult<R> {
    /// Copies nothing.
    pub fn if_possible(&self) -> Option<Shares<R>> {
        None
    }

    /// Cannot be, which the compiler says.
    pub fn always(&self) -> Option<Shares<R>>
    where
        R: CanBeShared,
    {
        None
    }
}

/// What `share_errors = true` needs. Nothing implements it: where it is asked for, it is not fulfilled.
#[diagnostic::on_unimplemented(
    message = "`share_errors` cannot copy an error of `{Self}` for the calls that waited for it",
    label = "the error is neither `Clone + Send + Sync` nor can it be made of a text",
    note = "derive `Clone` for the error, implement `Display` and `From<cacheness::function::SharedError>` for it, or say how it is \
            copied: `share_errors = |error| ..`"
)]
pub trait CanBeShared {}

macro_rules! deref {
    ($($from:ident => $to:ident),*) => {
        $(impl<R> Deref for $from<R> {
            type Target = $to<R>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        })*
    };
}

deref!(Sharable => SharableParts, SharableParts => SharableText, SharableText => AnyResult);

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;

    #[derive(Debug)]
    struct NoCopy;

    impl Clone for NoCopy {
        fn clone(&self) -> Self {
            resume_unwind(Box::new("in `clone`"))
        }
    }

    impl fmt::Display for NoCopy {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }

    impl From<SharedError> for NoCopy {
        fn from(_: SharedError) -> Self {
            resume_unwind(Box::new("in `from`"))
        }
    }

    type Reply = Result<u8, NoCopy>;

    #[test]
    fn an_error_whose_copy_or_text_cannot_be_made_is_not_shared() {
        for shares in [Shares::<Reply>::whole(), Shares::<Reply>::errors(), Shares::<Reply>::texts()] {
            assert!(shares.give(&Err(NoCopy)).is_none());
        }
        let text: SharedResult = Arc::new(SharedError { text: "gone".to_owned() });
        assert!(Shares::<Reply>::texts().take(&text).is_none());
        let error: SharedResult = Arc::new(NoCopy);
        assert!(Shares::<Reply>::errors().take(&error).is_none());
    }
}
