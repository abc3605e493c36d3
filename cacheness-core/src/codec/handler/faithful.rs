//! Types whose values bincode gives back whatever they are, known by the type alone: their code is that of std and serde.

use std::any::TypeId;
use std::sync::Arc;

/// Whether values of this type need no look: they are plain numbers and texts.
pub(super) fn is_faithful<T: 'static>() -> bool {
    let id = TypeId::of::<T>();
    macro_rules! any_of {
        ($($type:ty)*) => { false $(|| id == TypeId::of::<$type>())* };
    }
    macro_rules! any_around {
        ($($type:ty)*) => {
            any_of! { $($type Option<$type> Vec<$type> Box<[$type]> Arc<[$type]> Arc<Vec<$type>> Vec<Vec<$type>>)* }
        };
    }
    let alone = any_of!(() char Box<str> Arc<str> Arc<String> Option<Vec<u8>>);
    alone || any_around!(bool u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 String)
}
