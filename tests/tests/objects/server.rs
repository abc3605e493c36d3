//! A server that speaks the protocol of S3, in a process of its own, for as long as a test runs.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheness::CacheConfig;
use cacheness::backend::{BackendOptions, BlobBackend, get_blob_backend};
use cacheness_tests::skip;

pub const BUCKET: &str = "weather";
/// Longer than any start takes.
const LONG: Duration = Duration::from_secs(60);

/// What it was started as: killed at the end of the test.
pub struct Server {
    process: Child,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts one with an empty bucket. `None` where there is no such server, which is told.
    pub fn start() -> Option<Self> {
        Self::started("-1")
    }

    /// Starts one that lets nobody in.
    pub fn start_closed() -> Option<Self> {
        // But for who makes the bucket.
        Self::started("1")
    }

    fn started(actions_without_signature: &str) -> Option<Self> {
        // A port that is free now may be taken by another program a moment later.
        let once = |_| Self::started_once(actions_without_signature);
        once(String::new()).or_else(once).or_else(once).inspect_err(|why| skip(why)).ok()
    }

    fn started_once(actions_without_signature: &str) -> Result<Self, String> {
        let port = free_port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdin(Stdio::null());
        if actions_without_signature != "-1" {
            command.env("INITIAL_NO_AUTH_ACTION_COUNT", actions_without_signature);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process =
            process.map_err(|_| "moto_server is not installed (pip install 'moto[s3]==5.2.5' flask flask-cors)")?;
        let mut server = Self { process, port };
        let begun = Instant::now();
        // An accepted connection says nothing, as in `listens`.
        while !server.try_ask(&format!("PUT /{BUCKET}")).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if let Ok(Some(status)) = server.process.try_wait() {
                return Err(format!("moto_server does not start: {status}"));
            }
            assert!(begun.elapsed() < LONG, "moto_server does not make a bucket");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// What it answers to a request without a body and without a signature.
    pub fn ask(&self, request: &str) -> String {
        self.try_ask(request).unwrap()
    }

    fn try_ask(&self, request: &str) -> io::Result<String> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        let head = format!("{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        connection.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        // One that is connected to itself would wait for its own end.
        connection.shutdown(std::net::Shutdown::Write)?;
        connection.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The names of all objects.
    pub fn objects(&self) -> Vec<String> {
        let listed = self.ask(&format!("GET /{BUCKET}?list-type=2"));
        let names = listed.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        names.map(|(name, _)| name.to_owned()).collect()
    }

    /// The names of the blobs.
    pub fn blobs(&self) -> Vec<String> {
        self.objects().into_iter().filter(|name| name.contains("blobs/")).collect()
    }
}

/// Whether somebody listens. While nobody does, a connection that happens to come from the same port is connected to itself.
pub fn listens(port: u16) -> bool {
    let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    connection.and_then(|connection| connection.local_addr()).is_ok_and(|from| from.port() != port)
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// How long a call waits for an answer in these tests.
pub const TIMEOUT: Duration = Duration::from_millis(1500);

/// The options of a bucket behind a port of this machine.
pub fn options(port: u16) -> Vec<(&'static str, cacheness::backend::OptionValue)> {
    vec![
        ("bucket", BUCKET.into()),
        ("endpoint", format!("http://127.0.0.1:{port}").into()),
        ("allow_http", true.into()),
        ("access_key_id", "somebody".into()),
        ("secret_access_key", "MARKED-SECRET-KEY".into()),
        ("session_token", "MARKED-TOKEN".into()),
        ("timeout_ms", i64::try_from(TIMEOUT.as_millis()).unwrap().into()),
    ]
}

pub fn bucket(port: u16) -> Arc<dyn BlobBackend> {
    let options = options(port).into_iter().fold(BackendOptions::new(), |all, (name, value)| all.with(name, value));
    get_blob_backend("s3", &options).unwrap()
}

/// A cache whose values are in the bucket behind a port.
pub fn config(dir: &std::path::Path, port: u16) -> CacheConfig {
    let mut config = CacheConfig::new(dir).with_blob_backend("s3");
    config.metadata.enable_memory_cache = false;
    options(port).into_iter().fold(config, |config, (name, value)| config.with_blob_option(name, value))
}
