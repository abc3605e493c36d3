//! The text of `cacheness.toml`, by which a directory is known as one of a cache or a blob store, and the names in one.

use crate::util::digest;

pub(crate) const FILE_NAME: &str = "cacheness.toml";
/// The same once more, so that no single damage makes a directory nobody's.
pub(crate) const COPY_NAME: &str = "cacheness.toml.copy";
/// What else lies in a directory of ours: with these names nothing is ours without a manifest.
pub(crate) const NAMES: [&str; 17] = [
    COPY_NAME,
    "blobs",
    "index",
    "index.clean",
    "index.json",
    "index.json.part",
    "index.next",
    "index.old",
    "index.orders",
    "index.rebuilding",
    "index.rebuilding.part",
    "index.state",
    "index.state.part",
    "index.used",
    "lock",
    "quarantine",
    "staging",
];

/// What tells other programs that a directory is a cache, by name and content: backups pass it over, and git.
pub(crate) const TAGS: [(&str, &str); 2] = [
    (
        "CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n# This is the directory of a cache, made by cacheness. For information \
         about cache directory tags see\n# https://bford.info/cachedir/\n",
    ),
    (".gitignore", "# Made by cacheness.\n*\n"),
];

/// A manifest is a few lines; more is not one.
pub(crate) const MAX_LEN: u64 = 4096;

/// A manifest with this body.
pub(crate) fn text_of(body: &str) -> String {
    format!("{body}checksum = \"{:016x}\"\n", digest::checksum(body.as_bytes()))
}

/// What a manifest says; `None` if it is damaged.
pub(crate) fn body_of(text: &str) -> Option<&str> {
    let (body, _) = text.split_at_checked(text.find("checksum = \"")?)?;
    (text == text_of(body)).then_some(body)
}

/// The format that a manifest tells.
pub(crate) fn format_of(body: &str) -> Option<u32> {
    body.lines().find_map(|line| line.strip_prefix("format = "))?.parse().ok()
}
