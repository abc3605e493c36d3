//! Persistent function caching: one attribute, and a result survives calls, processes and machines.

pub use cacheness_core::*;
pub use cacheness_macros::CacheKey;
/// ```
/// use cacheness::{Cache, cache_async};
///
/// #[cache_async(ttl = "2h")]
/// async fn fetch(url: &str) -> Result<String, std::io::Error> {
///     Ok(format!("what is at {url}"))
/// }
/// ```
pub use cacheness_macros::cache_async;
/// ```
/// use cacheness::{Cache, cache_if};
///
/// # cacheness::set_default_cache(Cache::in_memory());
/// #[cache_if(|reply: &String| !reply.is_empty(), ttl = 3600)]
/// fn ask(question: &str) -> String {
///     question.replace('?', "!")
/// }
///
/// assert_eq!(ask(""), "");
/// assert_eq!(cacheness::function(ask).info()?.entries, 0);
/// assert_eq!(ask("really?"), "really!");
/// assert_eq!(cacheness::function(ask).info()?.entries, 1);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub use cacheness_macros::cache_if;
/// ```
/// use cacheness::{Cache, cached};
///
/// # cacheness::set_default_cache(Cache::in_memory());
/// #[cached(ttl = "24h", prefix = "weather")]
/// fn get_weather(city: &str) -> String {
///     format!("sunny in {city}")
/// }
///
/// assert_eq!(get_weather("London"), get_weather("London"));
/// assert_eq!(cacheness::function(get_weather).info()?.hits, 1);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub use cacheness_macros::cached;

/// Variants of [`macro@cached`]: `#[cached::for_api]`.
pub mod cached {
    pub use cacheness_macros::for_api;
}

/// What expansions name. The version in the name keeps versions of the macros and of the engine from being mixed.
#[doc(hidden)]
pub mod __private {
    pub use cacheness_core::macro_support as v0_1_0;
}
