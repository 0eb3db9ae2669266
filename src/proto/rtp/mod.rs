//! RTP as the media path needs it: validated reads, edits in place, RTCP translated.

mod event;
mod packet;
mod reception;
mod red;
pub mod rtcp;
mod timeline;
mod tone;

pub use event::{EVENT_BYTES, NamedEvent, NamedEvents};
pub use packet::{Kind, RtpError, RtpHeader, kind_of, shift, write_header};
pub use reception::Reception;
#[cfg(test)]
pub(crate) use red::write_red;
pub use red::{Red, RedBlock, RedError};
pub use timeline::{ExtendedSequence, difference};
pub use tone::{ToneDescription, ToneError};

/// Bytes of an RTP header without CSRC list and extension (RFC 3550 §5.1).
pub const HEADER_BYTES: usize = 12;
/// Largest datagram that is taken; RTP of a telephone call stays far below an Ethernet frame.
pub const MAX_DATAGRAM: usize = 1500;
