//! 100 MB into a bucket and out of it, beside the client alone through the same server.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cacheness::backend::{BackendOptions, BlobName, get_blob_backend};
use cacheness::config::{Codec, Durability};
use cacheness::{Cache, CacheConfig};
use cacheness_benches::{Bench, megabytes_of_bytes, timed};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};
use tokio::runtime::Runtime;

const MEGABYTES: usize = 100;
const ROUNDS: usize = 7;
const BUCKET: &str = "weather";
const PART: usize = 8 << 20;
const KEY: &str = "somebody";
const SECRET: &str = "secret";

struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `s3s-fs` if it is there, which keeps objects in files (`cargo install s3s-fs --features binary`), else `moto_server`, which is
/// written in Python.
fn server(dir: &std::path::Path) -> Option<Server> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let text = port.to_string();
    std::fs::create_dir_all(dir.join(BUCKET)).unwrap();
    let mut files = Command::new("s3s-fs");
    files.args(["--host", "127.0.0.1", "--port", &text, "--access-key", KEY, "--secret-key", SECRET]).arg(dir);
    let mut python = Command::new("moto_server");
    python.args(["-H", "127.0.0.1", "-p", &text]);
    let start = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
    let (process, is_python) =
        start(&mut files).map(|files| (files, false)).or_else(|| Some((start(&mut python)?, true)))?;
    let server = Server { process, port };
    let mut connection = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(connection) => break connection,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    };
    if is_python {
        write!(connection, "PUT /{BUCKET} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        connection.read_to_end(&mut Vec::new()).unwrap();
    }
    Some(server)
}

fn main() {
    let mut bench = Bench::new("objects", env!("CARGO_TARGET_TMPDIR"));
    let Some(server) = server(&bench.dir("bucket")) else {
        println!(
            "SKIPPED: neither s3s-fs nor moto_server is installed (pip install 'moto[s3]==5.2.5' flask flask-cors)"
        );
        return;
    };
    let bytes = megabytes_of_bytes(bench.full_or(MEGABYTES, 20));
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let alone = Arc::new(alone(&endpoint));
    let runtime = Runtime::new().unwrap();

    let options = BackendOptions::new().with("bucket", BUCKET).with("endpoint", endpoint.as_str());
    let options = options.with("allow_http", true).with("timeout_ms", 60_000);
    let options = options.with("access_key_id", KEY).with("secret_access_key", SECRET);
    let blobs = get_blob_backend("s3", &options).unwrap();
    let (name, path) = (BlobName::unique(), Path::from("alone"));
    let put = |_| timed(|| blobs.write(&name, &[&bytes], Durability::Interval).unwrap());
    let get = |_| {
        let mut got = None;
        let seconds = timed(|| got = blobs.read(&name, u64::MAX).unwrap());
        assert!(got.as_deref() == Some(&bytes[..]));
        seconds
    };
    let put_alone = |_| timed(|| runtime.block_on(put_in_parts(&alone, &path, &bytes)));
    let get_alone = |_| {
        let mut got = None;
        let get = async { alone.get(&path).await.unwrap().bytes().await.unwrap() };
        let seconds = timed(|| got = Some(runtime.block_on(get)));
        assert!(got.as_deref() == Some(&bytes[..]));
        seconds
    };
    let len = bytes.len() as u64;
    let work = bench.work("put a blob of 100 MB into a bucket").bytes(len).calls(1).rounds(ROUNDS).ours(put);
    work.peer("object_store, four parts at a time", 1.1, put_alone).run();
    let work = bench.work("get a blob of 100 MB from a bucket").bytes(len).calls(1).rounds(ROUNDS).ours(get);
    work.peer("object_store, one request", 1.1, get_alone).run();

    let mut config = CacheConfig::new(bench.dir("cache")).with_memory_cache(false).with_codec(Codec::None);
    config = config.with_blob_backend("s3").with_blob_option("prefix", "cache");
    config = options.iter().fold(config, |config, (name, value)| config.with_blob_option(name, value.clone()));
    let cache = Cache::new(config).unwrap();
    let put = |_| timed(|| drop(cache.put("large", &bytes).unwrap()));
    let get = |_| {
        let mut got = None;
        let seconds = timed(|| got = cache.get::<Vec<u8>>("large").unwrap());
        assert!(got.as_ref() == Some(&bytes));
        seconds
    };
    let work = bench.work("put 100 MB of bytes, values in a bucket").bytes(len).calls(1).rounds(ROUNDS).ours(put);
    work.peer("object_store, four parts at a time", 1.1, put_alone).run();
    let work = bench.work("get 100 MB of bytes, values in a bucket").bytes(len).calls(1).rounds(ROUNDS).ours(get);
    work.peer("object_store, one request", 1.1, get_alone).run();
    cache.close().unwrap();
}

fn alone(endpoint: &str) -> AmazonS3 {
    let builder = AmazonS3Builder::new().with_bucket_name(BUCKET).with_endpoint(endpoint).with_allow_http(true);
    builder.with_access_key_id(KEY).with_secret_access_key(SECRET).build().unwrap()
}

async fn put_in_parts(store: &AmazonS3, path: &Path, bytes: &[u8]) {
    let upload = store.put_multipart(path).await.unwrap();
    let mut writing = WriteMultipart::new_with_chunk_size(upload, PART);
    for part in bytes.chunks(PART) {
        writing.wait_for_capacity(4).await.unwrap();
        writing.write(part);
    }
    writing.finish().await.unwrap();
}
