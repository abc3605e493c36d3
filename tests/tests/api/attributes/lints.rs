//! Lints stay quiet, and attributes stay on the function.

#[rustfmt::skip] // Braces on one line are what some lints look for.
#[deny(warnings, missing_docs, unused, unreachable_code, unused_mut, unused_qualifications)]
#[deny(clippy::all, clippy::pedantic)]
/// A crate that denies much.
pub(crate) mod strict {
    use cacheness::{cache_if, cached};

    /// Documented.
    #[cached(ttl = 60, call = documented_call, metadata(n = n), include_defaults = false)]
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn documented(n: u32, text: &str) -> String {
        format!("{n}{text}")
    }

    /// Documented.
    #[cached(skip(_unused), ttl = std::time::Duration::from_secs(u64::from(n)))]
    #[deprecated(note = "to see that it stays")]
    pub async fn later(n: u32, mut list: Vec<u32>, _unused: u8) -> Vec<u32> {
        list.push(n);
        std::future::ready(list).await
    }

    /// Documented.
    ///
    /// # Errors
    /// Never.
    #[cache_if(|n| matches!(n, Ok(1..)), prefix = "p")]
    pub fn result((a, b): (u32, u32), _: u8) -> Result<u32, std::num::ParseIntError> {
        let c: u32 = "3".parse()?;
        if a > b {
            return Ok(c);
        }
        Ok(a + b)
    }

    /// Documented.
    #[cached]
    pub async fn on_one_line() -> u32 { 1 }

    /// Documented.
    #[cached(metadata(n = 1))]
    #[must_use]
    pub fn sync_on_one_line() -> u32 { 1 }

    /// Documented.
    #[derive(Debug, Clone, Copy, serde::Serialize)]
    pub struct Type(pub u32);

    impl Type {
        /// Documented.
        #[cached]
        #[must_use]
        pub fn get(self, #[cfg(any())] _absent: u8) -> u32 {
            self.0
        }

        #[cfg(any())]
        #[cached]
        pub fn absent(self) -> NoSuchType {}
    }
}

#[test]
#[allow(deprecated)]
fn a_crate_that_denies_warnings_compiles_and_caches() {
    super::in_memory_by_default();
    assert_eq!([strict::documented(1, "a"), strict::documented(1, "a")], ["1a", "1a"]);
    assert_eq!(cacheness::function(strict::documented).info().unwrap().hits, 1);
    assert_eq!(super::block_on(strict::later(1, vec![2], 3)), [2, 1]);
    assert_eq!(strict::result((1, 2), 3), Ok(3));
    assert!(strict::documented_call(1, "a").is_cached().unwrap());
    assert_eq!((super::block_on(strict::on_one_line()), strict::sync_on_one_line()), (1, 1));
    assert_eq!(strict::Type(3).get(), 3);
}
