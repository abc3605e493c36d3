//! Where there are no sockets in directories, no process joins another one.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::wire::{Answer, Failure, Guests, NotConnected, Owner, Request};

#[derive(Debug)]
pub(crate) struct Server;

impl Server {
    pub(crate) fn start(_: &Path, _: Weak<dyn Owner>, _: Arc<Guests>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[derive(Debug)]
pub(super) struct Client;

impl Client {
    pub(super) fn connect(_: &Path) -> Result<Self, NotConnected> {
        Err(NotConnected::Refused("on this system no process can".to_owned()))
    }

    pub(super) fn ask(&self, _: &Request, _: Duration) -> Result<Answer, Failure> {
        Err(Failure::Gone)
    }
}
