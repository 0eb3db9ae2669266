//! What a call is told and what it tells. All plain values, but for the slots and handles of
//! secret memory, which stay between the media plane and the card plane.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::trigger::Dialled;
use crate::proto::{
    capture::{CaptureEvent, CaptureSettings},
    card::CapturedField,
    encoding::Encoding,
    field::Field,
    id::PaymentId,
    leg::Leg,
    mask::Guard,
    proof::MaskingProof,
    secret::KeySlot,
    shadow::Tally,
};

/// Who keeps a call armed. Each releases only its own hold; the call is armed while any holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// A payment, from its acknowledged creation to its last outcome.
    Payment(PaymentId),
    /// `block DTMF` by the NG protocol.
    Ng,
    /// A crash or take-over while this call was armed: held until the call ends.
    Recovered,
}

/// What signalling agreed for one leg. Replaced as a whole by every offer and answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegMedia {
    /// Where this leg wants its RTP, and the only address that its RTP is taken from.
    pub rtp: SocketAddr,
    /// Where this leg wants its RTCP: `rtp` itself with rtcp-mux (RFC 5761).
    pub rtcp: SocketAddr,
    /// Whether a restricted latch may replace the signalled port (NAT).
    pub source: SourcePolicy,
    /// Payload types that this leg's SDP names.
    pub payload_types: Vec<(u8, Encoding)>,
    /// Packet time of this leg, 10 to 60 ms; 20 where the SDP is silent.
    pub packet_time: Duration,
}

/// From where a leg's media is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourcePolicy {
    /// Only from the address and port that signalling named.
    Exact,
    /// For NAT: from the IP address that signalling named (or that the signalling came from), any
    /// port, after three consecutive packets of one SSRC and no competing source; then pinned.
    RestrictedLatch,
}

/// A command to a call.
pub enum Command {
    /// Signalling agreed on this leg's media.
    SetLeg(Leg, LegMedia),
    /// Which leg is the caller's is not known: mask both ways while the call is armed.
    MaskBoth,
    /// Arm for this holder. Answered by [`Output::Armed`] or [`Output::ArmRefused`].
    Arm(Holder),
    /// This holder needs it no longer.
    Release(Holder),
    /// Open a field; the slot takes the keys.
    OpenCapture {
        /// For which payment; it must hold the call armed.
        payment: PaymentId,
        /// Which field.
        field: Field,
        /// Whose keys. The agent's leg only where both are masked.
        from: Leg,
        /// Keys and time-outs.
        settings: CaptureSettings,
        /// Where the keys go.
        slot: KeySlot,
    },
    /// Close the payment's open field, if any.
    CloseCapture(PaymentId),
    /// Count what would be heard while it is not armed. Answered by [`Output::Shadowed`] in the end.
    Shadow,
    /// The call has ended.
    HangUp,
}

/// What a call tells; drained with `poll_output` after every input.
pub enum Output {
    /// The whole chain is in place: nothing that tells a key leaves towards the agent from here on.
    Armed(Holder),
    /// The call cannot be masked; it stays as it was.
    ArmRefused(Holder, ArmRefusal),
    /// The last holder is gone, no key is down and 300 ms have passed.
    Disarmed,
    /// Something happened to a field.
    Capture(CaptureEvent),
    /// A complete field, for the card plane.
    Captured(PaymentId, CapturedField),
    /// The output check heard a tone: the leg is muted for good (PCI DSS 10.7.2).
    Incident,
    /// The line is too noisy for what stood between caller and agent: this does, until the release.
    Tightened(Guard),
    /// Two sources competed for being this leg when it began. Of a caller's no field is taken, until
    /// signalling names another place: whoever keys it may be somebody else.
    Contested(Leg),
    /// The agent has dialled the code that starts a payment.
    Dialled(Dialled),
    /// What shadow mode heard, where it was asked for and audio came. Before [`Output::Ended`].
    Shadowed(Box<Tally>),
    /// Last output of a call that hung up.
    Ended(MaskingProof),
}

/// Why a call cannot be armed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum ArmRefusal {
    /// No codec of the caller's leg can be decoded and masked.
    #[error(
        "the caller's codec cannot be masked; offer PCMU, PCMA, G722, opus or G729 on this call"
    )]
    Codec,
    /// Signalling has not yet named both ends.
    #[error("the call has no answer yet; arm it when both ends have agreed on media")]
    NotAnswered,
    /// The leg was muted by an incident.
    #[error("the output check heard a tone on this call; end the call and read the incident")]
    Incident,
    /// The media plane does not know the call.
    #[error("the call has ended")]
    Gone,
    /// The media plane did not answer within 250 ms.
    #[error("the media plane did not confirm within 250 ms; try again")]
    TimedOut,
}
