//! Shared parts of the tests.

/// An authority of the tests, and certificates.
pub mod certificates;
#[cfg(unix)]
pub mod neighbours;
/// A network that fails.
pub mod proxy;
/// Servers that tests need, started by the tests themselves.
pub mod servers;
pub mod values;

pub use servers::skip;

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// So do those of the page on tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
pub struct Testing;

pub mod power;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use cacheness::CacheConfig;

/// The only right value of a key: from a few bytes to some hundred KiB, so that records and blob files both take part.
pub fn value_of(n: u64) -> Vec<u8> {
    let len = match n % 10 {
        0 => 20_000 + (n as usize % 7) * 30_000,
        1 => 5_000,
        _ => 10 + n as usize % 200,
    };
    let mut state = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..len)
        .map(|at| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(at as u64 | 1);
            (state >> 56) as u8
        })
        .collect()
}

/// The probe's story, ready to run with its default cache in `dir` and nothing else of this environment's settings.
pub fn probe(program: &str, dir: &Path, story: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CACHENESS_")) {
        command.env_remove(name);
    }
    command.args(story).env("CACHENESS_DIR", dir).stdin(Stdio::null());
    command
}

/// Runs a story to its end.
///
/// # Panics
/// If the program cannot be started.
pub fn run(program: &str, dir: &Path, story: &[&str]) -> Output {
    probe(program, dir, story).output().expect("the probe starts")
}

/// A configuration with its rows in a namespace of their own on the PostgreSQL server of this program; none where that is not
/// there, which [`skip`] is told.
pub fn on_postgres(config: CacheConfig) -> Option<CacheConfig> {
    let server = servers::postgres().map_err(|why| skip(&why)).ok()?;
    let config = config.with_backend("postgresql").with_connection_url(server.url());
    // A machine that is busy with other tests takes its time.
    Some(config.with_metadata_option("namespace", server.namespace()).with_metadata_option("deadline_ms", 10_000))
}

/// As [`on_postgres`], on the Redis server of this program.
pub fn on_redis(config: CacheConfig) -> Option<CacheConfig> {
    let server = servers::redis().map_err(|why| skip(&why)).ok()?;
    let config = config.with_backend("redis").with_connection_url(server.url());
    Some(config.with_metadata_option("namespace", server.namespace()).with_metadata_option("deadline_ms", 10_000))
}

/// Makes an empty directory the one that another is, as far as a cache can tell: what two machines see of one that they share.
///
/// # Panics
/// If the other one is no directory of a cache.
pub fn seen_from_elsewhere(directory: &Path) -> tempfile::TempDir {
    let elsewhere = scratch();
    std::fs::copy(directory.join("cacheness.toml"), elsewhere.path().join("cacheness.toml")).expect("a cache is there");
    elsewhere
}

/// Makes the library that decides what becomes of syncs (`fixtures/syncs.rs`), to be loaded by `LD_PRELOAD`.
///
/// # Errors
/// Why that cannot be done here.
pub fn syncs_library(dir: &Path) -> Result<std::path::PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Err("libraries are preloaded on Linux".to_owned());
    }
    let library = dir.join("libsyncs.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/syncs.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args(["--edition=2024", "--crate-type=cdylib", "-Cpanic=abort", "-o"]).arg(&library).arg(source);
    let output = command.output().map_err(|error| format!("rustc does not start: {error}"))?;
    if output.status.success() { Ok(library) } else { Err(errors_of(&output)) }
}

/// What a program wrote to standard error.
pub fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// How many times the body of a cached function ran in a probe.
pub fn bodies(output: &Output) -> usize {
    errors_of(output).lines().filter(|line| line.starts_with("body")).count()
}

/// How many warnings of the cache a probe wrote.
pub fn warnings(output: &Output) -> Vec<String> {
    errors_of(output).lines().filter(|line| line.starts_with("cacheness:")).map(str::to_owned).collect()
}

/// A directory for a test that makes and removes many: in memory where the system has such a place.
///
/// # Panics
/// If none can be made.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory can be made")
}

/// Takes the rights to a file from everybody but its owner.
///
/// # Panics
/// If there is no such file.
pub fn only_for_owner(file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("the file is there");
    }
}

/// Takes the right to write to a directory from everybody but its owner, and gives it to who runs this.
///
/// # Panics
/// If there is no such directory.
pub fn only_for_owner_dir(dir: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).expect("the directory is there");
    }
}

/// Copies a directory with everything in it.
///
/// # Errors
/// Those of the file system.
pub fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for item in std::fs::read_dir(from)? {
        let item = item?;
        let kind = item.file_type()?;
        if kind.is_dir() {
            copy_dir(&item.path(), &to.join(item.file_name()))?;
        } else if kind.is_file() {
            std::fs::copy(item.path(), to.join(item.file_name()))?;
        }
    }
    Ok(())
}

/// Copies a cache directory. Blobs, which are written once and never changed, are shared with the original.
///
/// # Errors
/// Those of the file system.
pub fn copy_cache(from: &Path, to: &Path) -> std::io::Result<()> {
    let blobs = from.join("blobs");
    for file in files_below(from)? {
        let target = to.join(file.strip_prefix(from).map_err(std::io::Error::other)?);
        target.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        if file.starts_with(&blobs) {
            std::fs::hard_link(&file, target)?;
        } else {
            std::fs::copy(&file, target)?;
        }
    }
    Ok(())
}

/// Every file below a directory, in order.
///
/// # Errors
/// Those of the file system.
pub fn files_below(dir: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for item in std::fs::read_dir(dir)? {
        let item = item?;
        let kind = item.file_type()?;
        if kind.is_dir() {
            files.extend(files_below(&item.path())?);
        } else if !is_socket(kind) {
            files.push(item.path());
        }
    }
    files.sort();
    Ok(files)
}

/// As the owner of a directory has one in it.
#[cfg(unix)]
fn is_socket(kind: std::fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&kind)
}

#[cfg(not(unix))]
fn is_socket(_: std::fs::FileType) -> bool {
    false
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
