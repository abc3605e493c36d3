use super::*;
use crate::clock::ManualClock;
use crate::config::CacheConfig;
use crate::engine::memory::CloneOps;
use crate::entry::sample;
use crate::index::{Payload, Watched};
use crate::key::ToKey;
use crate::security::Signing;

#[test]
fn what_an_index_has_lost_when_it_was_rebuilt_is_not_in_memory_any_more() {
    let (index, memory) =
        (Arc::new(Watched::new(|_| Ok(()))), Arc::new(Tier::new(CacheConfig::in_memory().memory().unwrap())));
    let coherent = Index::new(index.clone(), Arc::default(), Some(Arc::clone(&memory)));
    let (key, now) = ("one".to_key().unwrap(), Timestamp::from_micros(1));
    let entry = sample::entry("one");
    coherent.put(&entry.key, &Record::new(&entry, &Payload::Inline(&[7]), 1 << 16, Signing::off()).unwrap()).unwrap();
    let token = memory.insert_token(&key).unwrap();
    let live = |keeps: bool| {
        if keeps {
            memory.insert(&key, (token, CloneOps::cloned()), 7_u8, &entry.core, now, |_, _| ());
        }
        memory.get::<u8>(key.identity(), CloneOps::cloned(), None, &ManualClock::new(now))
    };
    assert_eq!(live(true), Some(7));
    index.lose(&entry.key).unwrap();
    assert!(coherent.scan(None, 9).unwrap().is_empty());
    assert_eq!(live(false), None, "whoever removes all that is listed has removed it");
    assert_eq!(live(true), None, "it was read before");
}
