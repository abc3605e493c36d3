//! A cache under measurement: small values with a little metadata, keys in no order.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cacheness::{Cache, CacheConfig, PutOptions};
use cacheness_benches::Random;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Station {
    id: u64,
    name: String,
    height: f64,
}

pub(crate) struct Subject {
    pub(crate) size: usize,
    pub(crate) dir: PathBuf,
    page_cache_mb: Option<u64>,
    /// `None` while it is closed.
    open: Option<Cache>,
    random: Random,
    next_new: Cell<u64>,
}

impl Subject {
    /// A cache of `size` entries, put one by one and closed and opened once.
    pub(crate) fn fill(parent: &Path, size: usize, page_cache_mb: Option<u64>) -> Self {
        let dir = parent.join(size.to_string());
        let random = Random::new(size as u64);
        let mut subject = Self { size, dir, page_cache_mb, open: None, random, next_new: Cell::new(size as u64) };
        subject.open();
        let start = Instant::now();
        (0..size as u64).for_each(|id| subject.put(id));
        let each = start.elapsed() / u32::try_from(size).unwrap();
        println!("filled {size}: {:.1} us a put", each.as_secs_f64() * 1e6);
        subject
    }

    pub(crate) fn cache(&self) -> &Cache {
        self.open.as_ref().unwrap()
    }

    pub(crate) fn close(&mut self) {
        self.open.take().unwrap().close().unwrap();
    }

    pub(crate) fn open(&mut self) {
        self.open = Some(self.opened(&self.dir));
    }

    pub(crate) fn open_with_at_most(&mut self, megabytes: u64) {
        self.open = Some(Cache::new(self.config(&self.dir).with_max_size_mb(megabytes)).unwrap());
    }

    /// Another cache with this configuration.
    pub(crate) fn opened(&self, dir: &Path) -> Cache {
        Cache::new(self.config(dir)).unwrap()
    }

    fn config(&self, dir: &Path) -> CacheConfig {
        // It is the index that grows; values in memory would hide it.
        let config = CacheConfig::new(dir).with_memory_cache(false);
        match self.page_cache_mb {
            Some(megabytes) => config.with_page_cache_mb(megabytes),
            None => config,
        }
    }

    fn put(&self, id: u64) {
        self.cache().put_with(key(id), &station(id), options()).unwrap();
    }

    pub(crate) fn put_over_a_random_one(&mut self) {
        let id = self.random.below(self.size as u64);
        self.put(id);
    }

    pub(crate) fn put_a_new_one(&self) {
        self.put(self.new_id());
    }

    pub(crate) fn put_a_short_lived_one(&self) {
        let (id, options) = (self.new_id(), options().ttl(Duration::from_millis(1)));
        self.cache().put_with(key(id), &station(id), options).unwrap();
    }

    fn new_id(&self) -> u64 {
        self.next_new.replace(self.next_new.get() + 1)
    }

    pub(crate) fn get_a_random_one(&mut self) {
        let id = self.random.below(self.size as u64);
        assert_eq!(self.cache().get::<Station>(key(id)).unwrap(), Some(station(id)));
    }

    pub(crate) fn miss(&mut self) {
        let id = u64::MAX - self.random.below(1 << 40);
        assert_eq!(self.cache().get::<Station>(key(id)).unwrap(), None);
    }

    /// Gets every entry that was put at the filling once, so that what can be in memory is.
    pub(crate) fn warm(&self) {
        for id in 0..self.size as u64 {
            assert!(self.cache().get::<Station>(key(id)).unwrap().is_some());
        }
    }
}

fn station(id: u64) -> Station {
    Station { id, name: format!("station number {id}"), height: id as f64 / 7.0 }
}

fn options() -> PutOptions {
    PutOptions::new().metadata("source", "survey")
}

pub(crate) fn key(id: u64) -> (&'static str, u64) {
    ("station", id)
}
