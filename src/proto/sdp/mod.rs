//! Session descriptions: what an end says of its media, and the same description with the gateway
//! in its place.
//!
//! The first audio line is relayed; every other line is refused with port 0, because what is not
//! masked must not pass. Codecs that cannot be masked are stripped, unless nothing would be left.

mod describe;
mod normalise;
mod rewrite;

pub use describe::{Audio, Description, Direction, SdpError};
pub use rewrite::Rewrite;

#[cfg(test)]
mod tests;
