//! Session descriptions: what an end says of its media, and the same description with the gateway
//! in its place.
//!
//! The first audio line is relayed; every other line is refused with port 0, because what is not
//! masked must not pass. Codecs that cannot be masked are stripped, unless nothing would be left or the
//! operator wants them. What nobody asked to change leaves as it came.

mod codecs;
mod describe;
mod lines;
mod rewrite;

pub use codecs::CodecName;
pub use describe::{Audio, Description, Direction, SdpError};
pub use lines::Origin;
pub use rewrite::Rewrite;

#[cfg(test)]
mod tests;
