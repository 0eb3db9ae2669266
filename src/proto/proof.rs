//! What the gateway can prove of one call.

use serde::{Deserialize, Serialize};

/// What the output check counted on one call, for the audit log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskingProof {
    /// Times the call was armed.
    pub armings: u32,
    /// Milliseconds armed.
    pub armed_ms: u64,
    /// Packets that left towards the agent while armed.
    pub packets_sent: u64,
    /// Of these, packets that the independent check listened to.
    pub packets_checked: u64,
    /// Of these, packets that carried the replacement.
    pub packets_masked: u64,
    /// Packets from the caller that were not understood and so became silence.
    pub packets_refused: u64,
    /// Keys heard while armed.
    pub keys_heard: u32,
    /// Tones that the check heard on what left: 0, or an incident.
    pub tones_leaked: u32,
}
