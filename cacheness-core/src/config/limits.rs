//! The largest things the cache accepts, and choices that are one word of a configuration.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds, checked before memory is taken: for what a program hands in and for every size read from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Largest canonical encoding of a key, in bytes. Default 64 MiB.
    pub max_key_bytes: u64,
    /// Largest value, in bytes as the handler encodes it, before compression. Default 4 GiB.
    pub max_value_bytes: u64,
    /// Largest description, tags and metadata of one entry together, in bytes. Default 1 MiB.
    pub max_header_bytes: u64,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self { max_key_bytes: 64 << 20, max_value_bytes: 4 << 30, max_header_bytes: 1 << 20 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Deepest nesting of values in a key: a bound on the stack, far above any sensible argument.
pub(crate) const MAX_DEPTH: u16 = 128;

/// When a put is safe from a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// Puts reach the disk together, at the latest one flush interval later, at close and at the normal end of the
    /// process. A kill or a power cut can lose the puts since the last flush, and never damages one.
    #[default]
    Interval,
    /// A put that returned is on the disk.
    Immediate,
}

/// When a file that counts by its content is read again.
///
/// ```
/// use cacheness::CacheConfig;
/// use cacheness::config::VerifyPaths;
///
/// let distrustful = CacheConfig::default().with_verified_paths(VerifyPaths::Always);
/// assert_eq!(distrustful.serialization.verify_paths, VerifyPaths::Always);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyPaths {
    /// When its device, inode, length, or time of modification or status change is not what it was when this process read
    /// it, or when it had only just changed then. On file systems that do not keep these times themselves (over a network,
    /// in user space, outside of Linux) at every call.
    #[default]
    WhenChanged,
    /// At every call: for files that are written through memory maps, or by a machine whose clock is not this one's.
    Always,
}

/// Which values leave memory first when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MemoryPolicy {
    /// Those that were not used again soon after they came; of the others, those that were not used for a while. Also
    /// the one whose hits are the cheapest and do not keep other threads waiting. The default.
    #[default]
    Adaptive,
    /// The least recently used.
    Lru,
    /// The least often used; of those, the least recently used.
    Lfu,
    /// Those that came first, however often they are used.
    Fifo,
    /// Any: a random one.
    Rr,
}

impl MemoryPolicy {
    /// The name in a configuration.
    ///
    /// ```
    /// assert_eq!(cacheness::config::MemoryPolicy::Lfu.name(), "lfu");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Fifo => "fifo",
            Self::Rr => "rr",
        }
    }
}

impl fmt::Display for MemoryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much is kept in memory and which of it goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryBounds {
    pub policy: MemoryPolicy,
    pub max_entries: u64,
    pub max_bytes: u64,
    /// How long a value is given out before it is read from the index again.
    pub ttl: Option<Duration>,
}
