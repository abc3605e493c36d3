//! What the attributes expand to, and the control of cached functions by the function itself.
//!
//! An expansion writes the key ([`begin`], [`arg`]), then hands the body to [`Call::run`] or [`Call::run_async`].
//! Everything that is decided at run time is decided here, so that an annotated function stays small.

mod argument;
mod bound;
mod call;
mod call_async;
mod claim;
mod extras;
mod function;
mod lifetime;
mod memory;
mod mode;
mod param;
mod returns;
mod scope;
mod sharing;
mod site;

pub use argument::{Captures, KeyArgument, Writer, arg, begin, begin_beside, text, tuple, unless_default};
pub use bound::{BoundCall, Later, Now, bind, bind_async};
pub use call::Call;
pub use extras::Extras;
pub use function::{FunctionHandle, FunctionInfo, function};
pub use lifetime::{Lifetime, lifetime};
pub use memory::Memory;
pub use mode::{InMode, Work, bypass, bypass_async, refresh, refresh_async};
pub use param::param;
pub use returns::{Choice, Compared, Failing, Plan, Returns, output};
pub use sharing::{Sharable, SharedError, SharedResult, Shares};
pub use site::{Place, Site};

pub use crate::cache::Cache;
pub use crate::cache::Means;
pub use crate::codec::handler::{ByDebug, ByEq, ByEqOrDebug, ByNothing, Evidence};
// What the derives name.
pub use crate::error::Result;
pub use crate::key::{CacheKey, KeyFields, KeyWriter, SerdeKey};
pub use crate::query::{Column, ColumnField, ColumnSchema, CustomMetadata, Schema};
pub use crate::value::Metadata;
