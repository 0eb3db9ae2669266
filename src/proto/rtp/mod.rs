//! RTP as the media path needs it: validated reads, edits in place, RTCP translated.

mod event;
mod packet;
pub mod rtcp;
mod timeline;

pub use event::{NamedEvent, NamedEvents};
pub use packet::{Kind, RtpError, RtpHeader, kind_of, shift, write_header};
pub use timeline::{ExtendedSequence, difference};

/// Bytes of an RTP header without CSRC list and extension (RFC 3550 §5.1).
pub const HEADER_BYTES: usize = 12;
/// Largest datagram that is taken; RTP of a telephone call stays far below an Ethernet frame.
pub const MAX_DATAGRAM: usize = 1500;
