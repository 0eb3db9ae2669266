use super::*;
use crate::proto::{
    digit::Key,
    field::Field,
    secret::{KeySlot, plain},
};

/// Fails to compile when one of the types has one of the traits.
macro_rules! have_none_of {
    (($($type:ty),+): $traits:tt) => {$( have_none_of!(@type $type: $traits); )+};
    (@type $type:ty: ($($trait:path),+)) => {$(
        const _: fn() = || {
            trait Ambiguous<A> {
                fn here() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Has;
            impl<T: ?Sized + $trait> Ambiguous<Has> for T {}
            let _ = <$type as Ambiguous<_>>::here;
        };
    )+};
}

have_none_of!(
    (
        Key, KeySlot, Pan, Expiry, SecurityCode, PostalCode, RoutingNumber, AccountNumber,
        CapturedField, Refused
    ): (
        Clone, std::fmt::Debug, std::fmt::Display, PartialEq, serde::Serialize, AsRef<[u8]>
    )
);

fn keyed(text: &str) -> KeySlot {
    let mut slot = plain::slot();
    for symbol in text.chars() {
        let _ = slot.press(plain::key(symbol));
    }
    slot
}

fn rules(pan_brand: Option<Brand>) -> FieldRules<'static> {
    FieldRules {
        accepted_brands: &[Brand::Visa, Brand::Amex, Brand::Maestro],
        pan_brand,
        min_postal_code_length: 5,
        utc: "2030-06-15T12:00:00Z".parse().unwrap(),
    }
}

/// Why `text` is refused as `field`, if it is.
fn refusal(field: Field, text: &str, pan_brand: Option<Brand>) -> Option<Rejection> {
    match CapturedField::check(field, keyed(text), &rules(pan_brand)) {
        Ok(mut captured) => {
            let values: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
            assert!(captured.expose(|digits| digits == values));
            assert_eq!(
                (captured.field(), usize::from(captured.count())),
                (field, text.len())
            );
            None
        }
        Err(refused) => Some(refused.reason),
    }
}

fn completeness(field: Field, text: &str, pan_brand: Option<Brand>) -> Completeness {
    Completeness::of(field, &mut keyed(text), &rules(pan_brand))
}

#[test]
fn a_card_number_tells_brand_and_last_four_and_no_other_field_but_the_account_does() {
    let Ok(pan) = Pan::check(keyed("378282246310005"), &Brand::ALL) else {
        panic!("refused")
    };
    assert_eq!((pan.brand(), pan.count()), (Brand::Amex, 15));
    assert_eq!(pan.last4().to_string(), "0005");
    let told = |field, text| {
        let Ok(captured) = CapturedField::check(field, keyed(text), &rules(None)) else {
            panic!("refused")
        };
        (
            captured.brand(),
            captured.last4().map(|last4| last4.to_string()),
        )
    };
    let four = |text: &str| Some(text.to_owned());
    assert_eq!(
        told(Field::PaymentCardNumber, "4242424242424242"),
        (Some(Brand::Visa), four("4242"))
    );
    assert_eq!(
        told(Field::BankAccountNumber, "000123456789"),
        (None, four("6789"))
    );
    assert_eq!(told(Field::BankAccountNumber, "6789"), (None, None));
    assert_eq!(told(Field::SecurityCode, "1234"), (None, None));
    assert_eq!(told(Field::ExpirationDate, "1234"), (None, None));
}

#[test]
fn each_wrong_card_number_is_refused_with_its_reason() {
    let pan = |text| refusal(Field::PaymentCardNumber, text, None);
    assert_eq!(pan("4242424242424242"), None);
    assert_eq!(pan("4242424242424241"), Some(Rejection::CheckDigit));
    assert_eq!(pan("42424242424242"), Some(Rejection::TooShort));
    assert_eq!(pan("5555555555554444"), Some(Rejection::BrandNotAccepted));
    assert_eq!(pan("9999999999999995"), Some(Rejection::UnknownBrand));
    assert_eq!(pan("22"), Some(Rejection::TooShort));
    assert_eq!(pan(""), Some(Rejection::TooShort));
    assert_eq!(pan("3782822463100050"), Some(Rejection::CheckDigit));
}

#[test]
fn a_slot_that_lost_digits_is_refused_by_every_field() {
    for field in [
        Field::PaymentCardNumber,
        Field::ExpirationDate,
        Field::SecurityCode,
        Field::PostalCode,
        Field::BankRoutingNumber,
        Field::BankAccountNumber,
    ] {
        assert!(refusal(field, &"4".repeat(25), None).is_some(), "{field:?}");
    }
}

#[test]
fn a_security_code_is_as_long_as_its_brand_has_it() {
    let code = |text, brand| refusal(Field::SecurityCode, text, brand);
    assert_eq!(code("123", Some(Brand::Visa)), None);
    assert_eq!(code("1234", Some(Brand::Visa)), Some(Rejection::CodeLength));
    assert_eq!(code("1234", Some(Brand::Amex)), None);
    assert_eq!(code("123", Some(Brand::Amex)), Some(Rejection::CodeLength));
    assert_eq!(code("12", Some(Brand::Amex)), Some(Rejection::TooShort));
    assert_eq!((code("123", None), code("1234", None)), (None, None));
    assert_eq!(code("12345", None), Some(Rejection::CodeLength));
}

#[test]
fn the_other_fields_are_held_to_their_lengths_and_check_digits() {
    assert_eq!(refusal(Field::ExpirationDate, "0630", None), None);
    assert_eq!(
        refusal(Field::ExpirationDate, "0530", None),
        Some(Rejection::Expired)
    );
    assert_eq!(refusal(Field::PostalCode, "12345", None), None);
    assert_eq!(
        refusal(Field::PostalCode, "1234", None),
        Some(Rejection::TooShort)
    );
    assert_eq!(refusal(Field::BankRoutingNumber, "110000000", None), None);
    assert_eq!(
        refusal(Field::BankRoutingNumber, "110000001", None),
        Some(Rejection::CheckDigit)
    );
    assert_eq!(
        refusal(Field::BankRoutingNumber, "11000000", None),
        Some(Rejection::TooShort)
    );
    assert_eq!(
        refusal(Field::BankAccountNumber, "123", None),
        Some(Rejection::TooShort)
    );
    assert_eq!(
        refusal(Field::BankAccountNumber, "12345678901234567", None),
        None
    );
}

#[test]
fn a_field_ends_by_itself_only_where_no_further_digit_can_belong_to_it() {
    use Completeness::{Complete, Incomplete, Possible};
    let pan = |text| completeness(Field::PaymentCardNumber, text, None);
    assert_eq!(pan("4242424242424242"), Complete);
    assert_eq!(pan("4242424242424243"), Possible);
    assert_eq!(pan("6759649826438453"), Possible);
    assert_eq!(pan("99999999999"), Incomplete);
    assert_eq!(pan("999999999999"), Possible);
    assert_eq!(pan("9999999999999999999"), Complete);
    let code = |text, brand| completeness(Field::SecurityCode, text, brand);
    assert_eq!(code("123", Some(Brand::Visa)), Complete);
    assert_eq!(code("123", Some(Brand::Amex)), Incomplete);
    assert_eq!(
        (code("123", None), code("1234", None)),
        (Possible, Complete)
    );
    assert_eq!(completeness(Field::ExpirationDate, "0630", None), Complete);
    assert_eq!(completeness(Field::ExpirationDate, "063", None), Incomplete);
    assert_eq!(completeness(Field::PostalCode, "12345", None), Possible);
    assert_eq!(
        completeness(Field::BankAccountNumber, "1234", None),
        Possible
    );
}
