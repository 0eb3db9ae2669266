//! From `[callbacks]` to endpoints that can be used.

use crate::{
    callbacks::{Callbacks, OpenError, Patience},
    config::Config,
    proto::callback::Schedule,
};

/// Whether the files that the section names can be used: secrets and authorities.
///
/// # Errors
/// A sentence that names the endpoint, the file and what is wrong with it.
pub fn check_callbacks(config: &Config) -> Result<(), OpenError> {
    opened(config).map(|_| ())
}

pub(super) fn opened(config: &Config) -> Result<Callbacks, OpenError> {
    let endpoints = config.callbacks.endpoints();
    let (schedule, patience) = (Schedule::default(), Patience::default());
    Callbacks::open(&config.tenant, &endpoints, &schedule, patience)
}
