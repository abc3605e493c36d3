//! Calls that are planned to fail.

use std::io;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With an error of this kind.
    Kind(io::ErrorKind),
    /// With this error number of the operating system.
    Errno(i32),
}

/// How often calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Only the chosen call.
    Once,
    /// The chosen call and all after it.
    Sticky,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    armed: Option<Armed>,
    struck: bool,
}

#[derive(Debug)]
struct Armed {
    calls_left: u64,
    fault: Fault,
    repeat: Repeat,
}

impl Plan {
    pub(super) fn arm(&mut self, calls_left: u64, fault: Fault, repeat: Repeat) {
        *self = Self { armed: Some(Armed { calls_left, fault, repeat }), struck: false };
    }

    pub(super) fn clear(&mut self) -> bool {
        std::mem::take(self).struck
    }

    /// Counts one call, and fails when its time has come.
    pub(super) fn strike(&mut self) -> io::Result<()> {
        let Some(armed) = &mut self.armed else { return Ok(()) };
        if armed.calls_left > 0 {
            armed.calls_left -= 1;
            return Ok(());
        }
        let fault = armed.fault;
        if armed.repeat == Repeat::Once {
            self.armed = None;
        }
        self.struck = true;
        Err(match fault {
            Fault::Kind(kind) => kind.into(),
            Fault::Errno(errno) => io::Error::from_raw_os_error(errno),
        })
    }
}
