//! What the name of a type tells where nothing else of it is known: `Serialize` shows a map, but not whether the order of
//! its entries means something, and a text, but not whether it is a path.

/// Pointers and cells that serialise as what is in them.
const TRANSPARENT: [&str; 9] = [
    "alloc::boxed::Box<",
    "alloc::rc::Rc<",
    "alloc::sync::Arc<",
    "alloc::borrow::Cow<",
    "core::cell::Cell<",
    "core::cell::RefCell<",
    "core::cmp::Reverse<",
    "std::sync::poison::mutex::Mutex<",
    "std::sync::poison::rwlock::RwLock<",
];

/// Maps and sets that have no order, or that of their keys. Whatever is not named here may have been ordered by its owner.
const MAPS: [&str; 5] = [
    "std::collections::hash::map::HashMap<",
    "alloc::collections::btree::map::BTreeMap<",
    "hashbrown::map::HashMap<",
    "ahash::hash_map::AHashMap<",
    "dashmap::DashMap<",
];
const SETS: [&str; 5] = [
    "std::collections::hash::set::HashSet<",
    "alloc::collections::btree::set::BTreeSet<",
    "hashbrown::set::HashSet<",
    "ahash::hash_set::AHashSet<",
    "dashmap::set::DashSet<",
];

const PATHS: [&str; 4] = ["std::path::Path", "std::path::PathBuf", "camino::Utf8Path", "camino::Utf8PathBuf"];

/// Whether the order of a map's entries means nothing.
pub(super) fn is_unordered_map(name: &str) -> bool {
    let name = inside(name);
    MAPS.iter().any(|map| name.starts_with(map))
}

/// Whether the order of a sequence's elements means nothing.
pub(super) fn is_unordered_set(name: &str) -> bool {
    let name = inside(name);
    SETS.iter().any(|set| name.starts_with(set))
}

/// Whether the order of what is in it means nothing.
pub(crate) fn is_unordered(name: &str) -> bool {
    let name = inside(name);
    MAPS.iter().chain(&SETS).any(|of| name.starts_with(of))
}

/// Whether a text is a path.
pub(super) fn is_path(name: &str) -> bool {
    let name = name.trim_end_matches('>');
    // Asked of every text: most are none by their last letters.
    (name.ends_with("Path") || name.ends_with("PathBuf")) && PATHS.contains(&inside(name))
}

/// The name without the pointers around it.
fn inside(mut name: &str) -> &str {
    loop {
        let rest = name.strip_prefix('&').or_else(|| TRANSPARENT.iter().find_map(|around| name.strip_prefix(around)));
        let Some(rest) = rest else { return name };
        let rest = rest.strip_prefix("'_ ").or_else(|| rest.strip_prefix("'_, ")).unwrap_or(rest);
        name = rest.strip_prefix("mut ").unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::any::type_name;
    use std::borrow::Cow;
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
    use std::path::{Path, PathBuf};
    use std::rc::Rc;
    use std::sync::{Arc, Mutex, RwLock};

    use super::*;

    #[test]
    fn the_types_of_the_standard_library_are_known_by_their_names() {
        for name in [
            type_name::<Path>(),
            type_name::<&Path>(),
            type_name::<PathBuf>(),
            type_name::<&mut PathBuf>(),
            type_name::<Box<Path>>(),
            type_name::<Rc<Path>>(),
            type_name::<&Arc<Box<Path>>>(),
            type_name::<Cow<'static, Path>>(),
            type_name::<Cow<'static, PathBuf>>(),
            type_name::<RefCell<PathBuf>>(),
            type_name::<Mutex<PathBuf>>(),
            type_name::<RwLock<PathBuf>>(),
        ] {
            assert!(is_path(name), "{name}");
        }
        for name in
            [type_name::<HashMap<u8, u8>>(), type_name::<&BTreeMap<u8, u8>>(), type_name::<Cow<'_, HashMap<u8, u8>>>()]
        {
            assert!(is_unordered_map(name) && !is_unordered_set(name) && is_unordered(name), "{name}");
        }
        for name in [type_name::<HashSet<u8>>(), type_name::<&mut BTreeSet<u8>>(), type_name::<Arc<HashSet<u8>>>()] {
            assert!(is_unordered_set(name) && !is_unordered_map(name) && is_unordered(name), "{name}");
        }
    }

    #[test]
    fn other_types_are_not_taken_for_them() {
        mod path {
            pub(super) struct Path;
            pub(super) struct HashMap;
        }
        for name in [
            type_name::<str>(),
            type_name::<path::Path>(),
            type_name::<path::HashMap>(),
            type_name::<Option<PathBuf>>(),
            type_name::<Vec<PathBuf>>(),
            type_name::<Vec<HashMap<u8, u8>>>(),
            type_name::<VecDeque<HashSet<u8>>>(),
        ] {
            assert!(!is_path(name) && !is_unordered_map(name) && !is_unordered_set(name), "{name}");
        }
    }
}
