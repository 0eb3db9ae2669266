//! The sandbox's client side: what the card plane runs.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;

use super::{SandboxAddress, SandboxError};
use crate::{
    audit_log::Recorded,
    processor::{
        Abilities, Advice, CardView, Charge, Deadlines, Operation, Outcome, Processor, Promises,
        Purpose, Site, Submitted, Token, Trust,
        api::{OnTheBooks, operation_not_looked_up, operation_outcome, unclear, will_not},
        card::Piece,
        client::{Client, Heading, JSON},
        exchange::{Endpoint, EndpointError},
        response::Response,
    },
    proto::field::Field,
};

/// JSON and nothing else.
const PLAIN: Heading<'static> = Heading {
    media: JSON,
    fields: &[],
};

/// How long after it was meant an operation that is not on the books was not done: a request that is on its
/// way longer was cut off.
const OPERATION_LAG: Duration = Duration::from_secs(60);

/// The adapter of the embedded sandbox processor.
pub struct Sandbox {
    endpoint: Endpoint,
    client: Client,
}

impl Sandbox {
    /// An adapter that trusts the sandbox's own CA and no other.
    pub fn new(address: &SandboxAddress, deadlines: Deadlines) -> Result<Self, SandboxError> {
        let roots = CertificateDer::pem_slice_iter(address.ca_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| SandboxError::Certificate(error.to_string()))?;
        let site = Site::loopback(address.port);
        let tls = Trust::default()
            .with_roots(roots)
            .map_err(EndpointError::from)?;
        Ok(Self {
            client: Client::new(&site, tls.clone(), deadlines)?,
            endpoint: Endpoint::new(site, tls, deadlines)?,
        })
    }
}

impl Processor for Sandbox {
    fn promises(&self) -> Promises {
        Promises {
            name: "sandbox",
            sandbox: true,
            // The sandbox itself declines them.
            test_cards_only: false,
            tokenises: false,
            // As long as the process lives; this is what a payment needs of it.
            idempotency_retention: Duration::from_secs(24 * 60 * 60),
            look_up_by_reference: true,
            consistency_delay: Duration::from_secs(1),
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
        self.endpoint.warm().await;
    }

    async fn submit(&self, recorded: Recorded, card: CardView<'_>, charge: &Charge) -> Submitted {
        let start = opening(charge);
        let mut body = vec![
            Piece::Text(&start),
            Piece::Text("\"card\":{\"number\":\""),
            Piece::Pan,
            Piece::Text("\",\"expiry_month\":\""),
            Piece::ExpiryMonth,
            Piece::Text("\",\"expiry_year\":\"20"),
            Piece::ExpiryYear,
        ];
        if card.has_security_code() {
            body.extend([Piece::Text("\",\"security_code\":\""), Piece::SecurityCode]);
        }
        body.push(Piece::Text("\"}}"));
        let answered = self
            .endpoint
            .post_card(recorded, card, "/v1/charges", PLAIN, &body)
            .await;
        Submitted::Ended(match answered {
            Ok(response) => understand(&response),
            Err(error) => error.into(),
        })
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        let path = format!("/v1/charges/{}", charge.attempt);
        match self.client.get(&path, &[]).await {
            Ok(response) if has_no_such_charge(&response) => Outcome::Failed {
                reason: "the processor has no such charge: nothing was done".to_owned(),
                retryable: true,
            },
            Ok(response) => match understand(&response) {
                // That the question failed tells nothing of the charge.
                Outcome::Failed { reason, .. } => Outcome::Unknown { reason },
                outcome => outcome,
            },
            Err(error) => Outcome::Unknown {
                reason: format!("the charge could not be looked up: {error}"),
            },
        }
    }

    async fn operate(&self, operation: &Operation) -> Outcome {
        let body = serde_json::json!({
            "reference": operation.id.to_string(),
            "kind": operation.kind.as_str(),
            "amount": operation.amount_minor,
        });
        let path = format!("/v1/charges/{}/operations", operation.processor_reference);
        match self.client.post(&path, PLAIN, body.to_string()).await {
            Ok(response) => understand_operation(&response, operation),
            Err(error) => error.into(),
        }
    }

    async fn look_up_operation(&self, operation: &Operation) -> Outcome {
        let path = format!("/v1/operations/{}", operation.id);
        match self.client.get(&path, &[]).await {
            Ok(response) if says(&response, 404, "no_such_operation") => {
                operation_outcome(operation, None, OnTheBooks::Missing, OPERATION_LAG)
            }
            Ok(response) => match understand_operation(&response, operation) {
                // That the question failed tells nothing of the operation.
                Outcome::Failed { reason, .. } => operation_not_looked_up(reason),
                outcome => outcome,
            },
            Err(error) => operation_not_looked_up(error),
        }
    }
}

/// In the processor's own words: a 404 of anything in between tells nothing of the charge.
fn has_no_such_charge(response: &Response) -> bool {
    says(response, 404, "no_such_charge")
}

fn says(response: &Response, status: u16, code: &str) -> bool {
    response.status == status
        && serde_json::from_slice::<Refusal>(&response.body)
            .is_ok_and(|refusal| refusal.error.code == code)
}

#[derive(Deserialize)]
struct Operated {
    reference: String,
    amount: u64,
    status: String,
    id: String,
}

fn understand_operation(response: &Response, operation: &Operation) -> Outcome {
    if response.status != 200 {
        return match serde_json::from_slice::<Refusal>(&response.body) {
            Ok(refusal) if response.status == 422 => will_not(&refusal.error.code),
            Ok(refusal) => refused(response.status, &refusal.error.code),
            Err(_) => unclear("is none of the sandbox's", response.status),
        };
    }
    let answer = serde_json::from_slice::<Operated>(&response.body).ok();
    let ours = |answer: &Operated| {
        answer.reference == operation.id.to_string() && answer.amount == operation.amount_minor
    };
    let Some(answer) = answer.filter(ours) else {
        return unclear("is not about this operation", response.status);
    };
    let Some(processor_reference) = word(&answer.id) else {
        return unclear("has a reference that is no word", response.status);
    };
    match answer.status.as_str() {
        "done" => Outcome::Approved {
            processor_reference,
            code: "done".to_owned(),
        },
        "pending" => Outcome::Pending {
            processor_reference,
            code: "pending".to_owned(),
        },
        "declined" => will_not("refused"),
        _ => unclear("has another status", response.status),
    }
}

/// The request's JSON up to the card. No hole: nothing here is secret.
fn opening(charge: &Charge) -> String {
    let plain = serde_json::json!({
        "amount": charge.amount_minor,
        "channel": "moto",
        "capture": charge.purpose == Purpose::Charge,
        "currency": charge.currency,
        "reference": charge.attempt.to_string(),
    });
    let mut text = plain.to_string();
    text.pop();
    text.push(',');
    text
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    code: String,
    id: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalCode,
}

#[derive(Deserialize)]
struct RefusalCode {
    code: String,
}

fn understand(response: &Response) -> Outcome {
    let unknown = |what: &str| Outcome::Unknown {
        reason: format!("the answer (HTTP {}) {what}", response.status),
    };
    if !matches!(response.status, 200 | 402) {
        return match serde_json::from_slice::<Refusal>(&response.body) {
            Ok(refusal) => refused(response.status, &refusal.error.code),
            Err(_) => unknown("is none of the sandbox's"),
        };
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(&response.body) else {
        return unknown("is not the JSON of a charge");
    };
    let Some(code) = word(&answer.code) else {
        return unknown("has a code that is no word");
    };
    match (answer.status.as_str(), answer.id.as_deref().map(word)) {
        ("approved", Some(Some(id))) => Outcome::Approved {
            processor_reference: id,
            code,
        },
        ("declined", _) => Outcome::Declined {
            advice: advice(&code),
            code,
        },
        _ => unknown("is neither approved with a reference nor declined"),
    }
}

fn refused(status: u16, code: &str) -> Outcome {
    let Some(code) = word(code) else {
        return Outcome::Unknown {
            reason: format!("the answer (HTTP {status}) has a code that is no word"),
        };
    };
    let reason = format!("the processor did nothing: {code} (HTTP {status})");
    match status {
        // What was done under the reference before is not said.
        409 => Outcome::Unknown {
            reason: format!("the processor had a charge of this reference already ({code})"),
        },
        400..=499 => Outcome::Failed {
            reason,
            retryable: status == 429,
        },
        // The sandbox promises that nothing was done when it says this.
        500 if code == "processing_error" => Outcome::Failed {
            reason,
            retryable: true,
        },
        _ => Outcome::Unknown {
            reason: format!("the processor answered HTTP {status} ({code})"),
        },
    }
}

fn advice(code: &str) -> Advice {
    match code {
        "insufficient_funds" => Advice::TryAgain,
        "expired_card" => Advice::ReEnter(Field::ExpirationDate),
        "incorrect_cvc" => Advice::ReEnter(Field::SecurityCode),
        "call_issuer" => Advice::CallIssuer,
        "lost_card" => Advice::DoNotRetry,
        _ => Advice::OtherCard,
    }
}

/// Lower-case letters and `_` only: what is passed on cannot repeat a digit of the card.
fn word(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=64).contains(&text.len()).then_some(())?;
    text.bytes().all(plain).then(|| text.to_owned())
}
