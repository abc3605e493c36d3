//! The options of the metadata backend `postgresql`.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::backends::BackendOptions;
use super::parts::CONNECTION_URL;
use crate::error::Result;

const OPTIONS: [&str; 3] = [CONNECTION_URL, NAMESPACE, DEADLINE_MS];
const NAMESPACE: &str = "namespace";
const DEADLINE_MS: &str = "deadline_ms";

const DEADLINE_MS_RANGE: RangeInclusive<i64> = 10..=600_000;
/// PostgreSQL cuts longer names off.
const LONGEST_NAME: usize = 63;

/// How a database is reached.
#[derive(Clone)]
pub(crate) struct PostgresOptions {
    pub(crate) server: Config,
    /// The schema that has the tables, so that several caches share one database.
    pub(crate) namespace: String,
    /// How long a call may take.
    pub(crate) deadline: Duration,
}

impl PostgresOptions {
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if an option is unknown or makes no sense, or there is no address.
    pub(crate) fn of(options: &BackendOptions) -> Result<Self> {
        options.only(&OPTIONS)?;
        let url = options.required_text(CONNECTION_URL)?;
        let server = server_of(url).map_err(|rule| options.refused(CONNECTION_URL, &rule))?;
        let namespace = options.text(NAMESPACE)?.unwrap_or("cacheness");
        check_namespace(namespace).map_err(|rule| options.refused(NAMESPACE, &format!("{namespace:?} {rule}")))?;
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
pub(super) fn server_of(url: &str) -> Result<Config, String> {
    let form = "postgresql://user:password@host:5432/database";
    let mut server: Config =
        url.parse().map_err(|_| format!("it is no address of a PostgreSQL server: write {form}"))?;
    if server.get_hosts().is_empty() {
        return Err(format!("it names no host: write {form}"));
    }
    match server.get_ssl_mode() {
        SslMode::Disable | SslMode::Prefer => {}
        _ => return Err("it asks for TLS (sslmode), which this release does not have: use a tunnel".to_owned()),
    }
    if server.get_application_name().is_none() {
        server.application_name("cacheness");
    }
    Ok(server)
}

/// Whether a schema may have this name. The error is half a sentence.
fn check_namespace(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = name.as_bytes().first().is_some_and(|first| first.is_ascii_lowercase() || *first == b'_');
    if name.len() > LONGEST_NAME || !begins || !name.bytes().all(is_plain) {
        Err("is not 1 to 63 of the characters a-z, 0-9 and _ that begin with none of 0-9")
    } else if name.starts_with("pg_") || name == "information_schema" {
        Err("belongs to PostgreSQL: choose another")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgresql://me:hunter2@localhost/db";

    fn of(options: &[(&str, crate::config::backends::OptionValue)]) -> Result<PostgresOptions> {
        let with = |all: BackendOptions, (name, value): &(&str, _)| all.with(*name, Clone::clone(value));
        PostgresOptions::of(&options.iter().fold(BackendOptions::new(), with))
    }

    #[test]
    fn an_address_is_all_that_is_needed() {
        let options = of(&[(CONNECTION_URL, URL.into())]).unwrap();
        assert_eq!((&*options.namespace, options.deadline), ("cacheness", Duration::from_millis(250)));
        assert_eq!(options.server.get_dbname(), Some("db"));
        assert!(server_of("host=/run/postgresql dbname=db").is_ok());
    }

    #[test]
    fn an_option_that_makes_no_sense_is_refused_by_its_name_and_without_the_password() {
        let url = || (CONNECTION_URL, URL.into());
        for (options, error) in [
            (vec![], "options.connection_url: this backend needs it"),
            (vec![(CONNECTION_URL, "mysql://me:hunter2@h".into())], "options.connection_url: it is no address"),
            (vec![(CONNECTION_URL, "postgresql:///db".into())], "options.connection_url: it names no host"),
            (
                vec![(CONNECTION_URL, format!("{URL}?sslmode=require").into())],
                "options.connection_url: it asks for TLS",
            ),
            (vec![url(), (NAMESPACE, "pg_mine".into())], "options.namespace: \"pg_mine\" belongs to"),
            (vec![url(), (NAMESPACE, "My".into())], "options.namespace: \"My\" is not"),
            (vec![url(), (DEADLINE_MS, 1.into())], "options.deadline_ms: 1 is not from 10 to 600000"),
            (vec![url(), ("schema", "x".into())], "options.schema: there is no such option"),
        ] {
            let message = of(&options).err().unwrap().to_string();
            assert!(message.starts_with(error) && !message.contains("hunter2"), "{message}");
        }
    }
}
