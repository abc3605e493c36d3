//! What rows on a Redis server cost beside plain commands of the same client, over the loopback interface.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use cacheness::{Cache, CacheConfig};
use cacheness_benches::{Bench, RedisServer, Station, repeat, station};
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, Value};

const ENTRIES: u64 = 2_000;

fn main() {
    let mut bench = Bench::new("redis", env!("CARGO_TARGET_TMPDIR"));
    let Some(server) = RedisServer::start(&bench.dir("server")) else {
        println!("SKIPPED: redis-server is not installed");
        return;
    };
    let cache = open(&bench.dir("cache"), &server.url);
    (0..ENTRIES).for_each(|id| _ = cache.put(id, &station(id)).unwrap());
    let plain = Plain::of(&server.url);
    let value = vec![7; 300];
    (0..ENTRIES).for_each(|id| drop(plain.ask(set(id, &value))));
    let mut blocking = Client::open(server.url.as_str()).unwrap().get_connection().unwrap();
    bench
        .work("get, small struct")
        .ours(repeat(|id| _ = black_box(cache.get::<Station>(id % ENTRIES).unwrap().unwrap())))
        .peer("GET of 300 bytes, from a thread that waits", 1.3, repeat(|id| _ = black_box(plain.ask(get(id)))))
        .peer(
            "GET of 300 bytes, blocking client",
            None,
            repeat(|id| _ = get(id).query::<Value>(&mut blocking).unwrap()),
        )
        .run();
    bench
        .work("put of a new key, small struct")
        .ours(repeat(|id| _ = cache.put(ENTRIES + id, &station(id)).unwrap()))
        .peer("SET of 300 bytes, from a thread that waits", 1.3, repeat(|id| drop(plain.ask(set(id, &value)))))
        .peer("SET of 300 bytes, blocking client", None, repeat(|id| set(id, &value).exec(&mut blocking).unwrap()))
        .run();
    cache.close().unwrap();
}

fn open(dir: &Path, url: &str) -> Cache {
    let config = CacheConfig::new(dir).with_backend("redis").with_connection_url(url);
    // What a busy machine takes is measured, not refused.
    Cache::new(config.with_metadata_option("deadline_ms", 10_000).with_memory_cache(false)).unwrap()
}

fn name(id: u64) -> String {
    format!("plain:{}", id % ENTRIES)
}

fn get(id: u64) -> Cmd {
    let mut command = redis::cmd("GET");
    command.arg(name(id));
    command
}

fn set(id: u64, value: &[u8]) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(format!("plain:{id}")).arg(value);
    command
}

/// The client on a thread of its own, and callers that wait, as those of a cache do.
struct Plain {
    runtime: tokio::runtime::Handle,
    connection: MultiplexedConnection,
}

impl Plain {
    fn of(url: &str) -> Self {
        let (ready, is_ready) = sync_channel(1);
        let client = Client::open(url).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let connection = runtime.block_on(client.get_multiplexed_async_connection()).unwrap();
            ready.send((runtime.handle().clone(), connection)).unwrap();
            runtime.block_on(std::future::pending::<()>());
        });
        let (runtime, connection) = is_ready.recv().unwrap();
        Self { runtime, connection }
    }

    fn ask(&self, command: Cmd) -> Value {
        let (done, outcome) = sync_channel(1);
        let mut connection = self.connection.clone();
        self.runtime.spawn(async move { done.send(connection.send_packed_command(&command).await.unwrap()).unwrap() });
        outcome.recv().unwrap()
    }
}
