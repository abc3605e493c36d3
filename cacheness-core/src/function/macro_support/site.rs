use std::time::Duration;

/// Which attribute it is: the address of a static beside it, which no other attribute of the program has.
pub type Place = &'static fn();

/// What an attribute says that is known when the program is compiled. Only what differs from the default is set.
#[derive(Clone, Debug)]
pub struct Site {
    pub(super) place: Place,
    pub(super) without_self: Option<WithoutSelf>,
    pub(super) ttl: Option<Duration>,
    pub(super) prefix: Option<&'static str>,
    pub(super) version: Option<&'static str>,
    pub(super) single_flight: bool,
}

/// What tells a function without a receiver from others of its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithoutSelf {
    /// Hash of the tokens of its signature and its body.
    pub(super) tokens: u64,
    /// The path of the module that it is in.
    pub(super) module: &'static str,
}

impl Site {
    /// An attribute without options.
    pub const fn at(place: Place) -> Self {
        Self { place, without_self: None, ttl: None, prefix: None, version: None, single_flight: true }
    }

    /// The function has no receiver: it may be nested in another, in one of several blocks.
    pub const fn without_self(self, tokens: u64, module: &'static str) -> Self {
        Self { without_self: Some(WithoutSelf { tokens, module }), ..self }
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
}
