//! One field of any kind: may it end here, and is it right?

use super::{
    AccountNumber, Brand, BrandMatch, Expiry, Last4, Pan, PostalCode, Refused, RoutingNumber,
    SecurityCode,
    fields::{ACCOUNT_LENGTHS, CODE_LENGTHS, LONGEST_POSTAL_CODE, ROUTING_LENGTH},
};
use crate::proto::{field::Field, secret::KeySlot};

/// Fewest and most digits of a card number of any brand.
const PAN_LENGTHS: [usize; 2] = [12, 19];
/// Digits of an expiry date, MMYY.
const EXPIRY_LENGTH: usize = 4;

/// A complete, checked field on its way to the card plane.
pub enum CapturedField {
    /// A card number.
    Pan(Pan),
    /// An expiry date.
    Expiry(Expiry),
    /// A security code.
    SecurityCode(SecurityCode),
    /// A postal code.
    PostalCode(PostalCode),
    /// A routing number.
    RoutingNumber(RoutingNumber),
    /// An account number.
    AccountNumber(AccountNumber),
}

/// What a field is checked against.
#[derive(Debug, Clone, Copy)]
pub struct FieldRules<'a> {
    /// Brands that the merchant takes.
    pub accepted_brands: &'a [Brand],
    /// The brand of the card number that a security code belongs to, where it is known.
    pub pan_brand: Option<Brand>,
    /// Fewest digits of a postal code.
    pub min_postal_code_length: u8,
    /// Today, for an expiry date.
    pub utc: jiff::Timestamp,
}

/// Whether a field may end with the digits keyed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// More digits must come.
    Incomplete,
    /// It may end here or go on: the end key or a time-out decides.
    Possible,
    /// It ends here; no further key can belong to it.
    Complete,
}

impl Completeness {
    /// Whether `slot`, keyed as `field`, may end here. Says nothing on whether it is right.
    #[must_use]
    pub fn of(field: Field, slot: &mut KeySlot, rules: &FieldRules<'_>) -> Self {
        let count = usize::from(slot.count());
        match field {
            Field::PaymentCardNumber => slot.expose(of_card_number),
            Field::ExpirationDate => Self::between(count, EXPIRY_LENGTH, EXPIRY_LENGTH),
            Field::SecurityCode => {
                let [fewest, most] = rules
                    .pan_brand
                    .map_or(CODE_LENGTHS, |brand| [usize::from(brand.code_length()); 2]);
                Self::between(count, fewest, most)
            }
            Field::PostalCode => Self::between(
                count,
                usize::from(rules.min_postal_code_length).clamp(1, LONGEST_POSTAL_CODE),
                LONGEST_POSTAL_CODE,
            ),
            Field::BankRoutingNumber => Self::between(count, ROUTING_LENGTH, ROUTING_LENGTH),
            Field::BankAccountNumber => {
                Self::between(count, ACCOUNT_LENGTHS[0], ACCOUNT_LENGTHS[1])
            }
        }
    }

    const fn between(count: usize, fewest: usize, most: usize) -> Self {
        if count >= most {
            Self::Complete
        } else if count >= fewest {
            Self::Possible
        } else {
            Self::Incomplete
        }
    }
}

fn of_card_number(digits: &[u8]) -> Completeness {
    match Brand::of(digits) {
        BrandMatch::Brand(brand) => brand.completeness(digits),
        // Told at its end, like every other mistake: the caller keys the number through anyway, and
        // the rest of it must not count as the next try.
        BrandMatch::Unknown | BrandMatch::Undecided => {
            Completeness::between(digits.len(), PAN_LENGTHS[0], PAN_LENGTHS[1])
        }
    }
}

impl CapturedField {
    /// Checks `slot` as `field`.
    ///
    /// # Errors
    ///
    /// The slot and what is wrong with it.
    pub fn check(field: Field, slot: KeySlot, rules: &FieldRules<'_>) -> Result<Self, Refused> {
        Ok(match field {
            Field::PaymentCardNumber => Self::Pan(Pan::check(slot, rules.accepted_brands)?),
            Field::ExpirationDate => Self::Expiry(Expiry::check(slot, rules.utc)?),
            Field::SecurityCode => Self::SecurityCode(SecurityCode::check(slot, rules.pan_brand)?),
            Field::PostalCode => {
                Self::PostalCode(PostalCode::check(slot, rules.min_postal_code_length)?)
            }
            Field::BankRoutingNumber => Self::RoutingNumber(RoutingNumber::check(slot)?),
            Field::BankAccountNumber => Self::AccountNumber(AccountNumber::check(slot)?),
        })
    }

    /// Which field it is.
    #[must_use]
    pub const fn field(&self) -> Field {
        match self {
            Self::Pan(_) => Field::PaymentCardNumber,
            Self::Expiry(_) => Field::ExpirationDate,
            Self::SecurityCode(_) => Field::SecurityCode,
            Self::PostalCode(_) => Field::PostalCode,
            Self::RoutingNumber(_) => Field::BankRoutingNumber,
            Self::AccountNumber(_) => Field::BankAccountNumber,
        }
    }

    /// The brand of a card number.
    #[must_use]
    pub const fn brand(&self) -> Option<Brand> {
        match self {
            Self::Pan(pan) => Some(pan.brand()),
            Self::Expiry(_)
            | Self::SecurityCode(_)
            | Self::PostalCode(_)
            | Self::RoutingNumber(_)
            | Self::AccountNumber(_) => None,
        }
    }

    /// The last four digits of a card or account number.
    #[must_use]
    pub const fn last4(&self) -> Option<Last4> {
        match self {
            Self::Pan(pan) => Some(pan.last4()),
            Self::AccountNumber(account) => account.last4(),
            Self::Expiry(_)
            | Self::SecurityCode(_)
            | Self::PostalCode(_)
            | Self::RoutingNumber(_) => None,
        }
    }

    /// How many digits it has.
    #[must_use]
    pub fn count(&self) -> u8 {
        match self {
            Self::Pan(field) => field.count(),
            Self::Expiry(field) => field.count(),
            Self::SecurityCode(field) => field.count(),
            Self::PostalCode(field) => field.count(),
            Self::RoutingNumber(field) => field.count(),
            Self::AccountNumber(field) => field.count(),
        }
    }

    /// Lends the digits, values 0 to 9, to `look`; they are sealed again when it returns or panics.
    pub fn expose<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Pan(field) => field.expose(look),
            Self::Expiry(field) => field.expose(look),
            Self::SecurityCode(field) => field.expose(look),
            Self::PostalCode(field) => field.expose(look),
            Self::RoutingNumber(field) => field.expose(look),
            Self::AccountNumber(field) => field.expose(look),
        }
    }
}
