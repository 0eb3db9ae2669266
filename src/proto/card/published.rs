//! The brands' published tables, written down a second time for tests to compare with.

use super::Brand;

/// The brand of a number by its first six digits.
pub(in crate::proto) const fn by_six_digits(iin: u32) -> Option<Brand> {
    match iin {
        400_000..=499_999 => Some(Brand::Visa),
        510_000..=559_999 | 222_100..=272_099 => Some(Brand::Mastercard),
        340_000..=349_999 | 370_000..=379_999 => Some(Brand::Amex),
        601_100..=601_199 | 644_000..=659_999 => Some(Brand::Discover),
        352_800..=358_999 => Some(Brand::Jcb),
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => {
            Some(Brand::Diners)
        }
        620_000..=629_999 | 810_000..=817_199 => Some(Brand::Unionpay),
        500_000..=509_999 | 560_000..=599_999 | 630_000..=639_999 | 670_000..=679_999 => {
            Some(Brand::Maestro)
        }
        _ => None,
    }
}
