//! The options of the metadata backend `sqlite`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::backends::BackendOptions;
use super::parts::DATABASE_URL;
use crate::error::Result;

const OPTIONS: [&str; 3] = [DATABASE_URL, BUSY_TIMEOUT_MS, PAGE_CACHE_MB];
const BUSY_TIMEOUT_MS: &str = "busy_timeout_ms";
const PAGE_CACHE_MB: &str = "page_cache_mb";

const BUSY_TIMEOUT_MS_RANGE: RangeInclusive<i64> = 1..=600_000;
const PAGE_CACHE_MB_RANGE: RangeInclusive<i64> = 1..=16_384;

/// How a database is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqliteOptions {
    /// The file, if it is not the one in the directory of the cache.
    pub(crate) database: Option<PathBuf>,
    /// How long a call waits for another writer.
    pub(crate) busy_timeout: Duration,
    /// Of each connection.
    pub(crate) page_cache_bytes: i64,
}

impl SqliteOptions {
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if an option is unknown or makes no sense.
    pub(crate) fn of(options: &BackendOptions) -> Result<Self> {
        options.only(&OPTIONS)?;
        let number = |name: &str, range: RangeInclusive<i64>, default: i64| match options.integer(name)? {
            Some(value) if !range.contains(&value) => {
                let rule = format!("{value} is not from {} to {}", range.start(), range.end());
                Err(options.refused(name, &rule))
            }
            value => Ok(value.unwrap_or(default)),
        };
        let database = match options.text(DATABASE_URL)? {
            None => None,
            Some(url) => Some(path_in(url).map_err(|rule| options.refused(DATABASE_URL, &rule))?),
        };
        let busy_timeout = number(BUSY_TIMEOUT_MS, BUSY_TIMEOUT_MS_RANGE, 5000)?;
        let page_cache_bytes = number(PAGE_CACHE_MB, PAGE_CACHE_MB_RANGE, 8)? << 20;
        Ok(Self { database, busy_timeout: Duration::from_millis(busy_timeout.unsigned_abs()), page_cache_bytes })
    }
}

/// The path that a URL of a database names: one itself, or one behind `sqlite:///`, so that an absolute path has four
/// slashes. The error is half a sentence.
pub(super) fn path_in(url: &str) -> Result<PathBuf, String> {
    let path = match url.split_once("://") {
        None => url,
        Some(("sqlite", rest)) => match rest.strip_prefix('/') {
            Some(path) => path,
            None => {
                return Err(format!("{url:?} names a host; write sqlite:///relative/path or sqlite:////absolute/path"));
            }
        },
        Some((other, _)) => {
            return Err(format!("{other:?} is a database of another kind; name a file, or sqlite:///path"));
        }
    };
    match path {
        "" => Err("it is empty: name a file, or leave it out for the one in the directory of the cache".to_owned()),
        ":memory:" => Err("a database in memory is the backend `sqlite_memory`".to_owned()),
        path => Ok(path.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::backends::OptionValue;

    fn options(name: &str, value: impl Into<OptionValue>) -> Result<SqliteOptions> {
        SqliteOptions::of(&BackendOptions::new().with(name, value))
    }

    #[test]
    fn a_database_is_a_path_or_a_url_with_one() {
        for (url, path) in [
            ("rows.db", "rows.db"),
            ("/var/rows.db", "/var/rows.db"),
            ("sqlite:///rows.db", "rows.db"),
            ("sqlite:////var/rows.db", "/var/rows.db"),
        ] {
            assert_eq!(options(DATABASE_URL, url).unwrap().database, Some(path.into()), "{url}");
        }
        for (url, rule) in [
            ("", "it is empty"),
            ("sqlite:///", "it is empty"),
            ("sqlite://host/rows.db", "names a host"),
            ("sqlite:///:memory:", "`sqlite_memory`"),
            (":memory:", "`sqlite_memory`"),
            ("postgresql://host/db", "of another kind"),
        ] {
            let error = options(DATABASE_URL, url).unwrap_err();
            assert!(error.is_config() && error.to_string().contains(rule), "{url}: {error}");
        }
    }

    #[test]
    fn an_option_that_is_unknown_or_makes_no_sense_is_refused_by_name() {
        for (name, value, rule) in [
            ("busy_timeout", 5, "there is no such option, choose database_url or busy_timeout_ms or page_cache_mb"),
            (BUSY_TIMEOUT_MS, 0, "0 is not from 1 to 600000"),
            (PAGE_CACHE_MB, 1 << 20, "is not from 1 to 16384"),
        ] {
            let error = options(name, value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("options.{name}: ")) && error.contains(rule), "{error}");
        }
        let defaults = SqliteOptions::of(&BackendOptions::new()).unwrap();
        assert_eq!((defaults.database, defaults.busy_timeout), (None, Duration::from_secs(5)));
    }
}
