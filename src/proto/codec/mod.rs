//! Codecs that can be masked: G.711 (ITU-T G.711, RFC 3551 §4.5.14), both laws.
//!
//! Deliberately absent: codecs with memory. Masking one means decoding and encoding anew, and that
//! is a mechanism, not a table.

mod g711;

pub use g711::Law;
