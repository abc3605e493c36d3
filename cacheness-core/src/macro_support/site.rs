use std::time::Duration;

/// What an attribute says that is known when the program is compiled. Only what differs from the default is set.
#[derive(Clone, Debug)]
pub struct Site {
    pub(super) ttl: Option<Duration>,
    pub(super) prefix: Option<&'static str>,
    pub(super) version: Option<&'static str>,
    pub(super) single_flight: bool,
    #[allow(dead_code, reason = "read once the memory tier takes part in calls")]
    pub(super) memory: bool,
}

impl Site {
    /// An attribute without options.
    #[allow(clippy::new_without_default, reason = "only expansions make one, in a constant")]
    pub const fn new() -> Self {
        Self { ttl: None, prefix: None, version: None, single_flight: true, memory: true }
    }

    /// How long results live.
    pub const fn ttl_micros(self, micros: u64) -> Self {
        Self { ttl: Some(Duration::from_micros(micros)), ..self }
    }

    /// The namespace of the results.
    pub const fn prefix(self, prefix: &'static str) -> Self {
        Self { prefix: Some(prefix), ..self }
    }

    /// The version of the body.
    pub const fn version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Every concurrent caller runs the body.
    pub const fn crowded(self) -> Self {
        Self { single_flight: false, ..self }
    }

    /// Results stay out of the memory tier.
    pub const fn off_memory(self) -> Self {
        Self { memory: false, ..self }
    }
}
