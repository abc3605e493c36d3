//! Handlers of a cache. Nothing here waits for a file, so nothing is a future.

use super::AsyncCache;
#[cfg(doc)]
use crate::cache::Cache;
use crate::codec::handler::{Handler, HandlerInfo};
use crate::error::Result;

/// Handlers: what writes and reads the values of a type.
impl AsyncCache {
    /// As [`Cache::register_handler`].
    ///
    /// # Errors
    /// As [`Cache::register_handler`].
    pub fn register_handler<H: Handler + 'static>(&self, handler: H, priority: i32) -> Result<()> {
        self.0.register_handler(handler, priority)
    }

    /// As [`Cache::unregister_handler`].
    ///
    /// # Errors
    /// As [`Cache::unregister_handler`].
    pub fn unregister_handler(&self, name: &str) -> Result<bool> {
        self.0.unregister_handler(name)
    }

    /// As [`Cache::list_handlers`].
    ///
    /// # Errors
    /// As [`Cache::list_handlers`].
    pub fn list_handlers(&self) -> Result<Vec<HandlerInfo>> {
        self.0.list_handlers()
    }
}
