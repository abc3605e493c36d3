//! The attributes, as users write them. Every test counts the runs of a body or looks at what is stored, so that it fails
//! when an attribute does nothing.

mod runs;
mod functions;

pub(crate) use runs::Runs;
