//! Servers that prove who they are, and servers that do not.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use cacheness::{Cache, CacheConfig, CacheError};
use cacheness_tests::certificates::{Certificates, certificates};
use cacheness_tests::servers::{self, Postgres, Redis, free_port};
use cacheness_tests::{scratch, skip};

/// A machine that is busy with other tests takes its time.
const DEADLINE_MS: i64 = 10_000;

fn opened(backend: &str, url: &str, authority: Option<&Path>) -> Result<(), CacheError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let (dir, number) = (scratch(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let config = CacheConfig::new(dir.path()).with_backend(backend).with_connection_url(url.to_owned());
    let config = config.with_metadata_option("namespace", format!("tls_{number}")).with_memory_cache(false);
    let config = config.with_metadata_option("deadline_ms", DEADLINE_MS);
    let config = match authority {
        Some(file) => config.with_metadata_option("tls_ca_file", file.to_str().unwrap()),
        None => config,
    };
    let cache = Cache::new(config)?;
    cache.put("k", &7u64)?;
    assert_eq!(cache.get::<u64>("k")?, Some(7));
    cache.clear()?;
    cache.close()
}

fn refused(backend: &str, url: &str, authority: Option<&Path>, why: &str) {
    let error = opened(backend, url, authority).unwrap_err();
    let told = error.to_string();
    assert!(error.is_config() && told.contains(why) && !told.contains("marked-secret"), "{error:?}");
}

fn postgres_with(certificates: &Certificates, certificate: &Path) -> Option<Postgres> {
    let certificate = format!("ssl_cert_file = '{}'", certificate.display());
    let settings = ["ssl = on", &certificate, "ssl_key_file = '../server.key'"];
    Postgres::start_with(&settings, Some(&certificates.key())).map_err(|why| skip(&why)).ok()
}

/// A server, and the port on which it has TLS.
fn redis_with(certificates: &Certificates, certificate: &Path) -> Option<(Redis, u16)> {
    let port = free_port().unwrap();
    let (key, authority) = (certificates.key(), certificates.authority());
    let [certificate, key, authority] = [certificate, &key, &authority].map(|file| file.to_str().unwrap().to_owned());
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &authority];
    let mut settings = vec!["--tls-auth-clients", "no", "--tls-port"];
    let number = port.to_string();
    settings.push(&number);
    settings.extend(files);
    Redis::start(&settings).map_err(|why| skip(&why)).ok().map(|server| (server, port))
}

fn files() -> Option<&'static Certificates> {
    certificates().map_err(|why| skip(&why)).ok()
}

#[test]
fn postgresql_is_reached_by_tls_if_it_proves_who_it_is_and_not_otherwise() {
    let Some(files) = files() else { return };
    let Some(server) = postgres_with(files, &files.server()) else { return };
    let url = |host: &str, mode: &str| {
        format!("postgresql://cacheness:marked-secret@{host}:{}/postgres?sslmode={mode}", server.port())
    };
    let authority = files.authority();
    opened("postgresql", &url("localhost", "require"), Some(&authority)).unwrap();
    opened("postgresql", &url("localhost", "disable"), None).unwrap();
    opened("postgresql", &server.url(), None).unwrap();

    let refused = |url: &str, authority: Option<&Path>, why| refused("postgresql", url, authority, why);
    refused(&url("127.0.0.1", "require"), Some(&authority), "is not for \"127.0.0.1\": use a name that is in it");
    refused(&url("localhost", "require"), Some(&files.stranger()), "not known here: name a PEM file");
    refused(&url("localhost", "require"), None, "not known here: name a PEM file");
    refused(&url("localhost", "prefer"), None, "not known here: name a PEM file");
    refused(&url("localhost", "prefer"), Some(&authority), "tls_ca_file: connection_url does not ask for TLS");
    refused(&url("localhost", "verify-full"), Some(&authority), "connection_url: write sslmode=require");
}

#[test]
fn postgresql_without_tls_is_used_where_tls_is_preferred_and_refused_where_it_is_required() {
    let Ok(server) = servers::postgres().map_err(|why| skip(&why)) else { return };
    let url = |mode: &str| format!("postgresql://cacheness@localhost:{}/postgres{mode}", server.port());
    opened("postgresql", &url(""), None).unwrap();
    refused("postgresql", &url("?sslmode=require"), None, "the server has no TLS: turn it on there");
    // A socket of this machine needs none.
    opened("postgresql", &format!("{}?sslmode=require", server.url()), None).unwrap();
}

#[test]
fn redis_is_reached_by_tls_if_it_proves_who_it_is_and_not_otherwise() {
    let Some(files) = files() else { return };
    let Some((server, port)) = redis_with(files, &files.server()) else { return };
    let (user, password) = servers::REDIS_USER;
    let url = |scheme: &str, host: &str| format!("{scheme}://{user}:{password}@{host}:{port}/0");
    let authority = files.authority();
    opened("redis", &url("rediss", "localhost"), Some(&authority)).unwrap();
    opened("redis", &server.url(), None).unwrap();

    let refused = |url: &str, authority: Option<&Path>, why| refused("redis", url, authority, why);
    refused(&url("rediss", "127.0.0.1"), Some(&authority), "is not for \"127.0.0.1\": use a name that is in it");
    refused(&url("rediss", "localhost"), Some(&files.stranger()), "not known here: name a PEM file");
    refused(&url("rediss", "localhost"), None, "not known here: name a PEM file");
    refused(&url("redis", "localhost"), None, "does not answer as Redis does; if it has TLS, write rediss://");
    refused(&format!("{}#insecure", url("rediss", "localhost")), Some(&authority), "certificates are always verified");
}

#[test]
fn a_certificate_that_has_expired_is_refused() {
    let Some(files) = files() else { return };
    let (Some(postgres), Some((_redis, port))) =
        (postgres_with(files, &files.expired()), redis_with(files, &files.expired()))
    else {
        return;
    };
    let why = "is no longer valid: renew it";
    let url = format!("postgresql://cacheness@localhost:{}/postgres?sslmode=require", postgres.port());
    refused("postgresql", &url, Some(&files.authority()), why);
    refused("redis", &format!("rediss://localhost:{port}"), Some(&files.authority()), why);
}

#[test]
fn a_certificate_of_the_servers_own_making_is_believed_by_name_alone() {
    let Some(files) = files() else { return };
    let Some(server) = postgres_with(files, &files.own()) else { return };
    let url = format!("postgresql://cacheness@localhost:{}/postgres?sslmode=require", server.port());
    opened("postgresql", &url, Some(&files.own())).unwrap();
    refused("postgresql", &url, Some(&files.authority()), "not known here: name a PEM file");
}

#[test]
fn a_redis_server_without_tls_is_an_outage_that_says_what_to_write() {
    let Ok(server) = servers::redis().map_err(|why| skip(&why)) else { return };
    let dir = scratch();
    let url = format!("rediss://127.0.0.1:{}/0", server.port());
    let config = CacheConfig::new(dir.path()).with_backend("redis").with_connection_url(url);
    let cache = Cache::new(config).unwrap();
    let error = cache.put("k", &7u64).unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(error.to_string().contains("does not answer as TLS begins; if it has no TLS, write redis://"), "{error}");
}

#[test]
fn a_file_of_authorities_that_is_none_is_refused_by_the_name_of_the_option() {
    let dir = scratch();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (file, why) in [
        (dir.path().join("none.pem"), "cannot be read: No such file"),
        (dir.path().to_owned(), "cannot be read: it is no file"),
        (file("empty.pem", "no certificate"), "has no certificate: it must be a PEM file"),
        (file("broken.pem", broken), "is not understood"),
    ] {
        for (backend, url) in
            [("postgresql", "postgresql://localhost:1/db?sslmode=require"), ("redis", "rediss://localhost:1")]
        {
            refused(backend, url, Some(&file), why);
            refused(backend, url, Some(&file), "metadata.options.tls_ca_file: ");
        }
    }
}
