//! Handles to checked slots. Only a check in this file makes one.

use super::{
    Brand, BrandMatch, Last4, Refused, Rejection,
    digits::{aba_holds, check_expiry, luhn_holds},
};
use crate::proto::secret::KeySlot;

/// Fewest and most digits of a security code.
pub(super) const CODE_LENGTHS: [usize; 2] = [3, 4];
/// Most digits of a postal code: no country's has more.
pub(super) const LONGEST_POSTAL_CODE: usize = 10;
/// Digits of an ABA routing number.
pub(super) const ROUTING_LENGTH: usize = 9;
/// Fewest and most digits of an account number (NACHA has 17 places).
pub(super) const ACCOUNT_LENGTHS: [usize; 2] = [4, 17];

/// A checked card number.
///
/// Deliberately absent: `Clone`, `Debug`, `Display`, `PartialEq`, `Serialize`, and any way to make
/// one but [`Pan::check`].
///
/// ```compile_fail,E0451
/// fn forge(slot: tonewall::proto::secret::KeySlot, last4: tonewall::proto::card::Last4) {
///     let brand = tonewall::proto::card::Brand::Visa;
///     let pan = tonewall::proto::card::Pan { slot, brand, last4 };
/// }
/// ```
/// ```compile_fail,E0599
/// fn twice(pan: tonewall::proto::card::Pan) {
///     let copy = pan.clone();
/// }
/// ```
/// ```compile_fail,E0277
/// fn print(pan: tonewall::proto::card::Pan) {
///     println!("{pan:?}");
/// }
/// ```
/// ```compile_fail,E0277
/// fn send(pan: tonewall::proto::card::Pan) -> String {
///     serde_json::to_string(&pan).unwrap()
/// }
/// ```
pub struct Pan {
    slot: KeySlot,
    brand: Brand,
    last4: Last4,
}

/// A checked expiry date, MMYY.
pub struct Expiry {
    slot: KeySlot,
}

/// A checked security code.
///
/// ```compile_fail,E0277
/// fn print(code: tonewall::proto::card::SecurityCode) {
///     println!("{code:?}");
/// }
/// ```
pub struct SecurityCode {
    slot: KeySlot,
}

/// Digits of a postal code.
pub struct PostalCode {
    slot: KeySlot,
}

/// A checked ABA routing number.
pub struct RoutingNumber {
    slot: KeySlot,
}

/// A bank account number.
pub struct AccountNumber {
    slot: KeySlot,
    last4: Option<Last4>,
}

impl Pan {
    /// Takes the slot as a card number of one of the `accepted` brands, whose length and check
    /// digit are right.
    ///
    /// # Errors
    ///
    /// The slot and what is wrong with it. The brand comes first: there is no use in keying a card
    /// again that is not taken.
    pub fn check(slot: KeySlot, accepted: &[Brand]) -> Result<Self, Refused> {
        let mut found = None;
        let slot = checked(slot, |digits| {
            let brand = match Brand::of(digits) {
                BrandMatch::Brand(brand) => brand,
                BrandMatch::Unknown => return Err(Rejection::UnknownBrand),
                BrandMatch::Undecided => return Err(Rejection::TooShort),
            };
            if !accepted.contains(&brand) {
                return Err(Rejection::BrandNotAccepted);
            }
            if !brand.has_length(digits.len()) && digits.len() < brand.longest() {
                return Err(Rejection::TooShort);
            }
            if !brand.has_length(digits.len()) || !luhn_holds(digits) {
                return Err(Rejection::CheckDigit);
            }
            found = Last4::of(digits).map(|last4| (brand, last4));
            Ok(())
        })?;
        let Some((brand, last4)) = found else {
            return Err(Refused {
                slot,
                reason: Rejection::TooShort,
            });
        };
        Ok(Self { slot, brand, last4 })
    }

    /// Whose card it is.
    #[must_use]
    pub const fn brand(&self) -> Brand {
        self.brand
    }

    /// The four digits that may be shown.
    #[must_use]
    pub const fn last4(&self) -> Last4 {
        self.last4
    }
}

impl Expiry {
    /// Takes the slot as an expiry date, not before the month of `utc` and at most 20 years ahead.
    ///
    /// # Errors
    ///
    /// The slot and what is wrong with it.
    pub fn check(slot: KeySlot, utc: jiff::Timestamp) -> Result<Self, Refused> {
        let slot = checked(slot, |digits| check_expiry(digits, utc))?;
        Ok(Self { slot })
    }
}

impl SecurityCode {
    /// Takes the slot as the security code of a card of `brand`; of an unknown brand 3 and 4 digits
    /// are right.
    ///
    /// # Errors
    ///
    /// The slot and what is wrong with it.
    pub fn check(slot: KeySlot, brand: Option<Brand>) -> Result<Self, Refused> {
        let right = |count: usize| match brand {
            Some(brand) => count == usize::from(brand.code_length()),
            None => CODE_LENGTHS.contains(&count),
        };
        let slot = checked(slot, |digits| match digits.len() {
            count if right(count) => Ok(()),
            count if count < CODE_LENGTHS[0] => Err(Rejection::TooShort),
            _ => Err(Rejection::CodeLength),
        })?;
        Ok(Self { slot })
    }
}

impl PostalCode {
    /// Takes the slot as a postal code of at least `min_length` digits.
    ///
    /// # Errors
    ///
    /// The slot and what is wrong with it.
    pub fn check(slot: KeySlot, min_length: u8) -> Result<Self, Refused> {
        let fewest = usize::from(min_length).clamp(1, LONGEST_POSTAL_CODE);
        let slot = checked(slot, |digits| {
            of_length(digits, fewest, LONGEST_POSTAL_CODE)
        })?;
        Ok(Self { slot })
    }
}

impl RoutingNumber {
    /// Takes the slot as an ABA routing number.
    ///
    /// # Errors
    ///
    /// The slot and what is wrong with it.
    pub fn check(slot: KeySlot) -> Result<Self, Refused> {
        let slot = checked(slot, |digits| {
            of_length(digits, ROUTING_LENGTH, ROUTING_LENGTH)?;
            if aba_holds(digits) {
                Ok(())
            } else {
                Err(Rejection::CheckDigit)
            }
        })?;
        Ok(Self { slot })
    }
}

impl AccountNumber {
    /// Takes the slot as an account number, which has no check digit that all banks share.
    ///
    /// # Errors
    ///
    /// The slot and what is wrong with it.
    pub fn check(slot: KeySlot) -> Result<Self, Refused> {
        let [fewest, most] = ACCOUNT_LENGTHS;
        let mut last4 = None;
        let slot = checked(slot, |digits| {
            of_length(digits, fewest, most)?;
            last4 = Last4::of(digits);
            Ok(())
        })?;
        Ok(Self { slot, last4 })
    }

    /// The four digits that may be shown; none of a number that has no more than four.
    #[must_use]
    pub const fn last4(&self) -> Option<Last4> {
        self.last4
    }
}

macro_rules! exposes {
    ($($name:ident)+) => {$(
        impl $name {
            /// Lends the digits, values 0 to 9, to `look`; they are sealed again when it returns
            /// or panics.
            pub fn expose<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> R {
                self.slot.expose(look)
            }

            /// How many digits it has.
            #[must_use]
            pub fn count(&self) -> u8 {
                self.slot.count()
            }
        }
    )+};
}

exposes!(Pan Expiry SecurityCode PostalCode RoutingNumber AccountNumber);

/// Lets `check` look at the digits; a slot that does not hold all that was keyed passes nothing.
fn checked(
    mut slot: KeySlot,
    check: impl FnOnce(&[u8]) -> Result<(), Rejection>,
) -> Result<KeySlot, Refused> {
    let verdict = slot.expose(check);
    // After looking: that is when a slot turns out to be spoilt.
    let verdict = if slot.overflow() > 0 {
        Err(Rejection::CheckDigit)
    } else {
        verdict
    };
    match verdict {
        Ok(()) => Ok(slot),
        Err(reason) => Err(Refused { slot, reason }),
    }
}

fn of_length(digits: &[u8], fewest: usize, most: usize) -> Result<(), Rejection> {
    match digits.len() {
        count if count < fewest => Err(Rejection::TooShort),
        count if count > most => Err(Rejection::CheckDigit),
        _ => Ok(()),
    }
}
