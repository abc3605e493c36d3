//! The options of the metadata backend `postgresql`.

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, SslMode};

use super::backends::BackendOptions;
use super::servers::{LONGEST_NAME, Rules, ServerOptions, Tls};
use crate::error::Result;

const RULES: Rules<Config> = Rules {
    server: server_of,
    namespace: check_namespace,
    tls_feature: ("postgresql-tls", cfg!(feature = "postgresql-tls")),
    tls_word: "sslmode=require",
};

/// How a database is reached. The namespace is the schema that has the tables.
pub(crate) type PostgresOptions = ServerOptions<Config>;

impl PostgresOptions {
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if an option is unknown or makes no sense, or there is no address.
    pub(crate) fn of(options: &BackendOptions) -> Result<Self> {
        Self::by(options, &RULES)
    }
}

/// What a URL names. The error is half a sentence, without any part of the URL, which may be a password.
fn server_of(url: &str) -> Result<(Config, Tls), String> {
    let form = "postgresql://user:password@host:5432/database";
    let mut server: Config = url.parse().map_err(|_| match url.contains("sslmode=verify") {
        true => "write sslmode=require: certificates and host names are always verified".to_owned(),
        false => format!("it is no address of a PostgreSQL server: write {form}"),
    })?;
    if server.get_hosts().is_empty() {
        return Err(format!("it names no host: write {form}"));
    }
    if server.get_channel_binding() == ChannelBinding::Require {
        return Err("it asks for channel_binding, which there is not: sslmode=require verifies certificates".to_owned());
    }
    // As everywhere, sockets of this machine have none.
    if server.get_hosts().iter().all(is_socket) {
        server.ssl_mode(SslMode::Disable);
    }
    if server.get_application_name().is_none() {
        server.application_name("cacheness");
    }
    let tls = match server.get_ssl_mode() {
        SslMode::Disable => Tls::No,
        SslMode::Prefer => Tls::Preferred,
        _ => Tls::Required,
    };
    Ok((server, tls))
}

fn is_socket(host: &Host) -> bool {
    !matches!(host, Host::Tcp(_))
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
    use std::time::Duration;

    use super::*;
    use crate::config::parts::CONNECTION_URL;

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
                vec![(CONNECTION_URL, format!("{URL}?sslmode=verify-full").into())],
                "options.connection_url: write sslmode=require",
            ),
            (
                vec![(CONNECTION_URL, format!("{URL}?channel_binding=require").into())],
                "options.connection_url: it asks for channel_binding",
            ),
            (vec![url(), ("namespace", "pg_mine".into())], "options.namespace: \"pg_mine\" belongs to"),
            (vec![url(), ("namespace", "My".into())], "options.namespace: \"My\" is not"),
            (vec![url(), ("deadline_ms", 1.into())], "options.deadline_ms: 1 is not from 10 to 600000"),
            (vec![url(), ("schema", "x".into())], "options.schema: there is no such option"),
        ] {
            let message = of(&options).err().unwrap().to_string();
            assert!(message.starts_with(error) && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn tls_is_for_who_asks_for_it_and_for_nobody_on_this_machine() {
        let tls = |url: &str| server_of(url).unwrap().1;
        assert_eq!(tls(URL), Tls::Preferred);
        assert_eq!(tls(&format!("{URL}?sslmode=require")), Tls::Required);
        assert_eq!(tls(&format!("{URL}?sslmode=disable")), Tls::No);
        assert_eq!(tls("host=/run/postgresql sslmode=require"), Tls::No);
        let required = (CONNECTION_URL, format!("{URL}?sslmode=require").into());
        let file = || ("tls_ca_file", "ca.pem".into());
        if cfg!(feature = "postgresql-tls") {
            let tls = of(&[required, file()]).unwrap().tls.unwrap();
            assert_eq!(tls.ca_file.as_deref(), Some("ca.pem".as_ref()));
            let error = of(&[(CONNECTION_URL, URL.into()), file()]).err().unwrap().to_string();
            assert!(error.starts_with("options.tls_ca_file: connection_url does not ask for TLS"), "{error}");
        } else {
            for (options, field) in
                [(vec![required], "connection_url"), (vec![(CONNECTION_URL, URL.into()), file()], "tls_ca_file")]
            {
                let error = of(&options).err().unwrap().to_string();
                assert!(
                    error.starts_with(&format!("options.{field}: ")) && error.contains("`postgresql-tls`"),
                    "{error}"
                );
            }
        }
    }
}
