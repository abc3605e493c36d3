//! What rows in a PostgreSQL database cost beside plain statements of the same client, over the loopback interface.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, mpsc::SyncSender};
use std::thread;

use cacheness::{Cache, CacheConfig};
use cacheness_benches::{Bench, Station, repeat, station};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};

#[allow(dead_code, unreachable_pub, reason = "shared with tests")]
mod servers {
    include!("../../tests/src/servers.rs");
}

const ENTRIES: u64 = 2_000;
const SELECT: &str = "SELECT value FROM plain WHERE key = $1";
const INSERT: &str =
    "INSERT INTO plain (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

fn main() {
    let mut bench = Bench::new("postgresql", env!("CARGO_TARGET_TMPDIR"));
    let server = match servers::Postgres::start() {
        Ok(server) => server,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    let url = format!("postgresql://cacheness@127.0.0.1:{}/postgres?sslmode=disable", server.port());
    let cache = open(&bench.dir("cache"), &url);
    (0..ENTRIES).for_each(|id| _ = cache.put(id, &station(id)).unwrap());
    let plain = Plain::of(&url);
    let value = vec![7; 300];
    (0..ENTRIES).for_each(|id| drop(plain.put(id, &value)));
    bench
        .work("get, small struct")
        .ours(repeat(|id| _ = black_box(cache.get::<Station>(id % ENTRIES).unwrap().unwrap())))
        .peer("SELECT of 300 bytes, from a thread that waits", 1.3, repeat(|id| _ = black_box(plain.get(id % ENTRIES))))
        .run();
    bench
        .work("put of a new key, small struct")
        .ours(repeat(|id| _ = cache.put(ENTRIES + id, &station(id)).unwrap()))
        .peer(
            "INSERT .. ON CONFLICT of 300 bytes, from a thread that waits",
            1.3,
            repeat(|id| drop(plain.put(ENTRIES + id, &value))),
        )
        .run();
    bench
        .work("put over an old entry, small struct")
        .ours(repeat(|id| _ = cache.put(id % ENTRIES, &station(id)).unwrap()))
        .peer(
            "INSERT .. ON CONFLICT of 300 bytes, from a thread that waits",
            None,
            repeat(|id| drop(plain.put(id % ENTRIES, &value))),
        )
        .run();
    cache.close().unwrap();
}

fn open(dir: &Path, url: &str) -> Cache {
    let config = CacheConfig::new(dir).with_backend("postgresql").with_connection_url(url);
    // What a busy machine takes is measured, not refused.
    Cache::new(config.with_metadata_option("deadline_ms", 10_000).with_memory_cache(false)).unwrap()
}

/// The client on a thread of its own, and callers that wait, as those of a cache do.
struct Plain {
    runtime: tokio::runtime::Handle,
    client: Arc<Client>,
}

impl Plain {
    fn of(url: &str) -> Self {
        let (ready, is_ready) = sync_channel(1);
        let url = url.to_owned();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Self::serve(&url, ready));
        });
        let (runtime, client) = is_ready.recv().unwrap();
        Self { runtime, client }
    }

    async fn serve(url: &str, ready: SyncSender<(tokio::runtime::Handle, Arc<Client>)>) {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        // As the backend does it.
        client.batch_execute("SET synchronous_commit = off").await.unwrap();
        client.batch_execute("CREATE TABLE plain (key bytea PRIMARY KEY, value bytea NOT NULL)").await.unwrap();
        ready.send((tokio::runtime::Handle::current(), Arc::new(client))).unwrap();
        driver.await.unwrap().unwrap();
    }

    fn ask(&self, sql: &'static str, bound: Vec<Vec<u8>>) -> Vec<Row> {
        let (done, outcome) = sync_channel(1);
        let client = Arc::clone(&self.client);
        self.runtime.spawn(async move {
            let bound: Vec<(&(dyn ToSql + Sync), Type)> =
                bound.iter().map(|bytes| (bytes as &(dyn ToSql + Sync), Type::BYTEA)).collect();
            done.send(client.query_typed(sql, &bound).await.unwrap()).unwrap();
        });
        outcome.recv().unwrap()
    }

    fn get(&self, id: u64) -> Vec<u8> {
        self.ask(SELECT, vec![name(id)])[0].get(0)
    }

    fn put(&self, id: u64, value: &[u8]) -> Vec<Row> {
        self.ask(INSERT, vec![name(id), value.to_vec()])
    }
}

fn name(id: u64) -> Vec<u8> {
    format!("a key as long as others: {id}").into_bytes()
}
