//! The header field by which an agent's end starts a payment, and the one that tells it of it.
//!
//! `start;amount=1999;currency=EUR;reference=INV-7`: an operation and parameters, each a token or a
//! quoted string (RFC 3261 section 25.1). What can be read in two ways is refused. What the values mean
//! beyond their shape is decided where every other payment's is.

use super::head::is_token;

/// Tells the agent's end what became of its order, and of the payment.
pub const RESULT: &str = "Tonewall-Result";
/// Longest value that is read.
const MAX_BYTES: usize = 1_024;
/// Most digits of an amount: no card number is that short.
const AMOUNT_DIGITS: usize = 8;
/// Longest value of a parameter that is told.
const TOLD_CHARS: usize = 200;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentOperation {
    /// Begin a payment on this call.
    Start(PaymentStart),
    /// Tell where the one that was begun so stands.
    Status,
}

/// What a payment is to be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentStart {
    /// `amount`, in minor units (cents).
    pub amount_minor: u64,
    /// `currency` (ISO 4217).
    pub currency: String,
    /// `reference`.
    pub reference: String,
    /// `description`.
    pub description: Option<String>,
}

/// Why a field is no order. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaymentFieldError {
    /// Which one is meant is not known.
    #[error("more than one field asks for a payment; send one")]
    Doubled,
    /// Longer than any real one.
    #[error("a field of more than {MAX_BYTES} bytes")]
    TooLong,
    /// Not an operation with parameters.
    #[error("cannot be read; expected start;amount=1999;currency=EUR;reference=INV-7, or status")]
    Malformed,
    /// Another operation.
    #[error(
        "neither start nor status: fields are opened, and a payment is completed or cancelled, by the API and the agent's panel only"
    )]
    Operation,
    /// A parameter that nobody knows, or that the operation has not.
    #[error(
        "a parameter that the operation has not; start has amount, currency, reference and description, status has none"
    )]
    Parameter,
    /// A parameter that is there twice.
    #[error("{0} is there twice")]
    Repeated(&'static str),
    /// A parameter that is missing.
    #[error("no {0}; start needs amount, currency and reference")]
    Missing(&'static str),
    /// No amount.
    #[error(
        "the amount is no whole number of minor units (cents) of 1 to {AMOUNT_DIGITS} digits that begins with 1 to 9"
    )]
    Amount,
    /// No currency.
    #[error("the currency is not three capital letters (ISO 4217)")]
    Currency,
}

/// Whether a field may be called so: it is no other field's name, nor could one become it.
#[must_use]
pub fn may_ask_for_payment(name: &str) -> bool {
    let own = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
            && name.len() > prefix.len()
    };
    (own("Tonewall-") || own("X-"))
        && name.len() <= 64
        && name.bytes().all(is_token)
        && !name.eq_ignore_ascii_case(RESULT)
}

/// Reads the fields of that name; `None` where there is none.
///
/// # Errors
/// [`PaymentFieldError`] when they are not one order.
pub fn read_payment<'a>(
    mut fields: impl Iterator<Item = &'a str>,
) -> Result<Option<PaymentOperation>, PaymentFieldError> {
    let Some(value) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(PaymentFieldError::Doubled);
    }
    if value.len() > MAX_BYTES {
        return Err(PaymentFieldError::TooLong);
    }
    let mut rest = Rest(value.trim_matches(SPACE));
    let operation = rest.token().ok_or(PaymentFieldError::Malformed)?;
    let parameters = rest.parameters()?;
    let is = |word: &str| operation.eq_ignore_ascii_case(word);
    if is("status") {
        return match parameters {
            Parameters {
                amount: None,
                currency: None,
                reference: None,
                description: None,
            } => Ok(Some(PaymentOperation::Status)),
            _ => Err(PaymentFieldError::Parameter),
        };
    }
    if !is("start") {
        return Err(PaymentFieldError::Operation);
    }
    parameters
        .start()
        .map(|start| Some(PaymentOperation::Start(start)))
}

const SPACE: [char; 2] = [' ', '\t'];

#[derive(Default)]
struct Parameters {
    amount: Option<String>,
    currency: Option<String>,
    reference: Option<String>,
    description: Option<String>,
}

impl Parameters {
    fn start(self) -> Result<PaymentStart, PaymentFieldError> {
        let amount = self.amount.ok_or(PaymentFieldError::Missing("amount"))?;
        let currency = self
            .currency
            .ok_or(PaymentFieldError::Missing("currency"))?;
        let reference = self
            .reference
            .ok_or(PaymentFieldError::Missing("reference"))?;
        let digits = amount.len() <= AMOUNT_DIGITS && amount.bytes().all(|b| b.is_ascii_digit());
        if !digits || amount.starts_with('0') {
            return Err(PaymentFieldError::Amount);
        }
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(PaymentFieldError::Currency);
        }
        Ok(PaymentStart {
            amount_minor: amount.parse().map_err(|_| PaymentFieldError::Amount)?,
            currency,
            reference,
            description: self.description,
        })
    }
}

/// What is not read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn parameters(&mut self) -> Result<Parameters, PaymentFieldError> {
        let mut found = Parameters::default();
        loop {
            self.skip_space();
            if self.0.is_empty() {
                return Ok(found);
            }
            self.take(';')?;
            self.skip_space();
            let name = self.token().ok_or(PaymentFieldError::Malformed)?;
            self.skip_space();
            self.take('=')?;
            self.skip_space();
            let value = self.value()?;
            let (place, name) = [
                (&mut found.amount, "amount"),
                (&mut found.currency, "currency"),
                (&mut found.reference, "reference"),
                (&mut found.description, "description"),
            ]
            .into_iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name))
            .ok_or(PaymentFieldError::Parameter)?;
            if place.replace(value).is_some() {
                return Err(PaymentFieldError::Repeated(name));
            }
        }
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches(SPACE);
    }

    fn take(&mut self, expected: char) -> Result<(), PaymentFieldError> {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.ok_or(PaymentFieldError::Malformed)?;
        Ok(())
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().take_while(|byte| is_token(*byte)).count();
        let (token, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    fn value(&mut self) -> Result<String, PaymentFieldError> {
        let Some(rest) = self.0.strip_prefix('"') else {
            let token = self.token().ok_or(PaymentFieldError::Malformed)?;
            return Ok(token.to_owned());
        };
        let mut value = String::new();
        let mut letters = rest.chars();
        loop {
            match letters.next().ok_or(PaymentFieldError::Malformed)? {
                '"' => break,
                '\\' => match letters.next() {
                    Some(letter @ ('"' | '\\')) => value.push(letter),
                    _ => return Err(PaymentFieldError::Malformed),
                },
                letter if letter.is_control() => return Err(PaymentFieldError::Malformed),
                letter => value.push(letter),
            }
        }
        self.0 = letters.as_str();
        Ok(value)
    }
}

/// The value of [`RESULT`]: a word and parameters, of one line and ASCII whatever they hold.
#[must_use]
pub fn told(word: &str, parameters: &[(&str, &str)]) -> String {
    let mut value = word.to_owned();
    for (name, told) in parameters {
        value.push(';');
        value.push_str(name);
        value.push('=');
        if !told.is_empty() && told.len() <= TOLD_CHARS && told.bytes().all(is_token) {
            value.push_str(told);
            continue;
        }
        value.push('"');
        for letter in told.chars().take(TOLD_CHARS) {
            match letter {
                '"' | '\\' => value.extend(['\\', letter]),
                ' '..='~' => value.push(letter),
                _ => value.push('?'),
            }
        }
        value.push('"');
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Result<PaymentOperation, PaymentFieldError> {
        read_payment(std::iter::once(value)).map(|found| found.unwrap())
    }

    fn start(reference: &str, description: Option<&str>) -> PaymentOperation {
        PaymentOperation::Start(PaymentStart {
            amount_minor: 1_999,
            currency: "EUR".to_owned(),
            reference: reference.to_owned(),
            description: description.map(str::to_owned),
        })
    }

    #[test]
    fn an_order_is_read_in_every_way_in_which_it_may_be_written() {
        for value in [
            "start;amount=1999;currency=EUR;reference=INV-7",
            " START ; Amount = 1999 ;\tcurrency=\"EUR\"; REFERENCE=\"INV-7\" ",
            "start;reference=INV-7;currency=EUR;amount=1999",
        ] {
            assert_eq!(read(value), Ok(start("INV-7", None)), "{value}");
        }
        let value =
            "start;amount=1999;currency=EUR;reference=\"a;b=\\\"c\\\\\";description=\"Tür 7\"";
        assert_eq!(read(value), Ok(start("a;b=\"c\\", Some("Tür 7"))));
        assert_eq!(read("Status"), Ok(PaymentOperation::Status));
        assert_eq!(read_payment(std::iter::empty()), Ok(None));
    }

    #[test]
    fn what_is_not_one_order_is_refused_by_name() {
        use PaymentFieldError as E;
        let order = |more: &str| format!("start;amount=1;currency=EUR;reference=r{more}");
        let long = order(&format!(";description={}", "x".repeat(MAX_BYTES)));
        for (value, error) in [
            ("", E::Malformed),
            ("start,start", E::Malformed),
            ("start amount=1", E::Malformed),
            ("start;", E::Malformed),
            ("start;;amount=1", E::Malformed),
            ("start;amount", E::Malformed),
            ("start;amount=", E::Malformed),
            ("start;amount=\"1", E::Malformed),
            ("start;amount=\"1\\2\"", E::Malformed),
            ("start;amount=19 99;currency=EUR;reference=r", E::Malformed),
            ("start;amount=\"1\"2;currency=EUR;reference=r", E::Malformed),
            ("cancel", E::Operation),
            ("complete;amount=1", E::Operation),
            ("status;amount=1", E::Parameter),
            (&order(";pan=1"), E::Parameter),
            (&order(";Amount=2"), E::Repeated("amount")),
            (&order(";reference=r"), E::Repeated("reference")),
            ("start", E::Missing("amount")),
            ("start;amount=1;reference=r", E::Missing("currency")),
            ("start;amount=1;currency=EUR", E::Missing("reference")),
            (&order("").replace("=1;", "=0;"), E::Amount),
            (&order("").replace("=1;", "=01;"), E::Amount),
            (&order("").replace("=1;", "=-1;"), E::Amount),
            (&order("").replace("=1;", "=1.5;"), E::Amount),
            (&order("").replace("=1;", "=\"\";"), E::Amount),
            (&order("").replace("=1;", "=4242424242424242;"), E::Amount),
            (&order("").replace("EUR", "eur"), E::Currency),
            (&order("").replace("EUR", "EURO"), E::Currency),
            (&long, E::TooLong),
        ] {
            assert_eq!(read(value), Err(error), "{value}");
        }
        let one = order("");
        let twice = [one.as_str(), one.as_str()];
        assert_eq!(read_payment(twice.into_iter()), Err(E::Doubled));
    }

    #[test]
    fn no_error_repeats_what_the_field_said() {
        for value in [
            "4242424242424242",
            "start;amount=4242424242424242;currency=EUR;reference=r",
            "start;4242=1",
        ] {
            let error = read(value).unwrap_err().to_string();
            assert!(!error.contains("4242"), "{error}");
        }
    }

    #[test]
    fn a_field_that_asks_for_payments_has_a_name_of_its_own() {
        for (name, may) in [
            ("Tonewall-Payment", true),
            ("x-pay", true),
            ("Tonewall-Result", false),
            ("tonewall-result", false),
            ("Via", false),
            ("P-Asserted-Identity", false),
            ("X-", false),
            ("X-a b", false),
            ("X-a:b", false),
            ("", false),
        ] {
            assert_eq!(may_ask_for_payment(name), may, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(value in "\\PC{0,80}", letters in "(start|status)?[;=\" \\\\a-z0-9]{0,60}") {
            let _ = read(&value);
            let _ = read(&letters);
        }

        #[test]
        fn what_is_written_is_read(
            amount in 1_u64..=99_999_999,
            currency in "[A-Z]{3}",
            reference in "[ -~]{0,64}",
            description in proptest::option::of("[^\\p{Cc}]{0,60}"),
        ) {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let mut value = format!(
                "start;amount={amount};currency={currency};reference=\"{}\"",
                quoted(&reference)
            );
            if let Some(description) = &description {
                value += &format!(";description=\"{}\"", quoted(description));
            }
            let start = PaymentStart { amount_minor: amount, currency, reference, description };
            prop_assert_eq!(read(&value), Ok(PaymentOperation::Start(start)));
        }

        #[test]
        fn what_is_told_is_one_line_that_can_be_read(reason in "\\PC{0,300}|[\r\n\"\\\\;=]{0,20}") {
            let value = told("refused", &[("reason", &reason)]);
            prop_assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{value}");
            let mut rest = Rest(value.strip_prefix("refused;reason=").unwrap());
            let read = rest.value().unwrap();
            prop_assert!(rest.0.is_empty(), "{value}");
            prop_assert!(read.chars().count() <= TOLD_CHARS);
        }
    }
}
