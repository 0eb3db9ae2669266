//! What the benches of the ear share: signals, and spandsp beside it.

#![allow(dead_code, reason = "each bench uses its part of this")]

pub(crate) mod signal;
pub(crate) mod spandsp;
