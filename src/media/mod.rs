//! The media plane: a few worker threads, each the sole owner of its calls.

mod arrival;
mod counters;
mod counts;
mod doorbell;
mod leg;
mod pace;
mod plane;
pub mod ports;
mod sockets;
pub mod voice;
mod wire;
mod worker;

use std::{net::UdpSocket, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use counters::{Counted, Refusals};
pub use plane::MediaPlane;

use crate::proto::{
    call::{AgentCode, ArmRefusal, Dialled, Holder, LegMedia, Voice},
    capture::{CaptureEvent, CaptureSettings},
    card::CapturedField,
    field::Field,
    id::{CallId, PaymentId},
    leg::Leg,
    link::SpokenCode,
    mask::{Guard, Masking},
    proof::MaskingProof,
    rtp::Reception,
    secret::KeySlot,
    shadow::{Tally, TrunkName},
};

/// Hands out slots of secret memory; `None` when all are taken.
pub trait SlotSource: Send + Sync {
    /// A wiped slot.
    fn acquire(&self) -> Option<KeySlot>;
}

/// Takes complete fields to the card plane without waiting.
pub trait CardSink: Send + Sync {
    /// Keeps `field` for `payment`, replacing an earlier one of its kind; gives it back (and so
    /// has it wiped) when the card plane's queue is full.
    fn store(&self, payment: &PaymentId, field: CapturedField) -> Result<(), CardPlaneBusy>;
    /// Wipes all that is held for `payment`, unless a charge is on its way.
    fn wipe(&self, payment: &PaymentId);
}

/// The card plane's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the card plane is busy; ask for the field again")]
pub struct CardPlaneBusy;

/// What the media plane is told once.
#[derive(Clone, Default)]
pub struct MediaSettings {
    /// Worker threads; at least one.
    pub workers: usize,
    /// The CPUs that they run on, in turns; where there are none, wherever the system puts them.
    pub cpus: Vec<usize>,
    /// Whether to measure how long packets wait before they are taken.
    pub measure_wait: bool,
    /// How long a busy worker may nap so that more packets wait for each wake-up; zero: never.
    pub nap: Duration,
    /// How armed calls are masked.
    pub masking: Masking,
    /// What an agent may dial to start a payment, where calls are told to await it.
    pub key_code: Option<Arc<AgentCode>>,
    /// Whether all calls await it from their beginning.
    pub awaits_code: bool,
    /// Who reads codes out; the voice that is built in where none.
    pub voice: Option<Arc<Voice>>,
}

/// A command to the call's worker; plain values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaCommand {
    /// Signalling agreed on a leg's media.
    SetLeg(Leg, LegMedia),
    /// Which leg is the caller's is not known: mask both ways while the call is armed.
    MaskBoth,
    /// Arm for a holder; answered by [`MediaEventKind::Armed`] or [`MediaEventKind::ArmRefused`].
    Arm(Holder),
    /// Release a holder.
    Release(Holder),
    /// Open a field.
    OpenCapture {
        /// For which payment.
        payment: PaymentId,
        /// Which field.
        field: Field,
        /// Whose keys; the agent's leg only where both are masked.
        from: Leg,
        /// Keys and time-outs.
        settings: CaptureSettings,
    },
    /// Close the payment's open field.
    CloseCapture(PaymentId),
    /// Keep what comes from this leg from the other one, or let it pass again. Keys are heard, and what
    /// is armed stays so, all the same.
    Block(Leg, bool),
    /// Let the other leg hear silence in place of what comes from this one, or the thing itself again:
    /// codewords of silence in G.711, nothing in any other codec. Events pass while nothing is armed;
    /// while it is, this is as [`Self::Block`].
    Silence(Leg, bool),
    /// Listen for the code that an agent dials to start a payment, or no longer; answered by
    /// [`MediaEventKind::Dialled`]. Keys that may be the code's stay here until it is known, but for
    /// tones and what else cannot be kept back.
    AwaitCode(bool),
    /// Read this code out to the agent, in place of what the caller says; twice, in some 6 s. Nothing of it
    /// is told: who hears it types it.
    ReadOut(SpokenCode),
    /// Count what would be heard on the call while it is not armed, for this trunk; answered by
    /// [`MediaEventKind::Shadowed`] in the end.
    Shadow(TrunkName),
    /// The call has ended; answered by [`MediaEventKind::Ended`].
    HangUp,
}

/// What the media plane tells; plain values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaEvent {
    /// Which call.
    pub call: CallId,
    /// What happened.
    pub kind: MediaEventKind,
}

/// What happened on a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaEventKind {
    /// Masking is in place for this holder.
    Armed(Holder),
    /// It cannot be.
    ArmRefused(Holder, ArmRefusal),
    /// The call is unarmed again.
    Disarmed,
    /// Something happened to a field. `Complete` comes after the card plane has the field.
    Capture(CaptureEvent),
    /// The output check heard a tone; the leg is muted.
    Incident,
    /// The caller's line is too noisy for what stood between caller and agent: this does, until the
    /// release.
    Tightened(Guard),
    /// Two sources competed for being this leg when it began; of a caller's no field is taken.
    Contested(Leg),
    /// The agent has dialled the code that starts a payment.
    Dialled(Dialled),
    /// What shadow mode heard on the call, for its trunk; just before `Ended`.
    Shadowed(TrunkName, Box<Tally>),
    /// The call is gone.
    Ended(MaskingProof),
}

/// The two sockets of one leg: RTP on an even port, RTCP on the next.
pub struct LegSockets {
    /// RTP (and RTCP with rtcp-mux).
    pub rtp: UdpSocket,
    /// RTCP.
    pub rtcp: UdpSocket,
}

/// Packets of one leg, for `query` and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegStats {
    /// RTP packets taken from this leg.
    pub packets: u64,
    /// Their bytes, UDP payload.
    pub bytes: u64,
    /// Packets from it that were refused: wrong source, malformed.
    pub errors: u64,
    /// RTCP packets taken from this leg.
    pub rtcp_packets: u64,
    /// Their bytes.
    pub rtcp_bytes: u64,
    /// What its receiver could tell of the stream.
    pub reception: Reception,
}

/// Statistics of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStats {
    /// The caller's leg.
    pub caller: LegStats,
    /// The agent's leg.
    pub agent: LegStats,
    /// Seconds since the last packet of either leg.
    pub idle_seconds: u64,
    /// Whether the call is armed now.
    pub armed: bool,
}

/// Why the media plane does not take a call or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The worker's command queue is full.
    #[error("the media worker's queue is full; try again or use another node")]
    Overloaded,
    /// No such call.
    #[error("the media plane does not have this call")]
    UnknownCall,
}
