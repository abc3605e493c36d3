//! The options of the metadata backend `redis`.

use redis::{ConnectionInfo, IntoConnectionInfo};

use super::backends::BackendOptions;
use super::servers::{LONGEST_NAME, Rules, ServerOptions, Tls};
use crate::error::Result;

const RULES: Rules<ConnectionInfo> = Rules {
    server: server_of,
    namespace: check_namespace,
    tls_feature: ("redis-tls", cfg!(feature = "redis-tls")),
    tls_word: "rediss://",
};

/// How a server is reached. All names on the server begin with the namespace.
pub(crate) type RedisOptions = ServerOptions<ConnectionInfo>;

impl RedisOptions {
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if an option is unknown or makes no sense, or there is no address.
    pub(crate) fn of(options: &BackendOptions) -> Result<Self> {
        Self::by(options, &RULES)
    }
}

/// What a URL names. The error is half a sentence, without any part of the URL, which may be a password.
fn server_of(url: &str) -> Result<(ConnectionInfo, Tls), String> {
    const FORM: &str = "it is no address of a Redis server: write redis://user:password@host:6379/0";
    let (tls, rest) = match url.split_once("://") {
        Some(("redis", rest)) => (Tls::No, rest),
        Some(("rediss", rest)) => (Tls::Required, rest),
        _ => return Err(FORM.to_owned()),
    };
    if rest.contains("#insecure") {
        return Err("leave out #insecure: certificates are always verified, by tls_ca_file if need be".to_owned());
    }
    // TLS is ours, and the client knows none.
    let server = format!("redis://{rest}").into_connection_info().map_err(|_| FORM)?;
    let settings = server.redis_settings().clone().set_skip_set_lib_name();
    Ok((server.set_redis_settings(settings), tls))
}

/// None of these characters ends a hash tag. The error is half a sentence.
fn check_namespace(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err("is not 1 to 63 of the characters a-z, A-Z, 0-9, `_`, `-` and `.`"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::backends::OptionValue;
    use crate::config::parts::CONNECTION_URL;

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
        assert_eq!(server_of("redis://localhost").unwrap().0.addr().to_string(), "localhost:6379");
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
            (
                vec![(CONNECTION_URL, "rediss://me:hunter2@h/#insecure".into())],
                "options.connection_url: leave out #insecure",
            ),
            (vec![url(), ("namespace", "a}b".into())], "options.namespace: \"a}b\" is not"),
            (vec![url(), ("namespace", "".into())], "options.namespace: \"\" is not"),
            (vec![url(), ("deadline_ms", 1.into())], "options.deadline_ms: 1 is not from 10 to 600000"),
            (vec![url(), ("prefix", "x".into())], "options.prefix: there is no such option"),
        ] {
            let message = of(&options).err().unwrap().to_string();
            assert!(message.starts_with(error) && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn tls_is_for_who_asks_for_it() {
        let (plain, encrypted) = ((CONNECTION_URL, URL.into()), (CONNECTION_URL, "rediss://me:hunter2@h".into()));
        let file = || ("tls_ca_file", "ca.pem".into());
        assert!(of(std::slice::from_ref(&plain)).unwrap().tls.is_none());
        if cfg!(feature = "redis-tls") {
            let tls = of(&[encrypted, file()]).unwrap().tls.unwrap();
            assert_eq!(tls.ca_file.as_deref(), Some("ca.pem".as_ref()));
            let error = of(&[plain, file()]).err().unwrap().to_string();
            assert!(error.starts_with("options.tls_ca_file: connection_url does not ask for TLS"), "{error}");
        } else {
            for (options, field) in [(vec![encrypted], "connection_url"), (vec![plain, file()], "tls_ca_file")] {
                let error = of(&options).err().unwrap().to_string();
                assert!(error.starts_with(&format!("options.{field}: ")) && error.contains("`redis-tls`"), "{error}");
            }
        }
    }
}
