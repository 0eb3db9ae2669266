//! Checkout.com: the card becomes a token, which a payment charges.
//!
//! A token keeps the security code, authorises nothing, is charged once and lasts 15 minutes. Sources:
//! <https://api-reference.checkout.com/>, <https://www.checkout.com/docs/payments/manage-payments/get-a-list-of-payments>,
//! <https://www.checkout.com/docs/developer-resources/api/idempotency>,
//! <https://www.checkout.com/docs/resources/codes/api-response-codes>.

mod notifications;
mod operations;

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::json;

use super::{
    Abilities, Advice, CardView, Charge, Connection, EndpointError, Mode, Operation, Outcome,
    Processor, Promises, Purpose, Secret, Submitted, Token,
    api::{Api, age, not_looked_up, refused, rescaled, short_reference, unclear},
    card::Piece,
    client::{Heading, JSON},
    response::Response,
    words,
};
use crate::{
    audit_log::Recorded,
    proto::{currency::currency_exponent, field::Field},
};

pub use notifications::CheckoutNotifications;

/// How long a charge is asked for again where its answer is missing: less than the token lasts, so that
/// a second payment under a key that was forgotten (after 120 s in the sandbox) finds no token.
const REPLAY_FOR: Duration = Duration::from_secs(10 * 60);
/// How far the list of payments is taken to lag behind; Checkout.com does not say.
const LIST_LAG: Duration = Duration::from_secs(60 * 60);

/// What the adapter needs to know.
pub struct CheckoutSettings {
    /// How it is reached; [`Checkout::site`] unless told otherwise.
    pub connection: Connection,
    /// The account's secret key.
    pub key: Secret,
    /// Its public key, which makes tokens. It is no secret.
    pub public_key: String,
    /// The processing channel that is charged for.
    pub processing_channel: String,
}

/// The adapter.
pub struct Checkout {
    api: Api,
    authorization: Secret,
    public_authorization: String,
    processing_channel: String,
    mode: Mode,
}

/// Why there is no adapter.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// A key is of the other kind or mode.
    #[error(
        "{which}: found a key of another kind or mode; expected one that begins with {expected}"
    )]
    Key {
        /// Which of the two.
        which: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// It cannot be reached as configured.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Checkout {
    /// Where the API is that accounts without an address of their own use.
    #[must_use]
    pub const fn site(mode: Mode) -> &'static str {
        match mode {
            Mode::Test => "https://api.sandbox.checkout.com",
            Mode::Live => "https://api.checkout.com",
        }
    }

    /// # Errors
    /// [`CheckoutError`], which says what to change.
    pub fn new(settings: CheckoutSettings) -> Result<Self, CheckoutError> {
        let mode = settings.connection.mode;
        let (secret, public) = match mode {
            Mode::Test => ("sk_sbox_", "pk_sbox_"),
            Mode::Live => ("sk_", "pk_"),
        };
        for (which, key, expected) in [
            ("key_file", settings.key.expose(), secret),
            ("public_key", settings.public_key.as_str(), public),
        ] {
            let of_test = key.starts_with("sk_sbox_") || key.starts_with("pk_sbox_");
            if !key.starts_with(expected) || of_test != (mode == Mode::Test) {
                return Err(CheckoutError::Key { which, expected });
            }
        }
        let authorization = format!("Bearer {}", settings.key.expose());
        Ok(Self {
            api: Api::new(&settings.connection)?,
            authorization: Secret::composed(authorization),
            public_authorization: format!("Bearer {}", settings.public_key),
            processing_channel: settings.processing_channel,
            mode,
        })
    }

    /// The payment's JSON.
    fn payment(&self, charge: &Charge, token: &Token) -> Option<String> {
        let payment = json!({
            "source": { "type": "token", "token": token.as_str() },
            "amount": amount(charge)?,
            "currency": charge.currency,
            "processing_channel_id": self.processing_channel,
            "payment_type": "MOTO",
            "capture": charge.purpose == Purpose::Charge,
            "reference": short_reference(charge),
            "metadata": { "attempt": charge.attempt.to_string(), "reference": charge.reference },
        });
        Some(payment.to_string())
    }

    async fn find(&self, charge: &Charge) -> Outcome {
        let query = Serializer::new(String::new())
            .append_pair("limit", "2")
            .append_pair("skip", "0")
            .append_pair("reference", &short_reference(charge))
            .finish();
        let fields = [("Authorization", self.authorization.expose())];
        let response = match self.api.get(&format!("/payments?{query}"), &fields).await {
            Ok(response) => response,
            Err(error) => return not_looked_up(error),
        };
        let found = match (response.status, serde_json::from_slice(&response.body)) {
            (200, Ok(Found { data })) => data,
            (status, _) => return not_looked_up(format!("the list was answered HTTP {status}")),
        };
        let id = match found.as_slice() {
            [] if age(charge) < REPLAY_FOR + LIST_LAG => {
                return not_looked_up("the list does not have it, and may lag behind");
            }
            [] => {
                return Outcome::Failed {
                    reason: "the processor has no such charge: nothing was done".to_owned(),
                    retryable: true,
                };
            }
            [one] => words::reference(&one.id),
            _ => return not_looked_up("there is more than one payment of this reference"),
        };
        let Some(id) = id else {
            return not_looked_up("its id is no word");
        };
        // What is listed may be out of date.
        match self.api.get(&format!("/payments/{id}"), &fields).await {
            Ok(response) if response.status == 200 => understand(&response, charge),
            Ok(response) => not_looked_up(format!("it was answered HTTP {}", response.status)),
            Err(error) => not_looked_up(error),
        }
    }
}

impl Processor for Checkout {
    fn promises(&self) -> Promises {
        Promises {
            name: "checkout-com",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: true,
            idempotency_retention: match self.mode {
                Mode::Test => Duration::from_secs(120),
                Mode::Live => Duration::from_secs(24 * 60 * 60),
            },
            look_up_by_reference: true,
            // The adapter itself keeps it, counted from the attempt: see `find`.
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities {
                authorise: true,
                settle_part: true,
                // Voiding is for what is not captured.
                void_charge: false,
                refund: true,
                refund_part: true,
            },
        }
    }

    async fn warm(&self) {
        self.api.warm().await;
    }

    async fn submit(&self, recorded: Recorded, card: CardView<'_>, charge: &Charge) -> Submitted {
        if amount(charge).is_none() {
            return Submitted::Ended(unpayable(charge));
        }
        let mut body = vec![
            Piece::Text("{\"type\":\"card\",\"number\":\""),
            Piece::Pan,
            Piece::Text("\",\"expiry_month\":"),
            Piece::ExpiryMonthNumber,
            Piece::Text(",\"expiry_year\":20"),
            Piece::ExpiryYear,
        ];
        if card.has_security_code() {
            body.extend([
                Piece::Text(",\"cvv\":\""),
                Piece::SecurityCode,
                Piece::Text("\""),
            ]);
        }
        body.push(Piece::Text("}"));
        let heading = Heading {
            media: JSON,
            fields: &[("Authorization", &self.public_authorization)],
        };
        let sent = self
            .api
            .post_card(recorded, card, "/tokens", heading, &body);
        match sent.await {
            Ok(response) => tokenised(&response),
            Err(error) => Submitted::Ended(Outcome::Failed {
                reason: format!("nothing was charged: {error}"),
                retryable: true,
            }),
        }
    }

    async fn charge(&self, charge: &Charge, token: &Token) -> Outcome {
        let Some(body) = self.payment(charge, token) else {
            return unpayable(charge);
        };
        let key = charge.attempt.to_string();
        let heading = Heading {
            media: JSON,
            fields: &[
                ("Authorization", self.authorization.expose()),
                ("Cko-Idempotency-Key", &key),
            ],
        };
        match self.api.post("/payments", heading, body).await {
            Ok(response) => understand(&response, charge),
            Err(error) => error.into(),
        }
    }

    async fn look_up(&self, charge: &Charge, token: Option<&Token>) -> Outcome {
        if let Some(token) = token.filter(|_| age(charge) < REPLAY_FOR) {
            // Under its key the first is answered again, or done now if it never came.
            match self.charge(charge, token).await {
                // That the question was refused (the token is used up, say, or the first is still under
                // way) tells nothing of the charge.
                Outcome::Failed { .. } | Outcome::Unknown { .. } => {}
                answer => return answer,
            }
        }
        self.find(charge).await
    }

    async fn operate(&self, operation: &Operation) -> Outcome {
        self.request_operation(operation).await
    }

    async fn look_up_operation(&self, operation: &Operation) -> Outcome {
        self.find_operation(operation).await
    }
}

/// Decimals that Checkout.com counts a currency in: its page "Calculating the value".
fn amount(charge: &Charge) -> Option<u64> {
    counted(charge.amount_minor, &charge.currency)
}

fn counted(amount_minor: u64, currency: &str) -> Option<u64> {
    let (standard, decimals) = decimals(currency)?;
    rescaled(amount_minor, standard, decimals)
}

/// The other way.
fn uncounted(amount: u64, currency: &str) -> Option<u64> {
    let (standard, decimals) = decimals(currency)?;
    rescaled(amount, decimals, standard)
}

/// Those of ISO 4217, and Checkout.com's.
fn decimals(currency: &str) -> Option<(u8, u8)> {
    let standard = currency_exponent(currency)?;
    Some(match currency {
        "CLF" => (standard, 0),
        "CLP" => (standard, 2),
        _ => (standard, standard),
    })
}

fn unpayable(charge: &Charge) -> Outcome {
    Outcome::Failed {
        reason: format!(
            "nothing was sent: Checkout.com cannot count this amount of {} to the last unit",
            charge.currency
        ),
        retryable: false,
    }
}

#[derive(Deserialize)]
struct Found {
    data: Vec<FoundPayment>,
}

#[derive(Deserialize)]
struct FoundPayment {
    id: String,
}

#[derive(Deserialize)]
struct Tokenised {
    token: String,
}

#[derive(Deserialize)]
struct Payment {
    id: String,
    status: String,
    approved: Option<bool>,
    amount: u64,
    currency: String,
    reference: Option<String>,
    response_code: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error_codes: Vec<String>,
}

impl Refusal {
    fn code(&self) -> String {
        words::code_or_withheld(self.error_codes.first().map_or("", String::as_str))
    }

    /// Which field was keyed wrong, if one was.
    fn field(&self) -> Option<Field> {
        self.error_codes
            .iter()
            .find_map(|code| match code.as_str() {
                "card_number_invalid" => Some(Field::PaymentCardNumber),
                "card_expired" | "card_expiry_month_invalid" | "card_expiry_year_invalid" => {
                    Some(Field::ExpirationDate)
                }
                "cvv_invalid" => Some(Field::SecurityCode),
                _ => None,
            })
    }
}

/// What became of the card. Whatever it is, no money has moved.
fn tokenised(response: &Response) -> Submitted {
    let nothing = |why: &str, retryable: bool| {
        Submitted::Ended(Outcome::Failed {
            reason: format!("nothing was charged: {why} (HTTP {})", response.status),
            retryable,
        })
    };
    if response.status == 201 {
        let made = serde_json::from_slice::<Tokenised>(&response.body).ok();
        return match made.and_then(|made| Token::new(&made.token)) {
            Some(token) => Submitted::Tokenised(token),
            None => nothing("the processor's answer is no token", true),
        };
    }
    match (
        response.status,
        serde_json::from_slice::<Refusal>(&response.body),
    ) {
        (401 | 403, _) => nothing("the public key is not taken", false),
        (422, Ok(refusal)) => match refusal.field() {
            Some(field) => Submitted::Ended(Outcome::Declined {
                advice: Advice::ReEnter(field),
                code: refusal.code(),
            }),
            None => nothing(&refusal.code(), false),
        },
        (status, Ok(refusal)) => nothing(&refusal.code(), status == 429 || status >= 500),
        (_, Err(_)) => nothing("the processor's answer cannot be read", true),
    }
}

fn understand(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    if (200..=202).contains(&status) {
        return match serde_json::from_slice::<Payment>(&response.body) {
            Ok(payment) if payment.is_of(charge) => payment.outcome(),
            Ok(_) => unclear("is about another charge", status),
            Err(_) => unclear("is no payment", status),
        };
    }
    match (status, serde_json::from_slice::<Refusal>(&response.body)) {
        (401 | 403, _) => refused("the key is not taken", status, false),
        (422, Ok(refusal)) => refused(&refusal.code(), status, false),
        // Of the first request under a key: nothing is under way that it could have met.
        (429, _) => refused("too many requests", status, true),
        _ => unclear("cannot be read", status),
    }
}

impl Payment {
    fn is_of(&self, charge: &Charge) -> bool {
        Some(self.amount) == amount(charge)
            && self.currency == charge.currency
            && self.reference == Some(short_reference(charge))
    }

    fn outcome(&self) -> Outcome {
        let processor_reference = words::reference_or_withheld(&self.id);
        let code = self.response_code.as_deref().unwrap_or(&self.status);
        let code = words::code_or_withheld(code);
        match (self.status.as_str(), self.approved) {
            // Part of the amount is authorised: neither a payment nor none.
            _ if self.response_code.as_deref() == Some("10010") => Outcome::Pending {
                processor_reference,
                code,
            },
            ("Authorized" | "Captured" | "Partially Captured" | "Paid", Some(true)) => {
                Outcome::Approved {
                    processor_reference,
                    code,
                }
            }
            // It waits for a page that a caller cannot be sent to, or for the processor.
            ("Pending", _) => Outcome::Pending {
                processor_reference,
                code,
            },
            ("Declined", _) => Outcome::Declined {
                advice: advice(self.response_code.as_deref()),
                code,
            },
            ("Canceled" | "Expired" | "Voided", _) => Outcome::Failed {
                reason: "the charge was cancelled at the processor".to_owned(),
                retryable: true,
            },
            _ => unclear(&format!("says {code}"), 200),
        }
    }
}

/// By `response_code`: 20xxx are soft declines, 30xxx hard ones, 40xxx are by the risk engine.
fn advice(code: Option<&str>) -> Advice {
    match code.unwrap_or_default() {
        // Insufficient funds, response too late, issuer unavailable, system malfunction.
        "20051" | "20068" | "20091" | "20096" => Advice::TryAgain,
        // Invalid card number, no such issuer.
        "20014" | "30015" => Advice::ReEnter(Field::PaymentCardNumber),
        // Expired, or a date that is none.
        "20054" | "20100" => Advice::ReEnter(Field::ExpirationDate),
        // Bad track data: a wrong security code, most often.
        "20087" => Advice::ReEnter(Field::SecurityCode),
        // Refer to the issuer, not permitted to the cardholder, exceeds a limit, restricted, too often.
        "20001" | "20002" | "20057" | "20061" | "20062" | "20065" => Advice::CallIssuer,
        // Suspected fraud, violation of law.
        "20059" | "20093" => Advice::DoNotRetry,
        code if code.starts_with("30") || code.starts_with("40") => Advice::DoNotRetry,
        _ => Advice::OtherCard,
    }
}

#[cfg(test)]
mod tests;
