//! SIP, as far as it is decided without a socket: strict framing, the keys in INFO bodies, dialogs,
//! what of a header passes, session timers, limits.
//!
//! Deliberately absent: transactions and their timers, which are the stack's.

mod dialog;
mod head;
mod header;
mod info;
mod limit;
mod session_timer;

pub use dialog::{Dialog, DialogError, Home, at_host, bare_response, cancel, number};
pub use head::{Head, HeadError, MAX_BODY_BYTES, MAX_HEAD_BYTES, read_head, refusal};
pub use header::{
    ALLOW, extensions, field, is_sdp, passed, passed_extensions, tells_keys, unknown_extensions,
    value, values,
};
pub use info::{InfoError, read_key};
pub use limit::Buckets;
pub use session_timer::{MIN_SE, Refresher, SessionExpires, SessionTimer};
