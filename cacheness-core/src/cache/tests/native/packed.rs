//! Values that take more memory than their files, and plans.

use std::cell::Cell;

use super::*;

thread_local! {
    static READS: Cell<u32> = const { Cell::new(0) };
}

/// A value that takes so much memory and has as many bytes as it likes in its file; or a plan, by which it is made when it is
/// written.
#[derive(Clone, Debug, PartialEq)]
struct Packed<const IS_PLAN: bool> {
    size: u64,
    bytes: Vec<u8>,
}

impl<const IS_PLAN: bool> Sealed for Packed<IS_PLAN> {}

impl<const IS_PLAN: bool> Native for Packed<IS_PLAN> {
    const FORMATS: &'static [NativeFormat] = &[NativeFormat::Parquet];
    const IS_PLAN: bool = IS_PLAN;

    fn size(&self) -> u64 {
        self.size
    }

    fn write(&self, _: NativeOptions, to: &mut (dyn Write + Send)) -> Result<(), HandlerError> {
        to.write_all(&self.size.to_le_bytes())?;
        Ok(to.write_all(&self.bytes)?)
    }

    fn read(_: NativeFormat, mut from: Source, _: u64) -> Result<Self, HandlerError> {
        READS.set(READS.get() + 1);
        let (mut size, mut bytes) = ([0; 8], Vec::new());
        from.read_exact(&mut size)?;
        from.read_to_end(&mut bytes)?;
        Ok(Self { size: u64::from_le_bytes(size), bytes })
    }
}

fn packed(bytes: usize) -> Packed<false> {
    Packed { size: 12 << 20, bytes: noise(bytes).0 }
}

#[test]
fn a_value_that_is_large_in_memory_and_small_in_its_file_comes_back_copied_moved_and_reopened() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let on_disk = || config(dir.path()).with_memory_cache(false);
    let target = Cache::new(config(other.path()).with_memory_cache(false)).unwrap();
    for bytes in [0, 10, 5000, 100_000, 200_000] {
        for config in [on_disk(), CacheConfig::in_memory().with_memory_cache(false)] {
            let cache = Cache::new(config).unwrap();
            cache.put_native("k", &packed(bytes)).unwrap();
            assert_eq!(cache.get_native("k").unwrap(), Some(packed(bytes)), "{bytes} bytes");
            assert!(cache.copy("k", "copy").unwrap());
            assert_eq!(cache.get_native("copy").unwrap(), Some(packed(bytes)));
            migrate_cache(&cache, &target).unwrap();
            assert_eq!(target.get_native("copy").unwrap(), Some(packed(bytes)));
        }
        let cache = Cache::new(on_disk()).unwrap();
        assert_eq!(cache.get_native("k").unwrap(), Some(packed(bytes)), "{bytes} bytes");
        assert_eq!(fs::read(cache.open_file("k").unwrap().unwrap()).unwrap()[8..], packed(bytes).bytes);
    }
}

#[test]
fn a_value_that_was_read_weighs_in_memory_what_it_takes_there() {
    let dir = tempfile::tempdir().unwrap();
    for (megabytes, reads) in [(1000, 1), (1, 2)] {
        let cache = Cache::new(config(dir.path()).with_memory_cache_mb(megabytes)).unwrap();
        cache.put_native("k", &packed(100)).unwrap();
        READS.set(0);
        (0..2).for_each(|_| assert_eq!(cache.get_native("k").unwrap(), Some(packed(100))));
        assert_eq!(READS.get(), reads, "{megabytes} MB");
    }
}

#[test]
fn a_plan_does_not_stay_in_memory_in_the_place_of_what_came_of_it() {
    let cache = Cache::in_memory();
    for key in ["put", "put again"] {
        cache.put_native(key, &Packed::<true> { size: 1, bytes: vec![1] }).unwrap();
        READS.set(0);
        (0..2).for_each(|_| assert!(cache.get_native::<Packed<true>>(key).unwrap().is_some()));
        assert_eq!(READS.get(), 2);
    }
}
