use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
