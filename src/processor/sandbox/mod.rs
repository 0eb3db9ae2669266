//! The embedded sandbox processor: real HTTPS on loopback in a process of its own, test cards only.
//!
//! It moves no money. It is a separate process because what it is sent must not be found in the
//! gateway's memory, and it keeps card numbers no longer than a request takes: its ledger holds
//! HMACs and outcomes.
//!
//! # Test cards
//!
//! Any expiry date that is not past, any security code. Every other number is declined as
//! `not_a_test_card` with the advice to take another card.
//!
//! | Number | What happens | Outcome |
//! |---|---|---|
//! | 4242 4242 4242 4242 | approved (Visa) | approved |
//! | 5555 5555 5555 4444 | approved (Mastercard) | approved |
//! | 3782 822463 10005 | approved (American Express) | approved |
//! | 6011 1111 1111 1117 | approved (Discover) | approved |
//! | 3566 0020 2036 0505 | approved (JCB) | approved |
//! | 3056 930902 5904 | approved (Diners Club) | approved |
//! | 6200 0000 0000 0005 | approved (UnionPay) | approved |
//! | 4716 8351 7398 4242 | approved (Visa); differs from the next in hidden digits only | approved |
//! | 4242 4286 0932 4242 | approved (Visa); differs from the one before in hidden digits only | approved |
//! | 4000 0000 0000 0002 | `card_declined` | declined: other card |
//! | 4000 0000 0000 9995 | `insufficient_funds` | declined: try again |
//! | 4000 0000 0000 9987 | `lost_card` | declined: do not retry |
//! | 4000 0000 0000 0069 | `expired_card` | declined: re-enter the expiry date |
//! | 4000 0000 0000 0127 | `incorrect_cvc` | declined: re-enter the security code |
//! | 4000 0000 0000 3220 | `call_issuer` | declined: call the issuer |
//! | 4000 0000 0000 0119 | `processing_error`, nothing done | failed, retryable |
//! | 4000 0000 0000 5001 | answers after 3 s | approved |
//! | 4000 0000 0000 5019 | resets the connection after it is done | unknown; look-up: approved |
//! | 4000 0000 0000 5027 | resets the connection before anything is done | unknown; look-up: failed |
//! | 4000 0000 0000 5035 | done, but never answers | unknown; look-up: approved |
//!
//! An expiry date that is past is declined as `expired_card` whatever the card.
//!
//! # Amounts of operations
//!
//! A settlement, void or refund whose amount ends, in minor units, in 402 is refused; one that ends in 202 is
//! taken, and done once it has been asked for; one that ends in 504 is done, and the connection is reset in the
//! place of the answer.
//!
//! # Its API
//!
//! - `POST /v1/charges` `{"reference","amount","currency","channel":"moto","capture"?,"card":{"number",
//!   "expiry_month","expiry_year","security_code"?}}`: idempotent by `reference`; another request
//!   under a reference that was used is `409 reference_reused`. `"capture":false` sets the money aside.
//! - `GET /v1/charges/{reference}`: what became of it, `404 no_such_charge` where nothing was done.
//! - `POST /v1/charges/{id}/operations` `{"reference","kind":"settle"|"void"|"refund","amount"}`:
//!   idempotent by `reference`, answered with `{"reference","charge","kind","amount","id",
//!   "status":"done"|"pending"|"declined"}`; `422` with what does not allow it.
//! - `GET /v1/operations/{reference}`: what became of it, `404 no_such_operation`.
//! - `GET /v1/received`, only with `--digest-key`: what was sent to it, as HMAC-SHA256 under that
//!   key, so that a test can compare a card without anybody carrying one.
//!
//! Charges are answered with `{"reference","status":"approved"|"declined","code","id"?}`, errors
//! with `{"error":{"code"}}`. No answer repeats a digit of a card.

mod adapter;
mod child;
mod ledger;
mod line;
mod operations;
mod server;
mod test_cards;
#[cfg(test)]
mod tests;

pub use adapter::Sandbox;
pub use child::{SandboxChild, SandboxError};
pub use ledger::{DigestKey, NotADigestKey, Received};
pub use server::{ServeArgs, serve};
#[cfg(test)]
pub(in crate::processor) use {line::Identity, server::Server};

use serde::{Deserialize, Serialize};

/// Where a sandbox listens and by which CA it is known: the line that it prints when it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxAddress {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Its own CA, made at its start.
    pub ca_pem: String,
}
