use serde::{Deserialize, Serialize};

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
