//! What a card's fields look like: brands, lengths, check digits, dates (ISO/IEC 7812-1).
//!
//! A check turns a keyed slot into a handle, and nothing else makes one; a handle lends its digits
//! to a closure, so that searching for `expose` finds every reader of a card.

mod brand;
mod captured;
mod digits;
mod fields;
mod last4;
#[cfg(test)]
pub(in crate::proto) mod published;
mod rejection;
#[cfg(test)]
mod tests;

pub use brand::{Brand, BrandMatch};
pub use captured::{CapturedField, Completeness, FieldRules};
pub use digits::may_hold_number;
pub use fields::{AccountNumber, Expiry, Pan, PostalCode, RoutingNumber, SecurityCode};
pub use last4::{Last4, NotLast4};
pub use rejection::{Refused, Rejection};
