//! Formats of your own: a [`Handler`] writes and reads the values of a type, [`ByFile`] does so by a library that only
//! knows paths. Types of serde need none.

pub use cacheness_core::{
    ByFile, FileHandler, Handler, HandlerError, HandlerInfo, Shareable, Storable, list_handlers, register_handler,
    unregister_handler,
};
