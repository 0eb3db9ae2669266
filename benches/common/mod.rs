//! What the benches share.

#![allow(dead_code, reason = "each bench uses its part of this")]

pub(crate) mod gateway;
pub(crate) mod jobs;
pub(crate) mod options;
pub(crate) mod peers;
pub(crate) mod report;
pub(crate) mod signal;
pub(crate) mod spandsp;
pub(crate) mod tones;
