//! The attribute and derive macros of `cacheness`; use them through that crate.
//!
//! An attribute goes through stages, a module each: `parse` (options and function, nothing judged), `shape` (what kind of
//! function it is), `check` (what cannot work), `expand`, and `fallback` when there was an error.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod borrows;
mod cache_key;
mod check;
mod custom_metadata;
mod errors;
mod expand;
mod fallback;
mod mentions;
mod parse;
mod private;
mod shape;

use proc_macro::TokenStream;

use crate::parse::Flavor;

/// Makes the result of a function outlive the call and the process.
///
/// | option | meaning |
/// |---|---|
/// | `ttl = 60`, `1h30m`, `"10 mins"`, an expression, a closure | how long a result lives: see below (long name `ttl_seconds`) |
/// | `cache = expr` | the cache to use instead of the default one: a static, an argument, a field (`cache_instance`) |
/// | `prefix = "text"` | part of the key and of listings (`key_prefix`, `cache_key_prefix`) |
/// | `key(expr, ..)`, `"{id}"` | these values are the key instead of the arguments; a text names arguments as in `format!` (`key_func`) |
/// | `skip(name, ..)` | leaves arguments out of the key and of what entries record, also names inside a pattern; needed for `&mut` ones |
/// | `include_defaults = false` | leaves arguments out that equal the default of their type, so that a new optional one keeps old entries |
/// | `version = 2`, `auto` | part of the key: change it when the body means something else; `auto` is a hash of the body |
/// | `condition = path`, a closure | stores only results for which it is true |
/// | `cache_none`, `cache_err` | stores `None` and `Err` too; by default only `Some` and `Ok` are stored |
/// | `metadata(name = expr, ..)` | stored with the result; may use the arguments, computed on a miss |
/// | `tags("user:{id}", expr, ..)` | groups of the result; a literal names arguments as in `format!`, anything else is an expression that prints; evaluated before the body, on a miss |
/// | `stale_on_error` | an expired result is returned when the function returns `Err`; see below |
/// | `ignore_errors = false` | errors of the cache are returned; the function returns a `Result` whose error is `From<CacheError>` |
/// | `single_flight = false` | concurrent calls with one key all run the body |
/// | `single_flight = "global"` | of the concurrent calls with one key on all machines, one runs the body, where the index is on a server |
/// | `share_errors`, `false`, a function | what those get who waited for a call that failed; see below |
/// | `memory = false` | results do not stay in memory: each call reads them from the cache. Results that are not `Clone + Send + Sync` never stay |
/// | `handler = expr` | this `Handler` writes and reads results, whatever is registered; they need not be serde's then, and do not stay in memory |
/// | `call = name` | adds a function `name` that returns the bound call, with `key`, `is_cached`, `peek`, `invalidate`, `refresh`, `uncached` |
/// | `crate = path` | where `cacheness` is, if it was renamed or is re-exported |
/// | `async` | only says what the function is already |
/// | `for_api` | results live six hours |
///
/// What a function returns must be `serde::Serialize` and `DeserializeOwned` (the `T` of `Result<T, E>` and `Option<T>`)
/// unless a handler is given, and its arguments `CacheKey` or `Serialize`. A `Path` stands for the content of the file or
/// directory, also inside of other arguments; a result during whose computation that changed is not stored.
///
/// **What `Serialize` does not show does not count**: fields with `#[serde(skip)]` or `with`, variants of untagged enums
/// inside of other types. Derive `CacheKey` (or `Hash`) for types that have some. In a generic function only the bounds
/// of its parameters are known. See `serialize_key` for what else serde hides.
///
/// A `ttl` is
/// - a number of seconds, or a number with units of time, in quotes or without: `3600`, `1h`, `500ms`, `1h30m`,
///   `"10 mins"`, `"1.5 days"`. Everything that the crate `humantime` reads is read;
/// - an expression of type `Duration` or `Option<Duration>`, evaluated before the call, that may use the arguments;
/// - a closure or a function of the result: `|token| token.expires_in`, `Token::lifetime`. It gets what is stored, the
///   `T` of a `Result<T, E>` or `Option<T>`, when the body has run, and returns a `Duration` or an `Option<Duration>`. A
///   path is taken for a function if its last name has lower-case letters and is no argument.
///
/// A time of zero stores nothing, and `None` is the default of the cache.
///
/// Entries record the arguments by name, so that they can be listed, queried and deleted by them
/// (`Field::param("city")`), unless the configuration says `store_cache_key_params = false`. Numbers, texts, truth values,
/// `None` and paths are recorded as values, other types by their `Debug` output (1,024 bytes of it), and those without
/// one not at all. Names in patterns are recorded like arguments; `self` and skipped arguments are not, nor are those
/// that `key(..)` does not mention. Fields in `key(user.id)` are recorded as `user.id`.
///
/// The value of a `handler` is what is stored: the `T` of a `Result<T, E>`. With `call = name` the expression is a static, a
/// constant or a `&'static` reference.
///
/// Of concurrent calls with one key, one runs the body and the others wait for it. What they get then:
/// - the stored result;
/// - a result that is not stored (an `Err`, `None`, one that fails the `condition` or cannot be written), cloned, if it is
///   `Clone + Send + Sync`; of a `Result` it is enough that the error is. Else, and with `share_errors = false`, they run
///   the body themselves, side by side; so they do where the return type names a type parameter of the function that is
///   not `'static`. An error that borrows in a way that the attribute cannot see (a lifetime that is not written, a
///   parameter of the `impl`) does not compile: say `share_errors = false` there. With `share_errors` alone an error that
///   cannot be cloned is a compile error as well, unless it can be copied as its text, being `Display` and
///   `From<SharedError>`, as `anyhow::Error` and `Box<dyn Error + Send + Sync>` are. A function says how to copy any other:
///   `share_errors = |e| io::Error::from(e.kind())`;
/// - nothing from a body that panicked: they run it themselves at once, side by side. Where the call that runs the body is
///   cancelled, one of those who wait runs it, and the others wait on.
///
/// No call waits for ever, since a body may depend on a call that waits for it. A call inside the body itself runs it at
/// once, and so does one that can be seen to wait for itself: through nested cached calls of other threads and tasks, on the
/// thread that has to poll the running call, or in the task that keeps it in a `select!` without polling it. Everybody else
/// waits for a time, then runs the body beside the first one: the first of those who wait after 3 seconds
/// (`single_flight_wait_ms` of the configuration) or four times as long as the body usually takes, whichever is longer,
/// but at most after a hundred times `single_flight_wait_ms`; the next two after twice that time, the next four after four
/// times that, and so on. If the running call is a future that was woken and has not been polled since, this begins with 100
/// milliseconds or `single_flight_wait_ms`, whichever is shorter. The first run that ends decides for all.
///
/// With `stale_on_error` the body runs at every call after the result has expired, and only an `Err` of it is replaced:
/// by the expired result, as long as that is in the cache, that is until it is cleaned up, evicted or removed. Concurrent
/// calls that waited for the one that failed get the same without a run. Errors of the cache itself, `refresh` and
/// `bypass` tell what they have to tell. Such a call is a miss, counted in `FunctionInfo::stale` as well. The function
/// returns a `Result`, and the future of an `async fn` is then `Send` only if its error is.
///
/// Results belong to the path of the function and survive a change of its body, unless `version` says otherwise. The
/// path is not enough for a function inside another one, nor for an associated function without `self`, which looks the
/// same: a change of its signature or body makes new keys. Two functions that even so cannot be told apart, as in two
/// versions of a crate, run uncached in a program that calls both, with a warning; a `prefix` for each keeps them apart.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Flavor::Cached, options, item)
}

/// [`macro@cached`] for an `async fn`, said twice: `#[cached(async)]`.
#[proc_macro_attribute]
pub fn cache_async(options: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Flavor::CacheAsync, options, item)
}

/// [`macro@cached`] that stores a result only if it meets a condition: `#[cache_if(|r: &Reply| r.is_ok(), ttl = 60)]`.
#[proc_macro_attribute]
pub fn cache_if(options: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Flavor::CacheIf, options, item)
}

/// [`macro@cached`] with defaults for calls of remote services: results live 6 hours. `#[cached(for_api)]`.
#[proc_macro_attribute]
pub fn for_api(options: TokenStream, item: TokenStream) -> TokenStream {
    attribute(Flavor::ForApi, options, item)
}

fn attribute(flavor: Flavor, options: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(flavor, options.into(), item.into()).into()
}

/// Makes a type part of keys: its path, the names of its fields and variants, and the values of its fields.
///
/// Every field has to implement `CacheKey` itself. Three helper attributes:
/// - `#[cache_key(skip)]` on a field leaves it out of the key (a connection, a secret, something derived from others);
/// - `#[cache_key(serde)]` on a field of another crate's type takes it as `serde::Serialize` shows it;
/// - `#[cache_key(crate = path)]` on the type says where `cacheness` is, if it was renamed or is re-exported.
///
/// Renaming or moving a type, or renaming a field, makes new keys: earlier results are computed again. Type parameters
/// get the bound `CacheKey` where a field that counts contains them; const parameters are part of the key. Only types of
/// one name inside two functions of one module are not told apart.
///
/// ```
/// use cacheness::CacheKey;
/// use cacheness::key::ToKey;
///
/// #[derive(CacheKey)]
/// struct Query {
///     city: String,
///     days: u32,
///     #[cache_key(skip)]
///     retries: u32,
/// }
///
/// let query = |days, retries| Query { city: "London".into(), days, retries }.to_key();
/// assert_eq!(query(7, 1)?, query(7, 2)?);
/// assert_ne!(query(7, 1)?, query(8, 1)?);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[proc_macro_derive(CacheKey, attributes(cache_key))]
pub fn derive_cache_key(input: TokenStream) -> TokenStream {
    cache_key::derive(input.into()).into()
}

/// Makes a struct custom metadata: typed columns beside entries that can be queried.
///
/// | option of the struct | meaning |
/// |---|---|
/// | `name = "experiments"` | the name of the kind, by which its rows are found; needed. A name is data and may have any characters |
/// | `crate = path` | where `cacheness` is, if it was renamed or is re-exported |
///
/// | option of a field | meaning |
/// |---|---|
/// | `index` | conditions on the column find their rows without a look at all of the kind |
/// | `unique` | no two entries may have one value there; the column is indexed as well |
/// | `name = "text"` | the name of the column, if it is not that of the field |
/// | `default` | rows that were stored before there was such a field have the default of its type |
///
/// A field is a boolean, an integer of up to 64 bits, a float, a `String`, a `Timestamp`, a `SystemTime`, a `Duration`, what
/// implements `ColumnValue`, or an `Option` of one of those. For each the struct gets a constant in capitals, as visible as
/// the field.
///
/// ```
/// use cacheness::{Cache, CustomMetadata, PutOptions};
///
/// #[derive(CustomMetadata)]
/// #[metadata(name = "experiments")]
/// struct Experiment {
///     #[metadata(unique)]
///     experiment_id: String,
///     model_type: String,
///     #[metadata(index)]
///     accuracy: f64,
///     epochs: Option<u32>,
/// }
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// for (id, accuracy) in [("exp_001", 0.91), ("exp_002", 0.95), ("exp_003", 0.82)] {
///     let model_type = "xgboost".to_owned();
///     let experiment = Experiment { experiment_id: id.to_owned(), model_type, accuracy, epochs: None };
///     cache.put_with(id, &vec![accuracy], PutOptions::new().custom(&experiment))?;
/// }
///
/// let good = Experiment::ACCURACY.ge(0.9) & Experiment::MODEL_TYPE.starts_with("xg");
/// let found = cache.query::<Experiment>().filter(good).order_by(Experiment::ACCURACY.desc()).all()?;
/// assert_eq!(found.iter().map(|found| &*found.experiment_id).collect::<Vec<_>>(), ["exp_002", "exp_001"]);
/// assert_eq!(cache.get::<Vec<f64>>(&found[0])?, Some(vec![0.95]));
/// # Ok(())
/// # }
/// ```
#[proc_macro_derive(CustomMetadata, attributes(metadata))]
pub fn derive_custom_metadata(input: TokenStream) -> TokenStream {
    custom_metadata::derive(input.into()).into()
}
