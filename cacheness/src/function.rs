//! The control of cached functions: their counters and entries, and calls that are bound before they run.
//!
//! [`function`](fn@crate::function) gives the [`FunctionHandle`] of a function that has an attribute;
//! `#[cached(call = name)]` adds a function that returns a [`BoundCall`]. [`refresh`] and [`bypass`] are for calls of any
//! cached function.
//!
//! ```
//! use cacheness::{Cache, cached};
//!
//! # cacheness::set_default_cache(Cache::in_memory());
//! #[cached(call = weather_call)]
//! fn weather(city: &str) -> String {
//!     format!("sunny in {city}")
//! }
//!
//! weather("London");
//! assert!(weather_call("London").is_cached()?);
//! assert!(!weather_call("Paris").is_cached()?);
//! # Ok::<(), cacheness::CacheError>(())
//! ```

#[doc(no_inline)]
pub use crate::{bypass, bypass_async, default_cache, function, refresh, refresh_async, set_default_cache};
pub use cacheness_core::{BoundCall, FunctionHandle, FunctionInfo, InMode, KeyArgument, Later, Now, SharedError, Work};
