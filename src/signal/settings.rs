//! What the registry of calls is told once.

use std::time::Duration;

use crate::proto::{
    call::SourcePolicy,
    id::{Node, Tenant},
    ng::CallerSide,
    shadow::TrunkName,
};

/// What the registry is told once.
#[derive(Debug, Clone)]
pub struct CallSettings {
    /// Whose calls these are.
    pub tenant: Tenant,
    /// Which gateway of a fleet this is.
    pub node: Node,
    /// Which end is the customer unless an offer says (`tonewall-caller`).
    pub caller: CallerSide,
    /// Whether codecs that cannot be masked are kept from both ends, where there are others.
    pub maskable_only: bool,
    /// From where media is taken.
    pub source: SourcePolicy,
    /// Most calls at a time.
    pub max_calls: usize,
    /// A call without a packet for so long was never deleted and is ended.
    pub idle_timeout: Duration,
    /// How long a deleted call is remembered for a repeated `delete` or `query`.
    pub linger: Duration,
    /// How long the media plane may take to arm.
    pub arm_timeout: Duration,
    /// Whether shadow mode listens to calls, and to which.
    pub shadow: ShadowScope,
}

/// The calls that shadow mode listens to, while they are not armed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ShadowScope {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// Those of these trunks.
    Trunks(Vec<TrunkName>),
}

impl ShadowScope {
    pub(super) fn includes(&self, trunk: &TrunkName) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Trunks(trunks) => trunks.contains(trunk),
        }
    }
}

impl CallSettings {
    /// The customer calls in, codecs can be masked, media is taken from where SDP says only, 10 minutes, 30 s, 250 ms.
    #[must_use]
    pub const fn new(tenant: Tenant, node: Node, max_calls: usize) -> Self {
        Self {
            tenant,
            node,
            caller: CallerSide::Offerer,
            maskable_only: true,
            source: SourcePolicy::Exact,
            max_calls,
            idle_timeout: Duration::from_mins(10),
            linger: Duration::from_secs(30),
            arm_timeout: Duration::from_millis(250),
            shadow: ShadowScope::Off,
        }
    }
}
