//! Stripe: the card becomes a payment method, which a payment intent charges.
//!
//! A payment method that is not attached to a customer keeps the security code, authorises nothing
//! and is charged once. The payment intent carries `moto`, which Stripe has to enable for an account
//! that may send card numbers. Sources: <https://docs.stripe.com/api/payment_methods/create>,
//! <https://docs.stripe.com/api/payment_intents/create>, <https://docs.stripe.com/api/idempotent_requests>,
//! <https://docs.stripe.com/search>, <https://docs.stripe.com/declines/codes>.

mod notifications;
mod operations;

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::Deserialize;

use super::{
    Abilities, Advice, CardView, Charge, Connection, EndpointError, Mode, Operation, Outcome,
    Processor, Promises, Purpose, Secret, Submitted, Token,
    api::{Api, age, not_looked_up, refused, rescaled, unclear},
    card::Piece,
    client::{FORM, Heading},
    response::Response,
    words,
};
use crate::{
    audit_log::Recorded,
    proto::{currency::currency_exponent, field::Field},
};

pub use notifications::StripeNotifications;

/// The version whose fields are sent and whose answers are understood here; later ones have no
/// `payment_method_types` in an intent that is created.
const VERSION: &str = "2024-06-20";
/// Where our reference stands in an intent.
const REFERENCE: &str = "tonewall_attempt";
/// How long a charge is asked for again where its answer is missing. Beyond it the charge is only
/// looked for: nobody expects it to be made any more.
const REPLAY_FOR: Duration = Duration::from_secs(10 * 60);
/// How far a search may lag behind, as Stripe says.
const SEARCH_LAG: Duration = Duration::from_secs(60 * 60);

/// What the adapter needs to know.
pub struct StripeSettings {
    /// How it is reached; [`Stripe::SITE`] unless told otherwise.
    pub connection: Connection,
    /// The account's secret or restricted key.
    pub key: Secret,
    /// What the cardholder's statement says after the account's own prefix.
    pub descriptor: Option<String>,
}

/// The adapter.
pub struct Stripe {
    api: Api,
    authorization: Secret,
    descriptor: Option<String>,
    mode: Mode,
}

/// Why there is no adapter.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// The key is of the other mode.
    #[error("found a key that begins with {found:?}; expected {expected} in this mode")]
    Key {
        /// Its first characters, which are the same for all keys of a kind.
        found: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// It cannot be reached as configured.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Stripe {
    /// Where the API is.
    pub const SITE: &'static str = "https://api.stripe.com";

    /// # Errors
    /// [`StripeError`], which says what to change.
    pub fn new(settings: StripeSettings) -> Result<Self, StripeError> {
        let mode = settings.connection.mode;
        check_key(settings.key.expose(), mode)?;
        let authorization = format!("Bearer {}", settings.key.expose());
        Ok(Self {
            api: Api::new(&settings.connection)?,
            authorization: Secret::composed(authorization),
            descriptor: settings.descriptor,
            mode,
        })
    }

    /// Fields of every request, and the key under which it is done once.
    fn fields<'a>(&'a self, key: &'a str) -> [(&'static str, &'a str); 3] {
        [
            ("Authorization", self.authorization.expose()),
            ("Stripe-Version", VERSION),
            ("Idempotency-Key", key),
        ]
    }

    fn intent(&self, charge: &Charge, token: &Token) -> Option<String> {
        let amount = amount(charge)?;
        let attempt = charge.attempt.to_string();
        let mut form = Serializer::new(String::new());
        form.append_pair("amount", &amount.to_string())
            .append_pair("currency", &charge.currency.to_ascii_lowercase())
            .append_pair("payment_method", token.as_str())
            .append_pair("payment_method_types[]", "card")
            .append_pair("payment_method_options[card][moto]", "true")
            .append_pair("confirm", "true")
            // A caller cannot be sent to a page: such a charge is declined and not left half done.
            .append_pair("error_on_requires_action", "true")
            .append_pair("capture_method", capture_method(charge.purpose))
            .append_pair("description", &charge.reference)
            .append_pair(&format!("metadata[{REFERENCE}]"), &attempt)
            .append_pair("metadata[reference]", &charge.reference);
        if let Some(descriptor) = &self.descriptor {
            form.append_pair("statement_descriptor_suffix", descriptor);
        }
        Some(form.finish())
    }

    async fn search(&self, charge: &Charge) -> Outcome {
        let query = format!("metadata['{REFERENCE}']:'{}'", charge.attempt);
        let query = Serializer::new(String::new())
            .append_pair("query", &query)
            .finish();
        let fields = &self.fields("")[..2];
        let path = format!("/v1/payment_intents/search?{query}");
        let response = match self.api.get(&path, fields).await {
            Ok(response) => response,
            Err(error) => return not_looked_up(error),
        };
        let found = match (response.status, serde_json::from_slice(&response.body)) {
            (200, Ok(Found { object, data })) if object == "search_result" => data,
            (status, _) => return not_looked_up(format!("the search was answered HTTP {status}")),
        };
        let Some(found) = found.first() else {
            return if age(charge) < REPLAY_FOR + SEARCH_LAG {
                not_looked_up("a search does not find it, and may lag behind")
            } else {
                Outcome::Failed {
                    reason: "the processor has no such charge: nothing was done".to_owned(),
                    retryable: true,
                }
            };
        };
        let Some(id) = words::reference(&found.id) else {
            return not_looked_up("its id is no word");
        };
        // What was indexed may be out of date.
        let path = format!("/v1/payment_intents/{id}");
        match self.api.get(&path, fields).await {
            Ok(response) if response.status == 200 => understand(&response, charge),
            Ok(response) => not_looked_up(format!("it was answered HTTP {}", response.status)),
            Err(error) => not_looked_up(error),
        }
    }
}

fn check_key(key: &str, mode: Mode) -> Result<(), StripeError> {
    let kinds = ["sk_test_", "rk_test_", "sk_live_", "rk_live_"];
    let found = kinds.into_iter().find(|kind| key.starts_with(kind));
    let (fits, expected) = match mode {
        Mode::Test => (&kinds[..2], "sk_test_ or rk_test_"),
        Mode::Live => (&kinds[2..], "sk_live_ or rk_live_"),
    };
    match found {
        Some(kind) if fits.contains(&kind) => Ok(()),
        found => Err(StripeError::Key {
            found: found.unwrap_or("something else"),
            expected,
        }),
    }
}

impl Processor for Stripe {
    fn promises(&self) -> Promises {
        Promises {
            name: "stripe",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: true,
            idempotency_retention: Duration::from_secs(24 * 60 * 60),
            look_up_by_reference: true,
            // The adapter itself keeps it, counted from the attempt: see `search`.
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities {
                authorise: true,
                settle_part: true,
                // Cancelling is for what is not captured.
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
            Piece::Text("type=card&card%5Bnumber%5D="),
            Piece::Pan,
            Piece::Text("&card%5Bexp_month%5D="),
            Piece::ExpiryMonth,
            Piece::Text("&card%5Bexp_year%5D=20"),
            Piece::ExpiryYear,
        ];
        if card.has_security_code() {
            body.extend([Piece::Text("&card%5Bcvc%5D="), Piece::SecurityCode]);
        }
        let key = format!("{}-card", charge.attempt);
        let heading = Heading {
            media: FORM,
            fields: &self.fields(&key),
        };
        let path = "/v1/payment_methods";
        let sent = self.api.post_card(recorded, card, path, heading, &body);
        match sent.await {
            Ok(response) => tokenised(&response),
            Err(error) => Submitted::Ended(Outcome::Failed {
                reason: format!("nothing was charged: {error}"),
                retryable: true,
            }),
        }
    }

    async fn charge(&self, charge: &Charge, token: &Token) -> Outcome {
        let Some(body) = self.intent(charge, token) else {
            return unpayable(charge);
        };
        let key = charge.attempt.to_string();
        let heading = Heading {
            media: FORM,
            fields: &self.fields(&key),
        };
        match self.api.post("/v1/payment_intents", heading, body).await {
            Ok(response) => understand(&response, charge),
            Err(error) => error.into(),
        }
    }

    async fn look_up(&self, charge: &Charge, token: Option<&Token>) -> Outcome {
        if let Some(token) = token.filter(|_| age(charge) < REPLAY_FOR) {
            // Under its key the first is answered again, or done now if it never came.
            match self.charge(charge, token).await {
                // An error is stored under the key too; and that the question was refused tells
                // nothing of the charge.
                Outcome::Failed { .. } | Outcome::Unknown { .. } => {}
                answer => return answer,
            }
        }
        self.search(charge).await
    }

    async fn operate(&self, operation: &Operation) -> Outcome {
        self.request_operation(operation).await
    }

    async fn look_up_operation(&self, operation: &Operation) -> Outcome {
        self.find_operation(operation).await
    }
}

const fn capture_method(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Charge => "automatic",
        Purpose::Authorise => "manual",
    }
}

/// Decimals that Stripe counts a currency in: <https://docs.stripe.com/currencies>.
fn amount(charge: &Charge) -> Option<u64> {
    counted(charge.amount_minor, &charge.currency)
}

fn counted(amount_minor: u64, currency: &str) -> Option<u64> {
    let (standard, decimals) = decimals(currency)?;
    let amount = rescaled(amount_minor, standard, decimals)?;
    // Of three decimals the last has to be 0.
    (decimals < 3 || amount.is_multiple_of(10)).then_some(amount)
}

/// The other way.
fn uncounted(amount: u64, currency: &str) -> Option<u64> {
    let (standard, decimals) = decimals(currency)?;
    rescaled(amount, decimals, standard)
}

/// Those of ISO 4217, and Stripe's.
fn decimals(currency: &str) -> Option<(u8, u8)> {
    let standard = currency_exponent(currency)?;
    Some(match currency {
        "MGA" => (standard, 0),
        "ISK" | "UGX" => (standard, 2),
        _ => (standard, standard),
    })
}

fn unpayable(charge: &Charge) -> Outcome {
    Outcome::Failed {
        reason: format!(
            "nothing was sent: Stripe cannot count this amount of {} to the last unit",
            charge.currency
        ),
        retryable: false,
    }
}

#[derive(Deserialize)]
struct Found {
    object: String,
    data: Vec<FoundIntent>,
}

#[derive(Deserialize)]
struct FoundIntent {
    id: String,
}

#[derive(Deserialize)]
struct Method {
    object: String,
    id: String,
}

#[derive(Deserialize)]
struct Intent {
    object: String,
    id: String,
    status: String,
    amount: u64,
    currency: String,
    metadata: Metadata,
    last_payment_error: Option<Problem>,
}

#[derive(Deserialize)]
struct Metadata {
    tonewall_attempt: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Problem,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    advice_code: Option<String>,
}

impl Problem {
    fn code(&self) -> String {
        let code = self.decline_code.as_deref().or(self.code.as_deref());
        words::code_or_withheld(code.unwrap_or(&self.kind))
    }

    fn declined(&self) -> Outcome {
        // What the network says outweighs what the issuer says.
        let advice = match self.advice_code.as_deref() {
            Some("do_not_try_again") => Advice::DoNotRetry,
            _ => advice(self.decline_code.as_deref(), self.code.as_deref()),
        };
        Outcome::Declined {
            advice,
            code: self.code(),
        }
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
    if response.status == 200 {
        let method = serde_json::from_slice::<Method>(&response.body).ok();
        let method = method.filter(|method| method.object == "payment_method");
        return match method.and_then(|method| Token::new(&method.id)) {
            Some(token) => Submitted::Tokenised(token),
            None => nothing("the processor's answer is no payment method", true),
        };
    }
    let Ok(Refusal { error }) = serde_json::from_slice(&response.body) else {
        return nothing("the processor's answer cannot be read", true);
    };
    match response.status {
        402 if error.kind == "card_error" => Submitted::Ended(error.declined()),
        status => nothing(
            &error.code(),
            status == 409 || status == 429 || status >= 500,
        ),
    }
}

fn understand(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    if status == 200 {
        return match serde_json::from_slice::<Intent>(&response.body) {
            Ok(intent) if intent.is_of(charge) => intent.outcome(),
            Ok(_) => unclear("is about another charge", status),
            Err(_) => unclear("is no payment intent", status),
        };
    }
    let Ok(Refusal { error }) = serde_json::from_slice(&response.body) else {
        return unclear("cannot be read", status);
    };
    match (status, error.kind.as_str()) {
        (402, "card_error") => error.declined(),
        (400 | 401 | 403 | 404, "invalid_request_error") => refused(&error.code(), status, false),
        (429, _) => refused(&error.code(), status, true),
        // A key that is in use or was used otherwise: what was done under it is not said.
        _ => unclear(&format!("says {}", error.code()), status),
    }
}

impl Intent {
    fn is_of(&self, charge: &Charge) -> bool {
        self.object == "payment_intent"
            && Some(self.amount) == amount(charge)
            && self.currency.eq_ignore_ascii_case(&charge.currency)
            && self.metadata.tonewall_attempt == Some(charge.attempt.to_string())
    }

    fn outcome(&self) -> Outcome {
        let processor_reference = words::reference_or_withheld(&self.id);
        let code = words::code_or_withheld(&self.status);
        match (self.status.as_str(), &self.last_payment_error) {
            ("succeeded" | "requires_capture", _) => Outcome::Approved {
                processor_reference,
                code,
            },
            ("processing", _) => Outcome::Pending {
                processor_reference,
                code,
            },
            ("requires_payment_method", Some(problem)) => problem.declined(),
            ("requires_action", _) => Outcome::Declined {
                advice: Advice::OtherCard,
                code,
            },
            ("canceled", _) => Outcome::Failed {
                reason: "the charge was cancelled at the processor".to_owned(),
                retryable: true,
            },
            _ => unclear(&format!("says {code}"), 200),
        }
    }
}

/// <https://docs.stripe.com/declines/codes> and, for what Stripe itself finds wrong with a card,
/// <https://docs.stripe.com/error-codes>.
fn advice(decline: Option<&str>, code: Option<&str>) -> Advice {
    match decline.or(code).unwrap_or_default() {
        "approve_with_id"
        | "insufficient_funds"
        | "issuer_not_available"
        | "processing_error"
        | "reenter_transaction"
        | "try_again_later" => Advice::TryAgain,
        "incorrect_number" | "invalid_number" => Advice::ReEnter(Field::PaymentCardNumber),
        "expired_card" | "invalid_expiry_month" | "invalid_expiry_year" => {
            Advice::ReEnter(Field::ExpirationDate)
        }
        "incorrect_cvc" | "invalid_cvc" => Advice::ReEnter(Field::SecurityCode),
        "call_issuer"
        | "card_velocity_exceeded"
        | "invalid_account"
        | "no_action_taken"
        | "not_permitted"
        | "service_not_allowed"
        | "transaction_not_allowed"
        | "withdrawal_count_limit_exceeded" => Advice::CallIssuer,
        "do_not_try_again"
        | "duplicate_transaction"
        | "fraudulent"
        | "lost_card"
        | "merchant_blacklist"
        | "pickup_card"
        | "restricted_card"
        | "revocation_of_all_authorizations"
        | "revocation_of_authorization"
        | "security_violation"
        | "stolen_card"
        | "stop_payment_order" => Advice::DoNotRetry,
        _ => Advice::OtherCard,
    }
}

#[cfg(test)]
mod tests;
