//! The sandbox's client side: what the card plane runs.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;

use super::{SandboxAddress, SandboxError};
use crate::{
    audit_log::Recorded,
    processor::{
        Advice, CardView, Charge, Deadlines, Outcome, Processor, Promises, Site, Submitted, Token,
        Trust,
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
}

/// In the processor's own words: a 404 of anything in between tells nothing of the charge.
fn has_no_such_charge(response: &Response) -> bool {
    response.status == 404
        && serde_json::from_slice::<Refusal>(&response.body)
            .is_ok_and(|refusal| refusal.error.code == "no_such_charge")
}

/// The request's JSON up to the card. No hole: nothing here is secret.
fn opening(charge: &Charge) -> String {
    let plain = serde_json::json!({
        "amount": charge.amount_minor,
        "channel": "moto",
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
