//! Worldpay, by the Payments API of Access Worldpay: one request charges the card.
//!
//! The answer's `outcome` tells what became of it. A payment whose answer is missing is found by its
//! transaction reference in the Payment Queries API, which lags behind by up to a minute. Sources:
//! <https://developer.worldpay.com/products/payments/openapi>,
//! <https://developer.worldpay.com/products/payments/enable-features/moto>,
//! <https://developer.worldpay.com/products/payment-queries/query-by-trans-ref>,
//! <https://developer.worldpay.com/products/reference/refusal-response>,
//! <https://developer.worldpay.com/products/reference/worldpay-error-responses>.

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::json;

use super::{
    Abilities, Advice, CardView, Charge, Connection, EndpointError, Mode, Outcome, Processor,
    Promises, Secret, Submitted, Token,
    api::{Api, age, not_looked_up, refused, short_reference, unclear},
    card::Piece,
    client::{Heading, JSON},
    response::Response,
    words,
};
use crate::{
    audit_log::Recorded,
    proto::{currency::currency_exponent, field::Field},
};

/// The API's version, which goes with every request.
const VERSION: &str = "2024-06-01";
/// What the Payment Queries API answers with.
const QUERIES: &str = "application/vnd.worldpay.payment-queries-v1.hal+json";
/// After how long an empty answer counts. Queries lag up to a minute behind, the events of a payment up to
/// 15, and a request may have been on its way for one.
const QUERY_LAG: Duration = Duration::from_secs(20 * 60);
/// Currencies that Worldpay's products count in other decimals than ISO 4217, or not alike.
const OF_OTHER_DECIMALS: [&str; 5] = ["CLP", "CVE", "IDR", "ISK", "UGX"];

/// What the adapter needs to know.
pub struct WorldpaySettings {
    /// How it is reached; [`Worldpay::site`] unless told otherwise.
    pub connection: Connection,
    /// Who asks, for HTTP Basic.
    pub username: String,
    /// Its password.
    pub key: Secret,
    /// The entity that is charged for.
    pub entity: String,
    /// What the cardholder's statement says.
    pub narrative: String,
}

/// The adapter.
pub struct Worldpay {
    api: Api,
    authorization: Secret,
    entity: String,
    narrative: String,
    mode: Mode,
}

impl Worldpay {
    /// Where the API is.
    #[must_use]
    pub const fn site(mode: Mode) -> &'static str {
        match mode {
            Mode::Test => "https://try.access.worldpay.com",
            Mode::Live => "https://access.worldpay.com",
        }
    }

    /// # Errors
    /// [`EndpointError`], which says what to change.
    pub fn new(settings: WorldpaySettings) -> Result<Self, EndpointError> {
        Ok(Self {
            api: Api::new(&settings.connection)?,
            authorization: settings.key.basic(&settings.username),
            entity: settings.entity,
            narrative: settings.narrative,
            mode: settings.connection.mode,
        })
    }

    /// The request's JSON up to the card. Nothing here is secret.
    fn opening(&self, charge: &Charge, amount: u64) -> String {
        let payment = json!({
            "transactionReference": short_reference(charge),
            "merchant": { "entity": self.entity },
            "channel": "moto",
        });
        let instruction = json!({
            "method": "card",
            "narrative": { "line1": self.narrative },
            "value": { "currency": charge.currency, "amount": amount },
            "settlement": { "auto": true },
        });
        let mut text = payment.to_string();
        text.pop();
        text.push_str(",\"instruction\":");
        text.push_str(&instruction.to_string());
        text.pop();
        text.push_str(",\"paymentInstrument\":{\"type\":\"plain\",\"cardNumber\":\"");
        text
    }

    async fn find(&self, charge: &Charge) -> Outcome {
        let query = Serializer::new(String::new())
            .append_pair("transactionReference", &short_reference(charge))
            .finish();
        let fields = [
            ("Authorization", self.authorization.expose()),
            ("Accept", QUERIES),
        ];
        let path = format!("/paymentQueries/payments?{query}");
        let response = match self.api.get(&path, &fields).await {
            Ok(response) => response,
            Err(error) => return not_looked_up(error),
        };
        let found = match (response.status, serde_json::from_slice(&response.body)) {
            (200, Ok(Found { embedded })) => embedded.payments,
            (status, _) => return not_looked_up(format!("the query was answered HTTP {status}")),
        };
        match found.as_slice() {
            [] if age(charge) < QUERY_LAG => {
                not_looked_up("the query does not have it, and may lag behind")
            }
            [] => Outcome::Failed {
                reason: "the processor has no such charge: nothing was done".to_owned(),
                retryable: true,
            },
            [one] if one.is_of(charge) => one.outcome(),
            [_] => not_looked_up("what was found is another charge"),
            _ => not_looked_up("there is more than one payment of this reference"),
        }
    }
}

impl Processor for Worldpay {
    fn promises(&self) -> Promises {
        Promises {
            name: "worldpay",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: false,
            // A reference is unique by our making; Worldpay does not say what a second one is answered.
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: true,
            // The adapter itself keeps it, counted from the attempt: see `find`.
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities::default(),
        }
    }

    async fn warm(&self) {
        self.api.warm().await;
    }

    async fn submit(&self, recorded: Recorded, card: CardView<'_>, charge: &Charge) -> Submitted {
        let Some(amount) = amount(charge) else {
            return Submitted::Ended(Outcome::Failed {
                reason: format!(
                    "nothing was sent: it is not known how Worldpay counts this amount of {}",
                    charge.currency
                ),
                retryable: false,
            });
        };
        let opening = self.opening(charge, amount);
        let mut body = vec![
            Piece::Text(&opening),
            Piece::Pan,
            Piece::Text("\",\"expiryDate\":{\"month\":"),
            Piece::ExpiryMonthNumber,
            Piece::Text(",\"year\":20"),
            Piece::ExpiryYear,
            Piece::Text("}"),
        ];
        if card.has_security_code() {
            body.extend([
                Piece::Text(",\"cvc\":\""),
                Piece::SecurityCode,
                Piece::Text("\""),
            ]);
        }
        body.push(Piece::Text("}}}"));
        let heading = Heading {
            media: JSON,
            fields: &[
                ("Authorization", self.authorization.expose()),
                ("WP-Api-Version", VERSION),
            ],
        };
        let sent = self
            .api
            .post_card(recorded, card, "/api/payments", heading, &body);
        Submitted::Ended(match sent.await {
            Ok(response) => understand(&response, charge),
            Err(error) => error.into(),
        })
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        self.find(charge).await
    }
}

/// Worldpay counts in minor units, in an integer of 32 bits. A currency whose decimals are in doubt is not
/// charged: it could be a hundred times too much.
fn amount(charge: &Charge) -> Option<u64> {
    currency_exponent(&charge.currency)?;
    let is_in_doubt = OF_OTHER_DECIMALS.contains(&charge.currency.as_str());
    let fits = i32::try_from(charge.amount_minor).is_ok();
    (fits && !is_in_doubt).then_some(charge.amount_minor)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    outcome: String,
    transaction_reference: Option<String>,
    payment_id: Option<String>,
    refusal_code: Option<String>,
    advice: Option<AdviceCode>,
    #[serde(default)]
    risk_factors: Vec<RiskFactor>,
}

#[derive(Deserialize)]
struct AdviceCode {
    code: Option<String>,
}

#[derive(Deserialize)]
struct RiskFactor {
    #[serde(rename = "type")]
    kind: Option<String>,
    risk: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_name: String,
    #[serde(default)]
    validation_errors: Vec<Wrong>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wrong {
    json_path: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_embedded")]
    embedded: Embedded,
}

#[derive(Deserialize)]
struct Embedded {
    payments: Vec<FoundPayment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FoundPayment {
    payment_id: Option<String>,
    transaction_reference: Option<String>,
    last_event: Option<String>,
    value: Option<Value>,
}

#[derive(Deserialize)]
struct Value {
    currency: String,
    amount: u64,
}

fn understand(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    if !matches!(status, 201 | 202) {
        return not_taken(response);
    }
    match serde_json::from_slice::<Answer>(&response.body) {
        Ok(answer) if answer.transaction_reference != Some(short_reference(charge)) => {
            unclear("is about another payment", status)
        }
        Ok(answer) => answer.outcome(status),
        Err(_) => unclear("is not the JSON of a payment", status),
    }
}

impl Answer {
    fn outcome(&self, status: u16) -> Outcome {
        let code = match &self.refusal_code {
            Some(refusal) => words::code_or_withheld(&format!("{}:{refusal}", self.outcome)),
            None => words::code_or_withheld(&self.outcome),
        };
        let pending = |code| Outcome::Pending {
            processor_reference: self.processor_reference(),
            code,
        };
        match (self.outcome.as_str(), self.refusal_code.as_deref()) {
            ("sentForSettlement", _) => Outcome::Approved {
                processor_reference: self.processor_reference(),
                code: "sentForSettlement".to_owned(),
            },
            // Part of the amount is authorised: neither a payment nor none.
            ("refused", Some("10")) => pending(code),
            ("refused", _) => Outcome::Declined {
                advice: self.advice(),
                code,
            },
            // The cardholder's money is held, and nobody has been told to settle it, or it is about to be
            // released and has not been yet.
            ("authorized" | "sentForCancellation", _) => pending(code),
            ("fraudHighRisk", _) => Outcome::Declined {
                advice: Advice::DoNotRetry,
                code,
            },
            // A caller cannot do what these ask for, and nothing is charged until it is done.
            (
                "3dsDeviceDataRequired"
                | "3dsChallenged"
                | "3dsAuthenticationFailed"
                | "3dsUnavailable",
                _,
            ) => Outcome::Declined {
                advice: Advice::OtherCard,
                code,
            },
            _ => unclear(&format!("says {code}"), status),
        }
    }

    /// Worldpay's id of the payment; where there is none, payments are found by ours.
    fn processor_reference(&self) -> String {
        let id = self.payment_id.as_ref();
        id.or(self.transaction_reference.as_ref())
            .map_or_else(String::new, |id| words::reference_or_withheld(id))
    }

    fn advice(&self) -> Advice {
        let is_wrong_code = self.risk_factors.iter().any(|factor| {
            factor.kind.as_deref() == Some("cvc") && factor.risk.as_deref() == Some("notMatched")
        });
        let scheme = self
            .advice
            .as_ref()
            .and_then(|advice| advice.code.as_deref());
        match (advice(self.refusal_code.as_deref()), scheme) {
            // The schemes' word for a card that must not be tried again.
            (_, Some("03" | "21")) => Advice::DoNotRetry,
            // What refused says no more, the security code does.
            (Advice::OtherCard, _) if is_wrong_code => Advice::ReEnter(Field::SecurityCode),
            (advice, _) => advice,
        }
    }
}

/// Answers to what Worldpay did not process.
fn not_taken(response: &Response) -> Outcome {
    let status = response.status;
    let Ok(refusal) = serde_json::from_slice::<Refusal>(&response.body) else {
        return match status {
            401 | 403 => refused("user name and password are not taken", status, false),
            429 => refused("too many requests", status, true),
            _ => unclear("cannot be read", status),
        };
    };
    let code = words::code_or_withheld(&refusal.error_name);
    match (status, refusal.field()) {
        (400, Some(field)) => Outcome::Declined {
            advice: Advice::ReEnter(field),
            code,
        },
        (429, _) => refused(&code, status, true),
        (400 | 401 | 403 | 404 | 406 | 415, _) => refused(&code, status, false),
        _ => unclear(&format!("says {code}"), status),
    }
}

impl Refusal {
    /// Which field was keyed wrong, if nothing else was.
    fn field(&self) -> Option<Field> {
        let field = |wrong: &Wrong| {
            let path = wrong.json_path.as_deref()?;
            let path = path.strip_prefix("$.instruction.paymentInstrument.")?;
            match path.split('.').next()? {
                "cardNumber" => Some(Field::PaymentCardNumber),
                "expiryDate" => Some(Field::ExpirationDate),
                "cvc" => Some(Field::SecurityCode),
                _ => None,
            }
        };
        let mut fields = self.validation_errors.iter().map(field);
        let first = fields.next()??;
        fields.all(|other| other.is_some()).then_some(first)
    }
}

/// By `refusalCode`.
fn advice(code: Option<&str>) -> Advice {
    match code.unwrap_or_default() {
        // Enter again, acquirer error, limit exceeded (not enough money), issuer not available, malfunction.
        "19" | "20" | "51" | "91" | "96" => Advice::TryAgain,
        // Invalid number, no such issuer, unknown card.
        "14" | "15" | "56" => Advice::ReEnter(Field::PaymentCardNumber),
        "33" | "54" => Advice::ReEnter(Field::ExpirationDate),
        // Invalid security code, of several kinds.
        "55" | "75" | "82" => Advice::ReEnter(Field::SecurityCode),
        // Referral, not permitted to the cardholder, exceeds a limit, restricted, too often.
        "1" | "2" | "57" | "61" | "62" | "65" => Advice::CallIssuer,
        // Hold or pick up the card, suspected fraud, lost, stolen, closed, rules violated, blocked, breach.
        "4" | "7" | "34" | "41" | "43" | "46" | "59" | "63" | "76" | "83" | "97" => {
            Advice::DoNotRetry
        }
        _ => Advice::OtherCard,
    }
}

impl FoundPayment {
    fn is_of(&self, charge: &Charge) -> bool {
        let is_its_value = |value: &Value| {
            value.currency == charge.currency && Some(value.amount) == amount(charge)
        };
        self.transaction_reference == Some(short_reference(charge))
            && self.value.as_ref().is_some_and(is_its_value)
    }

    fn outcome(&self) -> Outcome {
        let id = self.payment_id.as_ref();
        let processor_reference = id
            .or(self.transaction_reference.as_ref())
            .map_or_else(String::new, |id| words::reference_or_withheld(id));
        let event = self.last_event.as_deref().unwrap_or_default();
        let code = words::code_or_withheld(event);
        match event {
            // It was asked to be settled with the authorisation.
            "authorizationSucceeded"
            | "saleSucceeded"
            | "settlementRequested"
            | "settlementRequestSubmitted" => Outcome::Approved {
                processor_reference,
                code,
            },
            "authorizationRefused" | "saleRefused" => Outcome::Declined {
                advice: Advice::OtherCard,
                code,
            },
            // Under way, or held and not settled, or released and not confirmed to be.
            "authorizationRequested"
            | "saleRequested"
            | "settlementFailed"
            | "settlementTimedOut"
            | "cancellationRequested"
            | "cancellationRequestSubmitted"
            | "cancellationFailed"
            | "cancellationTimedOut"
            | "reversalRequested"
            | "reversalRequestSubmitted"
            | "reversalFailed"
            | "reversalTimedOut" => Outcome::Pending {
                processor_reference,
                code,
            },
            // Whether anything was done is not said by these; refunds are somebody else's.
            _ => not_looked_up(format!("its last event is {code}")),
        }
    }
}

#[cfg(test)]
mod tests;
