//! Real processes that end, are killed, meet each other, or meet a directory they cannot use.

mod aborting;
mod bad_moments;
mod bad_places;
mod batches;
mod blobs;
mod defects;
mod differential;
mod directories;
mod ends;
mod functions;
#[cfg(unix)]
mod joined;
mod kills;
mod neighbours;
mod outage;
mod postgres;
mod redis;
mod runtimes;
mod sqlite;
mod threads;
mod tiers;
mod tls;

const PROBE: &str = env!("CARGO_BIN_EXE_probe");
const NEIGHBOUR: &str = env!("CARGO_BIN_EXE_neighbour");
