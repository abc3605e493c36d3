//! The server that benches of shared rows ask.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A Redis server of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    /// Its address.
    pub url: String,
    process: Child,
}

impl RedisServer {
    /// Starts one with its files in this directory; `None` where there is no such program.
    ///
    /// # Panics
    /// If there is no free port, or the directory cannot be made.
    pub fn start(dir: &Path) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::create_dir_all(dir).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(dir);
        let process = command.stdout(Stdio::null()).spawn().ok()?;
        let server = Self { url: format!("redis://127.0.0.1:{port}/0"), process };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
