//! Walks all fields. For each there is an experiment: the same is done with the field as it is by default and with
//! another value, and what is observed must differ. A field without one fails the test, and so does an experiment that
//! observes something else every time.

use std::path::Path;

use cacheness::CacheConfig;
use serde_json::{Value, json};

use super::experiments as observe;
use super::{leaves, with};

struct Experiment {
    field: &'static str,
    /// What else must be so for the field to matter.
    given: Vec<(&'static str, Value)>,
    changed: Value,
    observe: fn(&Path, &CacheConfig) -> String,
}

fn experiment(field: &'static str, changed: Value, observe: fn(&Path, &CacheConfig) -> String) -> Experiment {
    Experiment { field, given: Vec::new(), changed, observe }
}

impl Experiment {
    fn given(mut self, field: &'static str, value: Value) -> Self {
        self.given.push((field, value));
        self
    }

    fn run(&self, changed: bool) -> String {
        let dir = cacheness_tests::scratch();
        let placed = |value: &Value| -> Value {
            serde_json::from_str(&value.to_string().replace("{dir}", dir.path().to_str().unwrap())).unwrap()
        };
        let given: Vec<_> = self.given.iter().map(|(field, value)| (*field, placed(value))).collect();
        let mut config = with(&CacheConfig::new(dir.path().join("cache")), &given);
        if changed {
            config = with(&config, &[(self.field, placed(&self.changed))]);
        }
        (self.observe)(dir.path(), &config)
    }
}

fn on_a_server(experiment: Experiment) -> Experiment {
    let url =
        cacheness_tests::servers::redis().map_or_else(|_| "redis://127.0.0.1:1/0".to_owned(), |server| server.url());
    let experiment = experiment.given("metadata.backend", json!("redis")).given("metadata.connection_url", json!(url));
    experiment.given("metadata.enable_memory_cache", json!(false))
}

fn experiments() -> Vec<Experiment> {
    vec![
        experiment("storage.cache_dir", json!("{dir}/elsewhere"), observe::place),
        experiment("storage.max_cache_size_mb", json!(1), observe::entries_left),
        experiment("storage.cleanup_on_init", json!(true), observe::expired_entries_after_opening),
        experiment("storage.inline_bytes", json!(0), observe::blob_files),
        experiment("storage.flush_interval_ms", json!(1), observe::on_disk_after_a_while)
            .given("storage.flush_interval_ms", json!(60_000)),
        experiment("metadata.backend", json!("memory"), observe::place),
        experiment("metadata.database_url", json!("{dir}/elsewhere.db"), observe::place_of_rows)
            .given("metadata.backend", json!("sqlite")),
        experiment("metadata.connection_url", json!("server://elsewhere"), observe::address_that_a_backend_gets)
            .given("metadata.backend", json!(observe::told_its_address())),
        experiment("metadata.second_process", json!("refuse"), observe::as_second_process),
        experiment("metadata.store_cache_key_params", json!(false), observe::key_params),
        experiment("metadata.verify_cache_integrity", json!(false), observe::a_damaged_value)
            .given("durability", json!("immediate")),
        experiment("metadata.page_cache_mb", json!(64), observe::bytes_read_again)
            .given("metadata.page_cache_mb", json!(16))
            .given("metadata.enable_memory_cache", json!(false)),
        experiment("metadata.enable_memory_cache", json!(false), observe::in_memory_again),
        experiment("metadata.memory_cache_type", json!("fifo"), observe::in_memory_again)
            .given("metadata.memory_cache_type", json!("lru"))
            .given("metadata.memory_cache_maxsize", json!(10)),
        experiment("metadata.memory_cache_maxsize", json!(5), observe::in_memory_again),
        experiment("metadata.memory_cache_max_mb", json!(1), observe::in_memory_again),
        experiment("metadata.memory_cache_ttl_seconds", json!(1e-6), observe::in_memory_again),
        experiment("metadata.memory_cache_stats", json!(false), observe::told_of_memory),
        experiment("blob.backend", json!("filesystem"), observe::blob_files).given("metadata.backend", json!("memory")),
        on_a_server(experiment("local.dir", json!("{dir}/near"), observe::copies_here)),
        on_a_server(experiment("local.max_size_mb", json!(1), observe::copies_here))
            .given("local.dir", json!("{dir}/near")),
        on_a_server(experiment("local.lease_ms", json!(3_600_000), observe::what_was_removed_elsewhere))
            .given("local.dir", json!("{dir}/near"))
            .given("local.lease_ms", json!(1)),
        experiment("compression.codec", json!("none"), observe::text_as_stored),
        experiment("compression.level", json!(19), observe::text_as_stored).given("compression.codec", json!("zstd")),
        experiment("compression.threshold_bytes", json!(1 << 30), observe::text_as_stored),
        experiment("compression.numbers_codec", json!("gzip"), observe::numbers_as_stored),
        experiment("compression.numbers_level", json!(19), observe::numbers_as_stored)
            .given("compression.numbers_codec", json!("zstd")),
        experiment("serialization.hash_path_content", json!(false), observe::a_changed_file_in_a_key),
        experiment("serialization.verify_paths", json!("always"), observe::reading_an_unchanged_file_again),
        experiment("serialization.max_collection_depth", json!(1), observe::a_nested_key),
        experiment("handlers.priority", json!(["messagepack"]), observe::what_writes),
        experiment("handlers.disabled", json!(["bincode"]), observe::what_writes),
        experiment("security.signing", json!(true), observe::signature),
        experiment("security.signing_key_file", json!("{dir}/other.key"), observe::keys_made)
            .given("security.signing", json!(true))
            .given("security.signing_key_file", json!("{dir}/one.key")),
        experiment("security.previous_key_files", json!(["{dir}/former.key"]), observe::what_a_former_key_signed)
            .given("security.signing", json!(true))
            .given("security.signing_key_file", json!("{dir}/signing.key")),
        experiment("security.unsigned_entries", json!("accept"), observe::what_nobody_signed)
            .given("security.signing", json!(true))
            .given("security.signing_key_file", json!("{dir}/signing.key")),
        experiment("security.invalid_entries", json!("remove"), observe::entries_that_are_not_believed)
            .given("security.signing", json!(true))
            .given("security.signing_key_file", json!("{dir}/signing.key")),
        experiment("durability", json!("immediate"), observe::on_disk_at_once)
            .given("storage.flush_interval_ms", json!(60_000)),
        experiment("limits.max_key_bytes", json!(10), observe::a_long_key),
        experiment("limits.max_value_bytes", json!(10), observe::a_long_value),
        experiment("limits.max_header_bytes", json!(10), observe::a_long_description),
        experiment("single_flight", json!("global"), observe::leases_while_a_body_runs),
        experiment("single_flight_wait_ms", json!(1), observe::runs_of_a_body_that_waits_for_its_waiter)
            .given("single_flight_wait_ms", json!(60_000)),
        experiment("default_ttl_seconds", json!(60), observe::time_to_live),
    ]
}

/// What needs crates that these tests are not compiled with. The suite `frames` shows it: `every_compression_of_parquet_is_read_by_others`,
/// `arrays_are_compressed_by_the_codec_and_level_of_the_configuration`.
const SHOWN_BY_FRAMES: [&str; 3] =
    ["compression.arrays_codec", "compression.arrays_level", "compression.parquet_compression"];

#[test]
fn every_field_changes_something_that_can_be_observed() {
    let experiments = experiments();
    let mut fields: Vec<_> = leaves(&CacheConfig::default()).into_iter().map(|(field, _)| field).collect();
    fields.retain(|field| !SHOWN_BY_FRAMES.contains(&field.as_str()));
    for field in &fields {
        let count = experiments.iter().filter(|experiment| experiment.field == field).count();
        assert_eq!(count, 1, "experiments that show what {field} does");
    }
    assert_eq!(experiments.len(), fields.len(), "there is an experiment on a field that is gone");
    for experiment in experiments {
        let field = experiment.field;
        let (before, again, after) = (experiment.run(false), experiment.run(false), experiment.run(true));
        if before == observe::UNKNOWN {
            cacheness_tests::skip(&format!("what {field} does cannot be observed on this system"));
            continue;
        }
        assert_eq!(before, again, "the experiment on {field} depends on something else");
        assert_ne!(before, after, "{field} changes nothing");
        println!("{field}: {before} -> {after}");
    }
}
