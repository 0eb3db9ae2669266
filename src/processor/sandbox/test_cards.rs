//! What the sandbox does for which card number. The table for people is in the module's docs.

/// What the sandbox does with a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Approve,
    Decline(&'static str),
    /// Says that it could not do it, and did not.
    ProcessingError,
    ApproveSlowly,
    ResetAfterCommit,
    ResetBeforeCommit,
    ApproveInSilence,
}

const CARDS: [(&str, Behaviour); 20] = [
    ("4242424242424242", Behaviour::Approve),
    ("5555555555554444", Behaviour::Approve),
    ("378282246310005", Behaviour::Approve),
    ("6011111111111117", Behaviour::Approve),
    ("3566002020360505", Behaviour::Approve),
    ("30569309025904", Behaviour::Approve),
    ("6200000000000005", Behaviour::Approve),
    ("4716835173984242", Behaviour::Approve),
    ("4242428609324242", Behaviour::Approve),
    ("4000000000000002", Behaviour::Decline("card_declined")),
    ("4000000000009995", Behaviour::Decline("insufficient_funds")),
    ("4000000000009987", Behaviour::Decline("lost_card")),
    ("4000000000000069", Behaviour::Decline("expired_card")),
    ("4000000000000127", Behaviour::Decline("incorrect_cvc")),
    ("4000000000003220", Behaviour::Decline("call_issuer")),
    ("4000000000000119", Behaviour::ProcessingError),
    ("4000000000005001", Behaviour::ApproveSlowly),
    ("4000000000005019", Behaviour::ResetAfterCommit),
    ("4000000000005027", Behaviour::ResetBeforeCommit),
    ("4000000000005035", Behaviour::ApproveInSilence),
];

/// What is done for `number`.
pub(super) fn behaviour(number: &str) -> Behaviour {
    CARDS
        .iter()
        .find(|(card, _)| *card == number)
        .map_or(Behaviour::Decline("not_a_test_card"), |(_, found)| *found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_card_has_a_right_check_digit() {
        for (number, _) in CARDS {
            let sum: u32 = number
                .bytes()
                .rev()
                .enumerate()
                .map(|(place, digit)| {
                    let digit = u32::from(digit - b'0') * (1 + place as u32 % 2);
                    digit / 10 + digit % 10
                })
                .sum();
            assert_eq!(sum % 10, 0, "{number}");
        }
    }
}
