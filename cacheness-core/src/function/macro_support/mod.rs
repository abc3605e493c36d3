//! What the attributes expand to, and the control of cached functions by the function itself.
//!
//! An expansion writes the key ([`begin`], [`arg`]), then hands the body to [`Call::run`] or [`Call::run_async`].
//! Everything that is decided at run time is decided here, so that an annotated function stays small.

mod argument;
mod attribute;
mod call;
mod call_async;
mod function;
mod mode;
mod returns;
mod scope;
mod sharing;

pub use argument::{Captures, KeyArgument, Writer, arg, begin, begin_sibling, param, text, tuple, unless_default};
pub use attribute::{AttributeId, CallMetadata, Lifetime, Site, lifetime};
pub use call::Call;
pub use function::{FunctionHandle, FunctionInfo, function};
pub use mode::{BoundCall, InMode, Later, Now, Work, bind, bind_async, bypass, bypass_async, refresh, refresh_async};
pub use returns::{CallPlan, Choice, Compared, Failing, ResultPolicy, Returns, output};
pub use sharing::{Sharable, SharedError, SharedResult, Shares};

pub use crate::cache::Cache;
pub use crate::codec::handler::{ByDebug, ByEq, ByEqOrDebug, ByNothing, Evidence};
// What the derives name.
pub use crate::error::Result;
pub use crate::key::{CacheKey, KeyFields, KeyWriter, SerdeKey};
pub use crate::query::{Column, ColumnField, ColumnSchema, CustomMetadata, Schema};
pub use crate::value::Metadata;
