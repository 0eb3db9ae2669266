//! What the benches share.

#![allow(dead_code, reason = "each bench uses its part of this")]

pub(crate) mod bars;
pub(crate) mod chance;
pub(crate) mod gateway;
pub(crate) mod jobs;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod peers;
pub(crate) mod presses;
pub(crate) mod report;
pub(crate) mod signal;
pub(crate) mod spandsp;
pub(crate) mod tones;
