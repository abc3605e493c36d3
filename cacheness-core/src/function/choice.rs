//! How what is stored of a result is written and compared: decided by its type.
//!
//! Method lookup decides: a type of this module derefs to the next, less wished for one, and a method whose `impl` does not
//! apply is passed over.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use super::returns::{CallPlan, ResultPolicy};
use crate::cache::ValueCodec;
use crate::codec::handler::{ByDebug, ByEq, ByEqOrDebug, ByNothing, Evidence, Handler, Shareable, Storable};
use crate::codec::native::Native;

/// What is stored of a result. Whether that has a file format of its own is decided by its type, as everything here.
#[derive(Debug)]
pub struct Choice<R, S>(SerdeChoice<R, S>);

/// A choice for a type of serde. Which traits compare it with what is read back is decided next.
#[derive(Debug)]
pub struct SerdeChoice<R, S>(EqChoice<R, S>);

/// A choice for a type without `Debug`.
#[derive(Debug)]
pub struct EqChoice<R, S>(DebugChoice<R, S>);

/// A choice for a type without `PartialEq`.
#[derive(Debug)]
pub struct DebugChoice<R, S>(AnyChoice<R, S>);

/// A choice whatever the type of the stored part is.
#[derive(Debug)]
pub struct AnyChoice<R, S>(PhantomData<fn(R, S)>);

impl<R, S> Choice<R, S> {
    pub(super) fn new() -> Self {
        Self(SerdeChoice(EqChoice(DebugChoice(AnyChoice(PhantomData)))))
    }
}

impl<R, S: ResultPolicy<R>> Choice<R, S>
where
    S::Stored: Native,
{
    /// Compares nothing: the format gives back what it took.
    pub fn compared(&self) -> InFile<R, S> {
        InFile(PhantomData)
    }
}

/// A choice for a type with a file format of its own.
#[derive(Debug)]
pub struct InFile<R, S>(PhantomData<fn(R, S)>);

impl<R, S: ResultPolicy<R>> InFile<R, S>
where
    S::Stored: Native,
{
    /// Keeps what is stored in memory, too.
    pub fn in_memory<'h>(&self) -> CallPlan<'h, R, S> {
        CallPlan::new(ValueCodec::native_in_memory())
    }

    /// Keeps nothing in memory.
    pub fn not_in_memory<'h>(&self) -> CallPlan<'h, R, S> {
        CallPlan::new(ValueCodec::native())
    }
}

impl<R, S: ResultPolicy<R>> SerdeChoice<R, S>
where
    S::Stored: PartialEq + fmt::Debug,
{
    /// Compares by both.
    pub fn compared(&self) -> Compared<R, S, ByEqOrDebug> {
        Compared::new()
    }
}

impl<R, S: ResultPolicy<R>> EqChoice<R, S>
where
    S::Stored: PartialEq,
{
    /// Compares by `PartialEq`.
    pub fn compared(&self) -> Compared<R, S, ByEq> {
        Compared::new()
    }
}

impl<R, S: ResultPolicy<R>> DebugChoice<R, S>
where
    S::Stored: fmt::Debug,
{
    /// Compares by `Debug`.
    pub fn compared(&self) -> Compared<R, S, ByDebug> {
        Compared::new()
    }
}

/// A choice on evidence `E`. Whether what is stored can stay in memory is decided by its type.
#[derive(Debug)]
pub struct Compared<R, S, E>(AnyCompared<R, S, E>);

/// A choice on evidence whatever the type of the stored part is.
#[derive(Debug)]
pub struct AnyCompared<R, S, E>(PhantomData<fn(R, S, E)>);

impl<R, S, E> Compared<R, S, E> {
    fn new() -> Self {
        Self(AnyCompared(PhantomData))
    }
}

impl<R, S: ResultPolicy<R>, E> Compared<R, S, E>
where
    S::Stored: Shareable,
{
    /// Keeps what is stored in memory, too.
    pub fn in_memory<'h>(&self) -> CallPlan<'h, R, S>
    where
        E: Evidence<S::Stored> + 'static,
    {
        CallPlan::new(ValueCodec::in_memory_by::<E>())
    }

    /// Keeps nothing in memory.
    pub fn not_in_memory<'h>(&self) -> CallPlan<'h, R, S>
    where
        E: Evidence<S::Stored> + 'static,
    {
        CallPlan::new(ValueCodec::not_in_memory_by::<E>())
    }
}

impl<R, S, E> AnyCompared<R, S, E> {
    /// Keeps nothing in memory: threads cannot share it, or it cannot be stored at all, which the compiler says.
    pub fn in_memory<'h>(&self) -> CallPlan<'h, R, S>
    where
        S: ResultPolicy<R, Stored: Storable>,
        E: Evidence<S::Stored>,
    {
        CallPlan::new(ValueCodec::stored_by::<E>())
    }

    /// The same.
    pub fn not_in_memory<'h>(&self) -> CallPlan<'h, R, S>
    where
        S: ResultPolicy<R, Stored: Storable>,
        E: Evidence<S::Stored>,
    {
        self.in_memory()
    }
}

impl<R, S> AnyChoice<R, S> {
    /// Compares by what serde shows.
    pub fn compared(&self) -> Compared<R, S, ByNothing> {
        Compared::new()
    }

    /// A handler writes and reads what is stored; nothing is kept in memory.
    pub fn by<'h, H: Handler<Value = S::Stored>>(&self, handler: &'h H) -> CallPlan<'h, R, S>
    where
        S: ResultPolicy<R>,
    {
        CallPlan::new(ValueCodec::by_handler(handler))
    }
}

macro_rules! next_choice {
    ($($choice:ident<$($param:ident),*> then $next:ident;)*) => {$(
        impl<$($param),*> Deref for $choice<$($param),*> {
            type Target = $next<$($param),*>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    )*};
}

next_choice! {
    Choice<R, S> then SerdeChoice;
    SerdeChoice<R, S> then EqChoice;
    EqChoice<R, S> then DebugChoice;
    DebugChoice<R, S> then AnyChoice;
    Compared<R, S, E> then AnyCompared;
}
