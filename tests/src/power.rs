//! What the rehearsals of a power cut write: operations that follow from their numbers, so that whoever looks at a disk
//! knows what may be on it.

use cacheness::CacheConfig;
use cacheness::config::Durability;

/// So many threads write, each its own keys.
pub const THREADS: u64 = 2;
/// So many keys each of them has.
pub const KEYS: u64 = 40;

/// What is written, and where values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A durable cache whose values lie in the index.
    Inline,
    /// A durable cache whose values are files.
    Files,
    /// A durable cache without an index on the disk.
    FilesAlone,
    /// A blob store.
    Store,
    /// A blob store in which equal values share a blob.
    Contents,
    /// A cache with the default durability whose values lie in the index.
    IntervalInline,
    /// A cache with the default durability whose values are files.
    IntervalFiles,
    /// A durable cache over SQLite whose values lie in the index.
    Sqlite,
    /// The same with the default durability.
    IntervalSqlite,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Inline,
        Self::Files,
        Self::FilesAlone,
        Self::Store,
        Self::Contents,
        Self::IntervalInline,
        Self::IntervalFiles,
        Self::Sqlite,
        Self::IntervalSqlite,
    ];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| format!("{kind:?}") == name)
    }

    /// Whether everything that was acknowledged must be there.
    pub fn is_durable(self) -> bool {
        !matches!(self, Self::IntervalInline | Self::IntervalFiles | Self::IntervalSqlite)
    }

    /// How a cache of this kind is opened.
    pub fn config(self, config: CacheConfig) -> CacheConfig {
        let durability = if self.is_durable() { Durability::Immediate } else { Durability::Interval };
        let config = config.with_durability(durability);
        match self {
            Self::Inline | Self::IntervalInline => config.with_inline_bytes(4096),
            Self::Sqlite | Self::IntervalSqlite => config.with_backend("sqlite").with_inline_bytes(4096),
            Self::FilesAlone => config.with_backend("memory").with_blob_backend("filesystem"),
            _ => config.with_inline_bytes(0),
        }
    }
}

/// One put or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// Who does it.
    pub thread: u64,
    /// It is this one of that thread.
    pub number: u64,
}

impl Operation {
    fn scattered(self) -> u64 {
        let mixed = (self.number ^ self.thread << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 24
    }

    /// Which of the thread's keys it is about.
    pub fn of(self) -> u64 {
        self.scattered() % KEYS
    }

    /// The key it is about.
    pub fn key(self) -> String {
        key(self.thread, self.of())
    }

    /// What it puts; `None` if it removes.
    pub fn value(self, kind: Kind) -> Option<Vec<u8>> {
        let scattered = self.scattered() / KEYS;
        if scattered.is_multiple_of(7) {
            return None;
        }
        // Several keys have one content at a time.
        let number = if kind == Kind::Contents { self.number / 16 } else { self.number };
        let len = match kind {
            Kind::Inline | Kind::IntervalInline => 50 + scattered % 700,
            Kind::Contents => 2000,
            _ => 500 + scattered % 12_000,
        };
        let mut value = format!("{} {number} ", if kind == Kind::Contents { 0 } else { self.thread }).into_bytes();
        let mut state = number;
        value.resize_with(len as usize, || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        Some(value)
    }
}

/// The name of a key.
pub fn key(thread: u64, of: u64) -> String {
    format!("{thread}-{of}")
}
