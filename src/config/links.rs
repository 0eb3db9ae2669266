//! `[links]`: how an agent's desktop finds its call.

use std::{path::PathBuf, sync::Arc};

use serde::Deserialize;

use crate::{media::voice, proto::call::Voice};

/// `[links]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Links {
    /// Whether every link needs the code that is read out, also where signalling names the agent and only
    /// one call fits.
    pub always_code: bool,
    /// A folder with the ten digits as somebody says them, `0.wav` to `9.wav`; English where not named.
    pub voice: Option<PathBuf>,
}

impl Links {
    /// The operator's own voice, if there is one.
    ///
    /// # Errors
    /// Which file it is about, what was found and what was expected.
    pub fn voice(&self) -> Result<Option<Arc<Voice>>, String> {
        let voice = self.voice.as_deref().map(voice::read).transpose();
        voice.map(|voice| voice.map(Arc::new))
    }
}
