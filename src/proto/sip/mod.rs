//! SIP, as far as it is decided without a socket: strict framing, the keys in INFO bodies, dialogs,
//! what of a header passes, orders of payments, session timers, limits.
//!
//! Deliberately absent: transactions and their timers, which are the stack's.

mod dialog;
mod edit;
mod framing;
mod head;
mod header;
mod info;
mod limit;
mod multipart;
mod payment;
mod redirect;
mod refusal;
mod session_timer;
mod strict;
mod uri;

pub use dialog::{Dialog, DialogError, Home, at_host, bare_response, cancel, number};
pub use edit::{Cover, Edit};
pub use framing::{Framed, frame};
pub use head::{Head, HeadError, MAX_BODY_BYTES, MAX_HEAD_BYTES, read_head};
pub use header::{
    ALLOW, extensions, field, is_sdp, of_body, passed, passed_extensions, tells_keys,
    unknown_extensions, value, values,
};
pub use info::{InfoError, read_key};
pub use limit::Buckets;
pub use multipart::{has_parts, session_part};
pub use payment::{
    PaymentFieldError, PaymentOperation, PaymentStart, RESULT, may_ask_for_payment, read_payment,
    told,
};
pub use redirect::contacts;
pub use refusal::refusal;
pub use session_timer::{MIN_SE, Refresher, SessionExpires, SessionTimer};
pub use uri::{as_read, auth_of, is_global_number, user_of};
