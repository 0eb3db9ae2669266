//! What the benches of the ear share.

#![allow(dead_code, reason = "each bench uses its part of this")]

pub(crate) mod signal;
