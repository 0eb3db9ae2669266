//! A real gateway process and real calls over loopback UDP, for tests of the whole.
#![allow(dead_code, unused_imports, reason = "each test uses its part")]

mod call;
mod gateway;
pub(crate) mod pay;

pub(crate) use call::{Ends, How, Key, call_sdp, play, play_of, play_with};
pub(crate) use gateway::{DIGEST_KEY, Gateway, Options, PATIENCE};

/// Valid test cards, by what the sandbox does with them.
pub(crate) const APPROVED: &str = "4242424242424242";
pub(crate) const DECLINED: &str = "4000000000000002";
pub(crate) const EXPIRY: &str = "1230";
pub(crate) const CODE: &str = "737";
