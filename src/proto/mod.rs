//! Decides; everything beside it does.
//!
//! Nothing here awaits, opens a socket or a file, maps memory or reads a clock: bytes, commands,
//! [`time::Now`] and a random generator come in, things to do come out. `tests/tidy.rs` keeps it
//! so, and keeps each module naming lower floors only.

// Floor 0: values.
pub mod bits;
pub mod currency;
pub mod digit;
pub mod encoding;
pub mod field;
pub mod id;
pub mod leg;
pub mod party;
pub mod proof;
pub mod shadow;
pub mod time;
// Floor 1: what bytes and keys mean.
pub mod codec;
pub mod ng;
pub mod rtp;
pub mod sdp;
pub mod secret;
pub mod sip;
// Floor 2: mechanisms; they do not name each other.
pub mod audit;
pub mod card;
pub mod dtmf;
// Floor 3.
pub mod capture;
pub mod link;
pub mod mask;
pub mod payment;
// Floor 4.
pub mod call;
pub mod callback;
