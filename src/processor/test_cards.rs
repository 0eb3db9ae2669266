//! Numbers that processors publish for tests: the only ones that a gateway in test mode sends
//! (PCI DSS 6.5.5).

/// Of Stripe, Adyen, Checkout.com, Worldpay, CyberSource and the connectors of programmable-voice providers.
const TEST_CARDS: [&str; 55] = [
    "4242424242424242",
    "4000000000000002",
    "4000000000009995",
    "4000000000009987",
    "4000000000009979",
    "4000000000000069",
    "4000000000000127",
    "4000000000000101",
    "4000000000000119",
    "4000000000003220",
    "4000056655665556",
    "5555555555554444",
    "2223003122003222",
    "5200828282828210",
    "5105105105105100",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "6011000990139424",
    "3056930009020004",
    "30569309025904",
    "36227206271667",
    "3566002020360505",
    "6200000000000005",
    "4111111111111111",
    "4111111145551142",
    "5555444433331111",
    "2222400010000008",
    "370000000000002",
    "6011601160116611",
    "36006666333344",
    "3569990010095841",
    "6771798021000008",
    "4543474002249996",
    "5436031030606378",
    "345678901234564",
    "4444333322221111",
    "4911830000000",
    "4917610000000000",
    "4462030000000000",
    "5454545454545454",
    "2221000000000009",
    "5163613613613613",
    "343434343434343",
    "6011000400000000",
    "3528000700000000",
    "6759649826438453",
    "4000000000002701",
    "5200000000002235",
    "340000000002708",
    "6011000000002117",
    "2222420000001113",
    "2222630000001125",
    "3566111111111113",
    "38000000000006",
];

/// Whether these digits, as values 0 to 9, are one of them.
pub(super) fn is_test_card(digits: &[u8]) -> bool {
    TEST_CARDS.iter().any(|card| {
        card.len() == digits.len()
            && card
                .bytes()
                .zip(digits)
                .all(|(known, digit)| known == b'0' + digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::card::may_hold_number;

    #[test]
    fn each_has_a_right_check_digit_and_is_found_and_its_neighbour_is_not() {
        for card in TEST_CARDS {
            assert!(may_hold_number(card), "{card}");
            let mut digits: Vec<u8> = card.bytes().map(|byte| byte - b'0').collect();
            assert!(is_test_card(&digits), "{card}");
            digits[6] = (digits[6] + 1) % 10;
            assert!(!is_test_card(&digits), "beside {card}");
        }
    }
}
