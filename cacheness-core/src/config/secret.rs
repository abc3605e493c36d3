//! Addresses of servers, which may hold passwords: shown without them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands for a password.
const HIDDEN: &str = "***";

/// The address of a server, with all that a client needs to enter: `postgresql://user:password@host:5432/database`.
///
/// Written to files as it is; everywhere else, as in errors and logs, it is shown without the password.
///
/// ```
/// use cacheness::config::ConnectionUrl;
///
/// let url = ConnectionUrl::from("postgresql://me:hunter2@db.example.com/cache");
/// assert_eq!(url.to_string(), "postgresql://me:***@db.example.com/cache");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionUrl(String);

impl ConnectionUrl {
    /// All of it, with the password.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for ConnectionUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl From<&str> for ConnectionUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Display for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redacted(&self.0), f)
    }
}

/// A text without the password that it holds, if it is a URL with one, or words like `password=...`.
pub(crate) fn redacted(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return redacted_words(text) };
    // The last `@` before the path ends the password, which may hold others.
    let authority = rest.find(['/', '?']).filter(|end| rest[..*end].contains('@')).unwrap_or(rest.len());
    let shown = match rest[..authority].rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{host}{}", &rest[authority..]),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    };
    Cow::Owned(redacted_words(&shown).into_owned())
}

/// Hides what stands behind `password=`, up to the next word or parameter.
fn redacted_words(text: &str) -> Cow<'_, str> {
    const WORD: &str = "password";
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.find(WORD) else { return Cow::Borrowed(text) };
    let (before, rest) = text.split_at(at + WORD.len());
    let Some(value) = rest.trim_start().strip_prefix('=') else { return Cow::Borrowed(text) };
    let value = value.trim_start();
    let end = match value.strip_prefix('\'') {
        // A quote may be part of it: hide all that follows.
        Some(_) => value.len(),
        None => value.find(['&', ' ']).unwrap_or(value.len()),
    };
    Cow::Owned(format!("{before}={HIDDEN}{}", redacted_words(&value[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_nowhere() {
        for (text, shown) in [
            ("postgresql://me:hunter2@host:5432/db", "postgresql://me:***@host:5432/db"),
            ("postgresql://me:hunter2@host/db?sslmode=disable", "postgresql://me:***@host/db?sslmode=disable"),
            ("postgresql://me:hunt@er2@host", "postgresql://me:***@host"),
            ("postgresql://me@host/db?password=hunter2&x=1", "postgresql://me@host/db?password=***&x=1"),
            ("postgresql://me@host/db", "postgresql://me@host/db"),
            ("postgresql://host/db", "postgresql://host/db"),
            ("host=h user=me password=hunter2 dbname=db", "host=h user=me password=*** dbname=db"),
            ("host=h password = 'hunter2 2'", "host=h password=***"),
            ("rows.db", "rows.db"),
            ("", ""),
        ] {
            assert_eq!(redacted(text), shown);
            assert_eq!(format!("{:?}", ConnectionUrl::from(text)), format!("{shown:?}"));
        }
    }
}
