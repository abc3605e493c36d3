use serde::{Deserialize, Serialize};

/// The handler of every serde type that writes bincode.
pub(crate) const BINCODE: &str = "bincode";
/// The handler of every serde type that writes MessagePack.
pub(crate) const MESSAGEPACK: &str = "messagepack";
/// What [`Entry::handler_used`](crate::Entry::handler_used) says where no handler has written.
const SAID_OF_OTHERS: [&str; 2] = ["bytes", "unknown"];
const LONGEST_NAME: usize = 64;

/// Which [handlers](crate::Handler) write and read values, and which are asked first.
///
/// Names are those of registered handlers and of the two that are built in, `bincode` and `messagepack`. A handler may be
/// registered after the cache was opened, so a name that nobody has registered is no fault:
/// [`Cache::list_handlers`](crate::Cache::list_handlers) tells what is there, in the order in which it is asked.
///
/// ```
/// use cacheness::{Cache, CacheConfig};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::new(CacheConfig::in_memory().with_handler_priority(["messagepack"]))?;
/// cache.put("answer", &42u8)?;
/// let (_, entry) = cache.get_with_metadata::<u8>("answer")?.expect("it was just stored");
/// assert_eq!(entry.handler_used(), "messagepack");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HandlerConfig {
    /// Names in the order in which handlers are asked whether they take a value. Those that are not named follow by their
    /// number: those of the cache, then those of the process, then what is built in. `bincode` and `messagepack` stand
    /// together where the first of them is named, and take every value of a serde type. Default empty.
    pub priority: Vec<String>,
    /// Names of handlers that neither write nor read: what they wrote before is a miss, and stays. One of `bincode` and
    /// `messagepack` must be left. Default empty.
    pub disabled: Vec<String>,
}

/// Whether a handler may have this name. The error is half a sentence to put behind the name of what held it.
pub(crate) fn check_handler_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if SAID_OF_OTHERS.contains(&name) {
        Err("it stands for values that no handler has written".to_owned())
    } else if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        Err(format!("a handler's name is 1 to {LONGEST_NAME} of the characters a-z, A-Z, 0-9 and `.`, `_`, `-`, `:`"))
    } else {
        Ok(())
    }
}

pub(crate) fn is_built_in(name: &str) -> bool {
    name == BINCODE || name == MESSAGEPACK
}
