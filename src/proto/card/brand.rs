//! Card brands: which first digits, how many digits, how long a security code.

use serde::{Deserialize, Serialize};

use super::{Completeness, digits::luhn_holds};

/// Who issued the rules for a card, told by its first digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Brand {
    Visa,
    Mastercard,
    Amex,
    Discover,
    Jcb,
    Diners,
    Unionpay,
    Maestro,
}

/// What the first digits tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrandMatch {
    /// Several brands, or a brand or none, are still possible.
    Undecided,
    /// Every number that begins so is of this brand.
    Brand(Brand),
    /// No brand has numbers that begin so.
    Unknown,
}

/// First digits from..=to, all of one length (ISO/IEC 7812-1 issuer identification numbers). No two
/// ranges overlap: where brands share numbers by contract (Discover accepts UnionPay's 62), the
/// issuer's brand stands.
const RANGES: [(u32, u32, Brand); 19] = [
    (4, 4, Brand::Visa),
    (51, 55, Brand::Mastercard),
    (2221, 2720, Brand::Mastercard),
    (34, 34, Brand::Amex),
    (37, 37, Brand::Amex),
    (6011, 6011, Brand::Discover),
    (644, 649, Brand::Discover),
    (65, 65, Brand::Discover),
    (3528, 3589, Brand::Jcb),
    (300, 305, Brand::Diners),
    (3095, 3095, Brand::Diners),
    (36, 36, Brand::Diners),
    (38, 39, Brand::Diners),
    (62, 62, Brand::Unionpay),
    (8100, 8171, Brand::Unionpay),
    (50, 50, Brand::Maestro),
    (56, 59, Brand::Maestro),
    (63, 63, Brand::Maestro),
    (67, 67, Brand::Maestro),
];

impl Brand {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Visa,
        Self::Mastercard,
        Self::Amex,
        Self::Discover,
        Self::Jcb,
        Self::Diners,
        Self::Unionpay,
        Self::Maestro,
    ];

    /// The brand of a number that begins with `digits` (values 0 to 9), as soon as they tell it.
    #[must_use]
    pub fn of(digits: &[u8]) -> BrandMatch {
        let mut possible = false;
        for (from, to, brand) in RANGES {
            let length = from.ilog10() as usize + 1;
            let known = digits.len().min(length);
            let prefix = digits[..known]
                .iter()
                .fold(0, |number, digit| number * 10 + u32::from(*digit));
            // All numbers of the range's length that begin so.
            let unit = 10u32.pow((length - known) as u32);
            let (low, high) = (prefix * unit, prefix * unit + unit - 1);
            if from <= low && high <= to {
                return BrandMatch::Brand(brand);
            }
            possible |= low <= to && from <= high;
        }
        if possible {
            BrandMatch::Undecided
        } else {
            BrandMatch::Unknown
        }
    }

    /// How many digits a card of this brand may have, fewest first.
    #[must_use]
    pub const fn lengths(self) -> &'static [u8] {
        match self {
            Self::Visa => &[13, 16, 19],
            Self::Mastercard => &[16],
            Self::Amex => &[15],
            Self::Discover => &[16, 19],
            Self::Jcb => &[16, 17, 18, 19],
            Self::Diners => &[14, 16, 19],
            Self::Unionpay => &[16, 17, 18, 19],
            Self::Maestro => &[12, 13, 14, 15, 16, 17, 18, 19],
        }
    }

    /// How many digits this brand's security code has: 4 for American Express (CID), else 3.
    #[must_use]
    pub const fn code_length(self) -> u8 {
        match self {
            Self::Amex => 4,
            Self::Visa
            | Self::Mastercard
            | Self::Discover
            | Self::Jcb
            | Self::Diners
            | Self::Unionpay
            | Self::Maestro => 3,
        }
    }

    /// The length that nearly all cards of this brand have. A number of that length whose check
    /// digit fits is taken as complete, although longer ones exist; a longer one passes for a
    /// complete one in one of ten cases, which is why the brands that really use several lengths
    /// have none.
    const fn usual_length(self) -> Option<u8> {
        match self {
            Self::Visa | Self::Mastercard | Self::Discover | Self::Jcb => Some(16),
            Self::Amex => Some(15),
            Self::Diners => Some(14),
            Self::Unionpay | Self::Maestro => None,
        }
    }

    pub(super) fn longest(self) -> usize {
        self.lengths()
            .last()
            .map_or(0, |length| usize::from(*length))
    }

    pub(super) fn has_length(self, count: usize) -> bool {
        self.lengths()
            .iter()
            .any(|length| usize::from(*length) == count)
    }

    /// Whether a number of this brand may end here.
    pub(super) fn completeness(self, digits: &[u8]) -> Completeness {
        let count = digits.len();
        let usual = self.usual_length().map(usize::from) == Some(count);
        if count >= self.longest() || (usual && luhn_holds(digits)) {
            Completeness::Complete
        } else if self.has_length(count) {
            Completeness::Possible
        } else {
            Completeness::Incomplete
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::published::by_six_digits, *};

    fn digits_of(number: u32, length: usize) -> Vec<u8> {
        (0..length as u32)
            .rev()
            .map(|place| u8::try_from(number / 10u32.pow(place) % 10).unwrap())
            .collect()
    }

    #[test]
    fn every_first_six_digits_have_the_brand_of_the_published_tables() {
        for iin in 0..1_000_000 {
            let expected = by_six_digits(iin).map_or(BrandMatch::Unknown, BrandMatch::Brand);
            assert_eq!(Brand::of(&digits_of(iin, 6)), expected, "{iin:06}");
        }
    }

    #[test]
    fn a_brand_is_told_by_exactly_those_prefixes_that_no_other_brand_and_no_unknown_card_shares() {
        for length in 0..=5 {
            for prefix in 0..10u32.pow(length) {
                let unit = 10u32.pow(6 - length);
                let mut all = (prefix * unit..(prefix + 1) * unit).map(by_six_digits);
                let first = all.next().unwrap();
                let expected = match (all.all(|brand| brand == first), first) {
                    (true, Some(brand)) => BrandMatch::Brand(brand),
                    (true, None) => BrandMatch::Unknown,
                    (false, _) => BrandMatch::Undecided,
                };
                let digits = digits_of(prefix, length as usize);
                assert_eq!(Brand::of(&digits), expected, "{digits:?}");
            }
        }
    }

    #[test]
    fn a_visa_ends_at_sixteen_when_the_check_digit_fits_and_else_waits() {
        let visa = [4, 2].repeat(8);
        assert_eq!(Brand::Visa.completeness(&visa), Completeness::Complete);
        let wrong = [[4, 2].repeat(7), vec![4, 3]].concat();
        assert_eq!(Brand::Visa.completeness(&wrong), Completeness::Possible);
        assert_eq!(
            Brand::Visa.completeness(&visa[..13]),
            Completeness::Possible
        );
        assert_eq!(
            Brand::Visa.completeness(&visa[..15]),
            Completeness::Incomplete
        );
        assert_eq!(Brand::Visa.completeness(&[4; 19]), Completeness::Complete);
    }

    #[test]
    fn a_brand_of_one_length_ends_there_right_or_wrong() {
        for (brand, length) in [(Brand::Mastercard, 16), (Brand::Amex, 15)] {
            let digits = vec![5; length];
            assert_eq!(brand.completeness(&digits), Completeness::Complete);
            assert_eq!(brand.completeness(&digits[1..]), Completeness::Incomplete);
        }
    }

    proptest! {
        #[test]
        fn a_brand_once_told_never_changes(digits in prop::collection::vec(0u8..10, 0..=19)) {
            let mut told = None;
            for count in 0..=digits.len() {
                match (told, Brand::of(&digits[..count])) {
                    (None, BrandMatch::Undecided) => {}
                    (None, decided) => told = Some(decided),
                    (Some(before), now) => prop_assert_eq!(before, now),
                }
            }
        }
    }
}
