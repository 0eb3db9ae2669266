//! What the benches of the ear share: options, signals, the ear itself, and spandsp beside it.

#![allow(dead_code, reason = "each bench uses its part of this")]

pub(crate) mod options;
pub(crate) mod signal;
pub(crate) mod spandsp;
