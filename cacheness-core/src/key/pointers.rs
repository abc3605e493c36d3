//! What points to a value is keyed as that value.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::{CacheKey, KeyWriter};

macro_rules! pointers {
    ($($pointer:ty),+ $(,)?) => {
        $(impl<T: CacheKey + ?Sized> CacheKey for $pointer {
            #[inline]
            fn may_panic(&self) -> bool {
                (**self).may_panic()
            }

            #[inline]
            fn encode(&self, writer: &mut KeyWriter) {
                (**self).encode(writer);
            }
        })+
    };
}

pointers!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

impl<T: CacheKey + ToOwned + ?Sized> CacheKey for Cow<'_, T> {
    fn encode(&self, writer: &mut KeyWriter) {
        (**self).encode(writer);
    }
}
