use serde::{Deserialize, Serialize};

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
