//! The options of the metadata backend `redis`.

use std::ops::RangeInclusive;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};

use super::backends::BackendOptions;
use super::parts::CONNECTION_URL;
use crate::error::Result;

const OPTIONS: [&str; 3] = [CONNECTION_URL, NAMESPACE, DEADLINE_MS];
const NAMESPACE: &str = "namespace";
const DEADLINE_MS: &str = "deadline_ms";

const DEADLINE_MS_RANGE: RangeInclusive<i64> = 10..=600_000;
const LONGEST_NAME: usize = 63;

/// How a server is reached.
#[derive(Clone)]
pub(crate) struct RedisOptions {
    pub(crate) server: ConnectionInfo,
    /// What all names on the server begin with, so that several caches share it.
    pub(crate) namespace: String,
    /// How long a call may take.
    pub(crate) deadline: Duration,
}

impl RedisOptions {
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if an option is unknown or makes no sense, or there is no address.
    pub(crate) fn of(options: &BackendOptions) -> Result<Self> {
        options.only(&OPTIONS)?;
        let url = options.required_text(CONNECTION_URL)?;
        let server = server_of(url).map_err(|rule| options.refused(CONNECTION_URL, rule))?;
        let namespace = options.text(NAMESPACE)?.unwrap_or("cacheness");
        if !is_namespace(namespace) {
            let rule = format!("{namespace:?} is not 1 to 63 of the characters a-z, A-Z, 0-9, `_`, `-` and `.`");
            return Err(options.refused(NAMESPACE, &rule));
        }
        let deadline = match options.integer(DEADLINE_MS)? {
            Some(value) if !DEADLINE_MS_RANGE.contains(&value) => {
                let (least, most) = DEADLINE_MS_RANGE.into_inner();
                return Err(options.refused(DEADLINE_MS, &format!("{value} is not from {least} to {most}")));
            }
            value => value.unwrap_or(250),
        };
        let deadline = Duration::from_millis(deadline.unsigned_abs());
        Ok(Self { server, namespace: namespace.to_owned(), deadline })
    }
}

/// What a URL names. The error is half a sentence, without any part of the URL, which may be a password.
fn server_of(url: &str) -> Result<ConnectionInfo, &'static str> {
    const FORM: &str = "it is no address of a Redis server: write redis://user:password@host:6379/0";
    match url.split_once("://") {
        Some(("redis", _)) => {}
        Some(("rediss", _)) => return Err("it asks for TLS (rediss), which this release does not have: use a tunnel"),
        _ => return Err(FORM),
    }
    let server = url.into_connection_info().map_err(|_| FORM)?;
    let settings = server.redis_settings().clone().set_skip_set_lib_name();
    Ok(server.set_redis_settings(settings))
}

/// Whether names may begin with it: none of its characters ends a hash tag.
fn is_namespace(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::backends::OptionValue;

    const URL: &str = "redis://me:hunter2@localhost/3";

    fn of(options: &[(&str, OptionValue)]) -> Result<RedisOptions> {
        let with = |all: BackendOptions, (name, value): &(&str, _)| all.with(*name, Clone::clone(value));
        RedisOptions::of(&options.iter().fold(BackendOptions::new(), with))
    }

    #[test]
    fn an_address_is_all_that_is_needed() {
        let options = of(&[(CONNECTION_URL, URL.into())]).unwrap();
        assert_eq!((&*options.namespace, options.deadline), ("cacheness", Duration::from_millis(250)));
        let settings = options.server.redis_settings();
        assert_eq!((settings.db(), settings.username(), settings.password()), (3, Some("me"), Some("hunter2")));
        assert_eq!(server_of("redis://localhost").unwrap().addr().to_string(), "localhost:6379");
    }

    #[test]
    fn an_option_that_makes_no_sense_is_refused_by_its_name_and_without_the_password() {
        let url = || (CONNECTION_URL, URL.into());
        for (options, error) in [
            (vec![], "options.connection_url: this backend needs it"),
            (vec![(CONNECTION_URL, "mysql://me:hunter2@h".into())], "options.connection_url: it is no address"),
            (vec![(CONNECTION_URL, "redis://me:hunter2@/0".into())], "options.connection_url: it is no address"),
            (vec![(CONNECTION_URL, "redis://:hunter2@h/first".into())], "options.connection_url: it is no address"),
            (vec![(CONNECTION_URL, "me:hunter2@h".into())], "options.connection_url: it is no address"),
            (vec![(CONNECTION_URL, "rediss://me:hunter2@h".into())], "options.connection_url: it asks for TLS"),
            (vec![url(), (NAMESPACE, "a}b".into())], "options.namespace: \"a}b\" is not"),
            (vec![url(), (NAMESPACE, "".into())], "options.namespace: \"\" is not"),
            (vec![url(), (DEADLINE_MS, 1.into())], "options.deadline_ms: 1 is not from 10 to 600000"),
            (vec![url(), ("prefix", "x".into())], "options.prefix: there is no such option"),
        ] {
            let message = of(&options).err().unwrap().to_string();
            assert!(message.starts_with(error) && !message.contains("hunter2"), "{message}");
        }
    }
}
