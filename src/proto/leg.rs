//! The two legs of a call.

use serde::{Deserialize, Serialize};

/// One of the two ends that talk through the gateway.
///
/// The caller keys a card; the agent, and every recorder behind the agent, must not learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leg {
    /// The customer, who pays.
    Caller,
    /// The call centre's side: the agent and whatever records the agent.
    Agent,
}

impl Leg {
    /// The leg at the other end of the call.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Agent,
            Self::Agent => Self::Caller,
        }
    }

    /// Lower-case word used in logs, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
        }
    }
}
