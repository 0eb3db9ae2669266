//! The fields of a card or account.

use serde::{Deserialize, Serialize};

/// What the caller is asked to key. The names are those of Twilio's Payments resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The primary account number, 12 to 19 digits.
    PaymentCardNumber,
    /// Month and year, MMYY.
    ExpirationDate,
    /// CVV2, CVC2 or CID: 3 digits, 4 for American Express. Never outlives an answer.
    SecurityCode,
    /// Digits of a postal code, for address verification.
    PostalCode,
    /// ABA routing number, 9 digits with a check digit.
    BankRoutingNumber,
    /// Account number at a bank, 4 to 17 digits.
    BankAccountNumber,
}
