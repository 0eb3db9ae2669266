//! `[limits]`: how often cards may be tried.

use serde::Deserialize;

use crate::proto::payment::VelocityLimits;

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Charges that are tried on one call at most, over all its payments.
    pub attempts_per_call: u32,
    /// Charges that one API key, or whoever entered the panel by one link, may try within an hour; no bound
    /// unless named.
    pub attempts_per_key_hour: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts_per_call: 10,
            attempts_per_key_hour: None,
        }
    }
}

impl Limits {
    /// # Errors
    /// Which key, what was found and what was expected.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let nothing = |found: u32| {
            format!("found {found}; expected at least 1, for no card could be charged otherwise")
        };
        match (self.attempts_per_call, self.attempts_per_key_hour) {
            (0, _) => Err(("limits.attempts_per_call", nothing(0))),
            (_, Some(0)) => Err(("limits.attempts_per_key_hour", nothing(0))),
            _ => Ok(()),
        }
    }

    /// As payments go by it.
    #[must_use]
    pub const fn velocity(&self) -> VelocityLimits {
        VelocityLimits {
            per_call: Some(self.attempts_per_call),
            per_key_hour: self.attempts_per_key_hour,
        }
    }
}
