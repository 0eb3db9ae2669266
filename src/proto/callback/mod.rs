//! What a merchant is told of a payment by HTTP: when, in which words, signed how, and what comes of a
//! try. Messages have the form of [Standard Webhooks](https://www.standardwebhooks.com), so that
//! receivers find a library that reads them.
//!
//! Deliberately absent: the order of messages, which the journal keeps (of one payment at one endpoint
//! the oldest that waits is the only one that may be sent), and everything that reads a clock.

mod address;
mod message;
mod schedule;
mod signature;

pub use address::{Scope, scope};
pub use message::{
    CallbackEvent, Facts, LONGEST_BODY, OperationFacts, event_of, event_of_operation,
};
pub use schedule::{Answer, Next, Schedule};
pub use signature::{NotASecret, SigningSecret, signatures};
