//! Adyen Checkout v71: one request charges the card.
//!
//! Adyen answers HTTP 200 to what it understood, with the outcome in `resultCode`. It has no question
//! for "what became of my reference": an attempt without an answer waits for a notification, or for a
//! person. Sources:
//! <https://docs.adyen.com/api-explorer/Checkout/71/post/payments>,
//! <https://docs.adyen.com/online-payments/build-your-integration/payment-result-codes/>,
//! <https://docs.adyen.com/development-resources/refusal-reasons>,
//! <https://docs.adyen.com/development-resources/currency-codes>.

mod notifications;
mod operations;

use std::time::Duration;

use serde::Deserialize;

use super::{
    Abilities, Advice, CardView, Charge, Connection, EndpointError, Mode, Operation, Outcome,
    Processor, Promises, Purpose, Secret, Submitted, Token,
    api::{Api, not_looked_up, refused, rescaled, short_reference, unclear},
    card::Piece,
    client::{Heading, JSON},
    response::Response,
    words,
};
use crate::{
    audit_log::Recorded,
    proto::{currency::currency_exponent, field::Field},
};

pub use notifications::AdyenNotifications;

/// Asked for by the API; a caller is never sent anywhere.
const RETURN_URL: &str = "https://tonewall.invalid/";

/// What the adapter needs to know.
pub struct AdyenSettings {
    /// How it is reached; [`Adyen::TEST_SITE`] in test mode unless told otherwise, and an address of
    /// the merchant's own in live mode.
    pub connection: Connection,
    /// The API key.
    pub key: Secret,
    /// The merchant account that is charged for.
    pub merchant_account: String,
}

/// The adapter.
pub struct Adyen {
    api: Api,
    key: Secret,
    merchant_account: String,
    mode: Mode,
}

impl Adyen {
    /// Where the API of the test environment is.
    pub const TEST_SITE: &'static str = "https://checkout-test.adyen.com/v71";

    /// # Errors
    /// [`EndpointError`], which says what to change.
    pub fn new(settings: AdyenSettings) -> Result<Self, EndpointError> {
        Ok(Self {
            api: Api::new(&settings.connection)?,
            key: settings.key,
            merchant_account: settings.merchant_account,
            mode: settings.connection.mode,
        })
    }

    /// The request's JSON up to the card. Nothing here is secret.
    fn opening(&self, charge: &Charge, amount: u64) -> String {
        let mut plain = serde_json::json!({
            "amount": { "currency": charge.currency, "value": amount },
            "merchantAccount": self.merchant_account,
            "reference": short_reference(charge),
            "merchantOrderReference": charge.reference,
            "metadata": { "attempt": short_reference(charge) },
            "returnUrl": RETURN_URL,
            "shopperInteraction": "Moto",
        });
        // Otherwise it is captured when the account's settings say.
        if charge.purpose == Purpose::Authorise {
            plain["additionalData"] = serde_json::json!({ "manualCapture": "true" });
        }
        let mut text = plain.to_string();
        text.pop();
        text.push_str(",\"paymentMethod\":{\"type\":\"scheme\",\"number\":\"");
        text
    }
}

impl Processor for Adyen {
    fn promises(&self) -> Promises {
        Promises {
            name: "adyen",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: false,
            // Of no use without the card, which is wiped by then.
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: false,
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities {
                authorise: true,
                settle_part: true,
                void_charge: true,
                refund: true,
                refund_part: true,
            },
        }
    }

    async fn warm(&self) {
        self.api.warm().await;
    }

    async fn submit(&self, recorded: Recorded, card: CardView<'_>, charge: &Charge) -> Submitted {
        let Some(amount) = amount(charge) else {
            return Submitted::Ended(unpayable(charge));
        };
        let opening = self.opening(charge, amount);
        let mut body = vec![
            Piece::Text(&opening),
            Piece::Pan,
            Piece::Text("\",\"expiryMonth\":\""),
            Piece::ExpiryMonth,
            Piece::Text("\",\"expiryYear\":\"20"),
            Piece::ExpiryYear,
        ];
        if card.has_security_code() {
            body.extend([Piece::Text("\",\"cvc\":\""), Piece::SecurityCode]);
        }
        body.push(Piece::Text("\"}}"));
        let key = short_reference(charge);
        let heading = Heading {
            media: JSON,
            fields: &[("X-API-Key", self.key.expose()), ("Idempotency-Key", &key)],
        };
        let sent = self
            .api
            .post_card(recorded, card, "/payments", heading, &body);
        Submitted::Ended(match sent.await {
            Ok(response) => understand(&response, charge),
            Err(error) => error.into(),
        })
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        std::future::ready(not_looked_up(format!(
            "Adyen cannot be asked for a reference; find {} in its Customer Area",
            short_reference(charge)
        )))
        .await
    }

    async fn operate(&self, operation: &Operation) -> Outcome {
        self.request_operation(operation).await
    }

    async fn look_up_operation(&self, operation: &Operation) -> Outcome {
        self.find_operation(operation).await
    }
}

/// Decimals that Adyen counts a currency in where they are not those of ISO 4217.
fn amount(charge: &Charge) -> Option<u64> {
    counted(charge.amount_minor, &charge.currency)
}

fn counted(amount_minor: u64, currency: &str) -> Option<u64> {
    let (standard, decimals) = decimals(currency)?;
    rescaled(amount_minor, standard, decimals)
}

/// The other way.
fn uncounted(value: u64, currency: &str) -> Option<u64> {
    let (standard, decimals) = decimals(currency)?;
    rescaled(value, decimals, standard)
}

/// Those of ISO 4217, and Adyen's.
fn decimals(currency: &str) -> Option<(u8, u8)> {
    let standard = currency_exponent(currency)?;
    Some(match currency {
        "CVE" | "IDR" => (standard, 0),
        "CLP" | "ISK" => (standard, 2),
        _ => (standard, standard),
    })
}

fn unpayable(charge: &Charge) -> Outcome {
    Outcome::Failed {
        reason: format!(
            "nothing was sent: Adyen cannot count this amount of {} to the last unit",
            charge.currency
        ),
        retryable: false,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    result_code: String,
    psp_reference: Option<String>,
    merchant_reference: Option<String>,
    refusal_reason_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_code: String,
}

fn understand(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    if status != 200 {
        return not_taken(response);
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(&response.body) else {
        return unclear("is not the JSON of a payment", status);
    };
    let ours = short_reference(charge);
    if answer.merchant_reference.is_some_and(|found| found != ours) {
        return unclear("is about another payment", status);
    }
    let processor_reference = match &answer.psp_reference {
        Some(reference) => words::reference_or_withheld(reference),
        None => String::new(),
    };
    let code = match &answer.refusal_reason_code {
        Some(reason) => words::code_or_withheld(&format!("{}:{reason}", answer.result_code)),
        None => words::code_or_withheld(&answer.result_code),
    };
    match answer.result_code.as_str() {
        "Authorised" if !processor_reference.is_empty() => Outcome::Approved {
            processor_reference,
            // Where it is approved, a reason of refusal means nothing.
            code: "Authorised".to_owned(),
        },
        // Part of the amount is authorised: neither a payment nor none.
        "Pending" | "Received" | "PartiallyAuthorised" => Outcome::Pending {
            processor_reference,
            code,
        },
        "Refused" | "Cancelled" => Outcome::Declined {
            advice: advice(answer.refusal_reason_code.as_deref()),
            code,
        },
        "Error" => Outcome::Declined {
            advice: Advice::TryAgain,
            code,
        },
        // A caller cannot do what these ask for, and nothing is charged until it is done.
        "ChallengeShopper" | "IdentifyShopper" | "PresentToShopper" | "RedirectShopper" => {
            Outcome::Declined {
                advice: Advice::OtherCard,
                code,
            }
        }
        _ => unclear(&format!("says {code}"), status),
    }
}

/// Answers to what Adyen did not process: <https://docs.adyen.com/development-resources/error-codes>.
fn not_taken(response: &Response) -> Outcome {
    let status = response.status;
    let Ok(refusal) = serde_json::from_slice::<Refusal>(&response.body) else {
        return match status {
            401 | 403 => refused("the key is not taken", status, false),
            429 => refused("too many requests", status, true),
            _ => unclear("cannot be read", status),
        };
    };
    let code = words::code_or_withheld(&refusal.error_code);
    let again = |field| Outcome::Declined {
        advice: Advice::ReEnter(field),
        code: code.clone(),
    };
    match (status, refusal.error_code.as_str()) {
        (422, "101") => again(Field::PaymentCardNumber),
        (422, "103") => again(Field::SecurityCode),
        (422, "129" | "140" | "141") => again(Field::ExpirationDate),
        // The reference was used, or is in use: what was done under it is not said.
        (_, "704") => unclear("says that there is such a payment already (704)", status),
        (400 | 401 | 403 | 422, _) => refused(&code, status, false),
        (429, _) => refused(&code, status, true),
        _ => unclear(&format!("says {code}"), status),
    }
}

/// By `refusalReasonCode`.
fn advice(code: Option<&str>) -> Advice {
    match code.unwrap_or_default() {
        // Acquirer error, issuer unavailable, not enough balance, cancelled, not submitted.
        "4" | "9" | "12" | "15" | "16" | "21" => Advice::TryAgain,
        "8" => Advice::ReEnter(Field::PaymentCardNumber),
        "6" => Advice::ReEnter(Field::ExpirationDate),
        "24" => Advice::ReEnter(Field::SecurityCode),
        // Referral.
        "3" => Advice::CallIssuer,
        // Blocked, frauds of several kinds, authorisation revoked, account closed.
        "5" | "14" | "20" | "22" | "26" | "31" | "46" => Advice::DoNotRetry,
        _ => Advice::OtherCard,
    }
}

#[cfg(test)]
mod tests;
