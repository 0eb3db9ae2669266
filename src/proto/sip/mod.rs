//! What of SIP tells a key: the bodies of INFO requests.
//!
//! Deliberately absent: signalling itself. Whoever receives an INFO hands its body here before
//! anything else reads it.

mod info;

pub use info::{InfoError, read_key};
