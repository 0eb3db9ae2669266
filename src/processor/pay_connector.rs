//! The pay connector: JSON to an address of the merchant's own, in the form that users of
//! programmable-voice providers (Twilio's generic pay connector, SignalWire, Telnyx) serve already.
//!
//! The form knows a charge and its answer, and nothing else: no look-up, no reversal. A connector can
//! offer look-ups by an address of their own, `GET {look_up_url}/{transaction_id}`, answered as the
//! charge is, or with `404 {"error_code":"no_such_transaction"}`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Abilities, Advice, CardView, Charge, Connection, EndpointError, Mode, Outcome, Processor,
    Promises, Secret, Site, Submitted, Token,
    api::{Api, not_looked_up, refused, unclear},
    card::Piece,
    client::{Heading, JSON},
    response::Response,
    words,
};
use crate::{
    audit_log::Recorded,
    proto::{currency::decimal, field::Field},
};

/// What the adapter needs to know.
pub struct PayConnectorSettings {
    /// How it is reached; the site is the connector's whole address.
    pub connection: Connection,
    /// Who asks, for HTTP Basic; a bearer token is sent where there is no name.
    pub username: Option<String>,
    /// Password or bearer token.
    pub key: Secret,
    /// Where a charge can be looked up.
    pub look_up: Option<Site>,
    /// How long after a charge was sent a look-up may still miss it.
    pub consistency_delay: Duration,
}

/// The adapter.
pub struct PayConnector {
    api: Api,
    look_up: Option<Api>,
    authorization: Secret,
    consistency_delay: Duration,
    mode: Mode,
}

impl PayConnector {
    /// How long a look-up may lag behind where the connector does not say: longer than a request can
    /// be on its way.
    pub const CONSISTENCY_DELAY: Duration = Duration::from_secs(60);

    /// # Errors
    /// [`EndpointError`], which says what to change.
    pub fn new(settings: PayConnectorSettings) -> Result<Self, EndpointError> {
        let key = &settings.key;
        let authorization = match &settings.username {
            Some(name) => key.basic(name),
            None => Secret::composed(format!("Bearer {}", key.expose())),
        };
        let look_up = settings.look_up.map(|site| {
            Api::new(&Connection {
                site,
                ..settings.connection.clone()
            })
        });
        Ok(Self {
            api: Api::new(&settings.connection)?,
            look_up: look_up.transpose()?,
            authorization,
            consistency_delay: settings.consistency_delay,
            mode: settings.connection.mode,
        })
    }
}

impl Processor for PayConnector {
    fn promises(&self) -> Promises {
        Promises {
            name: "pay-connector",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: false,
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: self.look_up.is_some(),
            consistency_delay: self.consistency_delay,
            reversal_by_reference: false,
            // The form has no word for any.
            abilities: Abilities::default(),
        }
    }

    async fn warm(&self) {
        self.api.warm().await;
    }

    async fn submit(&self, recorded: Recorded, card: CardView<'_>, charge: &Charge) -> Submitted {
        let opening = opening(charge);
        let mut body = vec![
            Piece::Text(&opening),
            Piece::Text("\"cardnumber\":\""),
            Piece::Pan,
            Piece::Text("\",\"expiry_month\":\""),
            Piece::ExpiryMonth,
            Piece::Text("\",\"expiry_year\":\""),
            Piece::ExpiryYear,
        ];
        if card.has_security_code() {
            body.extend([Piece::Text("\",\"cvv\":\""), Piece::SecurityCode]);
        }
        body.push(Piece::Text("\"}"));
        let heading = Heading {
            media: JSON,
            fields: &[("Authorization", self.authorization.expose())],
        };
        let sent = self.api.post_card(recorded, card, "", heading, &body);
        Submitted::Ended(match sent.await {
            Ok(response) => understand(&response),
            Err(error) => error.into(),
        })
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        let Some(api) = &self.look_up else {
            return not_looked_up("this connector has no look-up; ask the processor behind it");
        };
        let fields = [("Authorization", self.authorization.expose())];
        match api.get(&format!("/{}", charge.attempt), &fields).await {
            Ok(response) if has_no_such_charge(&response) => Outcome::Failed {
                reason: "the connector has no such charge: nothing was done".to_owned(),
                retryable: true,
            },
            Ok(response) => match understand(&response) {
                // That the question was refused tells nothing of the charge.
                Outcome::Failed { reason, .. } => not_looked_up(reason),
                outcome => outcome,
            },
            Err(error) => not_looked_up(error),
        }
    }
}

/// The request's JSON up to the card. Nothing here is secret.
fn opening(charge: &Charge) -> String {
    let plain = serde_json::json!({
        "transaction_id": charge.attempt.to_string(),
        "method": "credit-card",
        "description": charge.reference,
        "currency_code": charge.currency,
        "parameters": { "channel": "moto", "reference": charge.reference },
    });
    let mut text = plain.to_string();
    text.pop();
    // A number with the currency's decimals; as a float it might be rounded.
    let amount = decimal(charge.amount_minor, &charge.currency);
    text.push_str(&format!(",\"chargeAmount\":{amount},"));
    text
}

/// The connector's answer. What it says in words is not passed on.
#[derive(Deserialize)]
struct Answer {
    charge_id: Option<Value>,
    error_code: Option<Value>,
}

/// A text, or a number as it is written; nothing of `null` and of an empty text.
fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn understand(response: &Response) -> Outcome {
    let status = response.status;
    match status {
        200 => {}
        // Refused at the door. Other answers are none of the form's, and may come after a charge.
        401 | 403 | 404 | 405 | 413 | 415 => {
            return refused("the connector does not take the request", status, false);
        }
        429 => return refused("the connector has too much to do", status, true),
        _ => return unclear("is none of a pay connector's", status),
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(&response.body) else {
        return unclear("is not the JSON of a charge", status);
    };
    let charge = word(answer.charge_id.as_ref());
    let error = word(answer.error_code.as_ref());
    match (charge, error) {
        (Some(id), None) => Outcome::Approved {
            processor_reference: words::reference_or_withheld(&id),
            code: "approved".to_owned(),
        },
        (None, Some(code)) => Outcome::Declined {
            advice: advice(&code),
            code: words::code_or_withheld(&code),
        },
        (Some(_), Some(_)) => unclear("has a charge and an error", status),
        (None, None) => unclear("has neither a charge nor an error", status),
    }
}

/// In the connector's own words: a 404 of anything in between tells nothing of the charge.
fn has_no_such_charge(response: &Response) -> bool {
    response.status == 404
        && serde_json::from_slice::<Answer>(&response.body).is_ok_and(|answer| {
            word(answer.error_code.as_ref()).as_deref() == Some("no_such_transaction")
        })
}

/// The form leaves codes to the connector; these words are understood.
fn advice(code: &str) -> Advice {
    match code {
        "insufficient_funds" | "processing_error" | "try_again_later" => Advice::TryAgain,
        "incorrect_number" | "invalid_number" => Advice::ReEnter(Field::PaymentCardNumber),
        "expired_card" | "invalid_expiry" => Advice::ReEnter(Field::ExpirationDate),
        "incorrect_cvc" | "invalid_cvc" => Advice::ReEnter(Field::SecurityCode),
        "call_issuer" => Advice::CallIssuer,
        "do_not_retry" | "fraudulent" | "lost_card" | "stolen_card" | "pickup_card" => {
            Advice::DoNotRetry
        }
        _ => Advice::OtherCard,
    }
}

#[cfg(test)]
mod tests;
