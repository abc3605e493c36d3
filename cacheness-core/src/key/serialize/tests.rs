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
