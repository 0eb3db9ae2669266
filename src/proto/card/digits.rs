//! Check digits and dates, over digits as values 0 to 9.

use super::{Brand, BrandMatch, Rejection};

/// Whether the last digit fits the others (Luhn, ISO/IEC 7812-1 annex B).
pub(super) fn luhn_holds(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .zip([false, true].into_iter().cycle())
        .map(|(digit, double)| {
            let value = u32::from(*digit) << u32::from(double);
            value / 10 + value % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether a run of digits in a text begins as a brand's cards do, is as long as one and passes the
/// check (ISO/IEC 7812-1).
#[must_use]
pub fn may_hold_number(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|run| {
        let digits: Vec<u8> = run.bytes().map(|byte| byte - b'0').collect();
        match Brand::of(&digits) {
            BrandMatch::Brand(brand) => brand.has_length(digits.len()) && luhn_holds(&digits),
            BrandMatch::Undecided | BrandMatch::Unknown => false,
        }
    })
}

/// Whether nine digits are an ABA routing number: weights 3, 7, 1. Nine zeros would fit and name no
/// bank.
pub(super) fn aba_holds(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .zip([3, 7, 1].into_iter().cycle())
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum();
    sum != 0 && sum.is_multiple_of(10)
}

/// How far ahead an expiry date may lie.
const YEARS_AHEAD: i16 = 20;

/// Whether MMYY names a month in which a card may end. A card is good to the end of its month, as
/// UTC has it.
pub(super) fn check_expiry(digits: &[u8], utc: jiff::Timestamp) -> Result<(), Rejection> {
    let [m, n, y, z] = *digits else {
        return Err(Rejection::TooShort);
    };
    let month = m * 10 + n;
    if !(1..=12).contains(&month) {
        return Err(Rejection::InvalidDate);
    }
    let today = jiff::tz::Offset::UTC.to_datetime(utc).date();
    let year = in_century_of(today.year(), y * 10 + z);
    let months_ahead = (year - today.year()) * 12 + i16::from(month) - i16::from(today.month());
    if months_ahead < 0 {
        Err(Rejection::Expired)
    } else if year > today.year() + YEARS_AHEAD {
        Err(Rejection::InvalidDate)
    } else {
        Ok(())
    }
}

/// The year with these two last digits that is nearest to `now`, between 50 years before and 49 after.
fn in_century_of(now: i16, two_digits: u8) -> i16 {
    let year = now - now.rem_euclid(100) + i16::from(two_digits);
    match year - now {
        50.. => year - 100,
        -50.. => year,
        _ => year + 100,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    /// As ISO/IEC 7812-1 tells it to a clerk: double every second digit from the right, add the
    /// digits of the products, add the rest.
    fn luhn_by_hand(text: &str) -> bool {
        let mut written = String::new();
        for (place, symbol) in text.chars().rev().enumerate() {
            let digit = symbol.to_digit(10).unwrap();
            let times = if place % 2 == 1 { 2 } else { 1 };
            written.push_str(&(digit * times).to_string());
        }
        written
            .chars()
            .map(|symbol| symbol.to_digit(10).unwrap())
            .sum::<u32>()
            % 10
            == 0
    }

    #[test]
    fn test_cards_of_every_brand_have_a_check_digit_that_fits() {
        for pan in [
            "4242424242424242",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "6011111111111117",
            "3566002020360505",
            "30569309025904",
            "6200000000000005",
        ] {
            assert!(luhn_holds(&values(pan)), "{pan}");
        }
    }

    #[test]
    fn routing_numbers_of_banks_fit_and_their_neighbours_do_not() {
        for routing in ["110000000", "021000021", "011401533", "091000019"] {
            assert!(aba_holds(&values(routing)), "{routing}");
        }
        assert!(!aba_holds(&values("110000001")));
        assert!(!aba_holds(&values("000000000")));
    }

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_card_is_good_to_the_end_of_its_month_and_at_most_twenty_years_ahead() {
        let check = |mmyy: &str, now: &str| check_expiry(&values(mmyy), at(now));
        assert_eq!(check("0230", "2030-02-28T23:59:59Z"), Ok(()));
        assert_eq!(
            check("0230", "2030-03-01T00:00:00Z"),
            Err(Rejection::Expired)
        );
        assert_eq!(
            check("1229", "2030-01-01T00:00:00Z"),
            Err(Rejection::Expired)
        );
        assert_eq!(check("1250", "2030-01-01T00:00:00Z"), Ok(()));
        assert_eq!(
            check("0151", "2030-12-01T00:00:00Z"),
            Err(Rejection::InvalidDate)
        );
        assert_eq!(
            check("0030", "2030-01-01T00:00:00Z"),
            Err(Rejection::InvalidDate)
        );
        assert_eq!(
            check("1330", "2030-01-01T00:00:00Z"),
            Err(Rejection::InvalidDate)
        );
        assert_eq!(
            check("033", "2030-01-01T00:00:00Z"),
            Err(Rejection::TooShort)
        );
    }

    #[test]
    fn the_turn_of_the_century_does_not_expire_cards() {
        let check = |mmyy: &str, now: &str| check_expiry(&values(mmyy), at(now));
        assert_eq!(check("0103", "2099-12-31T00:00:00Z"), Ok(()));
        assert_eq!(
            check("1299", "2100-01-01T00:00:00Z"),
            Err(Rejection::Expired)
        );
    }

    proptest! {
        #[test]
        fn luhn_is_what_a_clerk_finds_by_hand(text in "[0-9]{0,24}") {
            prop_assert_eq!(luhn_holds(&values(&text)), luhn_by_hand(&text));
        }

        #[test]
        fn one_wrong_digit_never_passes(text in "[0-9]{12,19}", place in 0usize..12, by in 1u8..10) {
            let mut digits = values(&text);
            let before = luhn_holds(&digits);
            digits[place] = (digits[place] + by) % 10;
            prop_assert!(!(before && luhn_holds(&digits)));
        }

        #[test]
        fn an_expiry_passes_just_when_it_is_one_of_the_next_241_months(
            month in 0u8..100, year in 0u8..100, now_month in 1i8..=12, now_year in 2020i16..2200,
        ) {
            let now = jiff::civil::date(now_year, now_month, 15);
            let utc = jiff::tz::Offset::UTC.to_timestamp(now.at(12, 0, 0, 0)).unwrap();
            let good = (now_year..=now_year + 20)
                .flat_map(|y| (1..=12).map(move |m| (y, m)))
                .filter(|ym| *ym >= (now_year, now_month))
                .any(|(y, m)| y % 100 == i16::from(year) && m == i8::try_from(month).unwrap());
            let digits = [month / 10, month % 10, year / 10, year % 10];
            prop_assert_eq!(check_expiry(&digits, utc).is_ok(), good);
        }
    }
}
