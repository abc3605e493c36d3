//! Options of other caching crates, and how the same is written here.

const KEY: &str = "in cacheness this is written `key(..)`, with expressions of the arguments: `key(id, user.name)`";
const TTL: &str = "in cacheness this is written `ttl = 60`, `ttl = 1h` or `ttl = \"1h30m\"`";
const CACHE: &str = "in cacheness this is written `cache = CACHE`, with a cache opened elsewhere";
const SIZE: &str = "in cacheness the limit belongs to the cache and not to one function: set `max_cache_size_mb` in its \
                    configuration";
const ON_DISK: &str =
    "in cacheness results are on disk already: leave it out, or write `cache = CACHE` for another cache";
const ONE_RUN: &str = "in cacheness concurrent calls with one key run the body once: leave it out (`single_flight = false` \
                       ends that)";

/// Names as they are without case and underscores.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["convert", "keyfn", "keyby", "maker"], KEY),
    (&["result"], "in cacheness only `Ok` is stored: leave it out (`cache_err` stores `Err` too)"),
    (&["option"], "in cacheness only `Some` is stored: leave it out (`cache_none` stores `None` too)"),
    (&["syncwrites", "bykey", "synclock", "sync", "lock"], ONE_RUN),
    (&["size", "maxsize", "capacity", "maxcapacity", "maxentries", "limit"], SIZE),
    (&["unbound", "unbounded"], "in cacheness one limit holds for the whole cache: leave it out"),
    (
        &[
            "time",
            "expire",
            "expires",
            "expiry",
            "timetolive",
            "ttlmillis",
            "ttlms",
            "ttlsecs",
            "lifespan",
            "duration",
            "timeout",
        ],
        TTL,
    ),
    (
        &["timerefresh", "refresh", "timetoidle", "tti"],
        "in cacheness a hit does not prolong the life of a result: leave it out, or call `touch` of the cache",
    ),
    (&["ty", "create", "customhasher", "hasherinit", "store"], CACHE),
    (&["sharedcache", "threadlocal"], "in cacheness all threads share results: leave it out"),
    (&["name"], "in cacheness this is written `prefix = \"name\"`, or `cache = CACHE` for another cache"),
    (&["typed"], "in cacheness values of different types never share a key: leave it out"),
    (&["ignore", "exclude", "except", "skipargs"], "in cacheness this is written `skip(argument, ..)`"),
    (&["withcachedflag"], "in cacheness this is written `call = name`: the function `name` tells `is_cached`"),
    (&["disk", "redis", "diskdir", "dir", "directory", "path", "cachedir", "io"], ON_DISK),
    (
        &["maperror", "maperr"],
        "in cacheness this is written `ignore_errors = false`, with an error type that is `From<CacheError>`",
    ),
    (&["forcerefresh"], "in cacheness a call decides it: `cacheness::refresh(|| f(1))`"),
    (&["cacheif", "onlyif", "when", "filter"], "in cacheness this is written `condition = |result| ..`"),
    (&["resultfallback", "fallback", "stale"], "in cacheness this is written `stale_on_error`"),
    (&["invalidateon", "tag", "group"], "in cacheness this is written `tags(\"user:{id}\", ..)`"),
];

/// How an option of another crate is written here.
pub(super) fn here(name: &str) -> Option<&'static str> {
    let plain = name.to_lowercase().replace('_', "");
    OPTIONS.iter().find(|(names, _)| names.contains(&&*plain)).map(|(_, here)| *here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_crates_are_known_however_they_are_spelled() {
        for name in ["convert", "sync_writes", "SharedCache", "TimeToLive", "max_size", "maxsize", "with_cached_flag"] {
            assert!(here(name).is_some(), "{name}");
        }
        assert_eq!(here("ttl"), None);
    }

    #[test]
    fn no_option_of_this_crate_is_taken_for_a_foreign_one() {
        for name in crate::parse::option_names() {
            assert_eq!(here(name), None, "{name}");
        }
    }
}
