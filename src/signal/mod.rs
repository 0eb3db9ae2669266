//! Signalling: the NG server, and the calls that it made.

mod arming;
mod calls;
mod commands;
mod descriptions;
mod ended;
mod interfaces;
mod networks;
pub mod ng;
mod parts;
mod payments;
mod record;
mod settings;
pub mod sip;
mod statistics;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use calls::Calls;
pub use interfaces::{Interface, Interfaces, NoInterface};
pub use networks::{NetworkError, Networks};
pub use parts::{ArmedStore, AuditSink, BoxFuture, Known, MediaPort, PaymentPort};
pub use settings::{CallSettings, ShadowScope};

use crate::proto::{id::CallId, party::AgentAddress};

/// A call as people and programs may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    /// Our id.
    pub id: CallId,
    /// The signalling's id (SIP Call-ID).
    pub signalling_id: String,
    /// Tag of the caller's leg.
    pub caller_tag: Option<String>,
    /// The agent's own address, where signalling told it.
    #[serde(default)]
    pub agent: Option<AgentAddress>,
    /// Tag of the agent's leg.
    pub agent_tag: Option<String>,
    /// Whether it is known which of the two tags is the caller's. Where it is not, both legs are masked,
    /// and a payment has to name the caller's.
    pub sides_known: bool,
    /// When the first offer came.
    pub started: jiff::Timestamp,
    /// Whether both ends have agreed on media.
    pub answered: bool,
    /// Whether a payment can be taken on it: why not, if not.
    pub refusal: Option<String>,
    /// Whether the call is armed now.
    pub armed: bool,
}

/// That a call began or ended, for whoever subscribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallChange {
    /// Its first offer came.
    Started(Arc<CallView>),
    /// It was answered, or somebody else is at the agent's end.
    Changed(Arc<CallView>),
    /// It was deleted, timed out or lost; as it last was.
    Ended(Arc<CallView>),
}

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;
