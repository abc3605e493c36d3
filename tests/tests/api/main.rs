//! What users of the crate see, one module a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attributes;
mod backends;
mod custom_metadata;
mod defects;
mod differential_keys;
mod handlers;
mod isolation;
mod manifests;
mod memory;
mod moves;
mod reference;
