//! Values in a bucket: a server in another process, and a network that fails.

mod bucket;
mod caches;
mod clouds;
mod combinations;
#[cfg(unix)]
mod many;
mod server;
mod tiers;
