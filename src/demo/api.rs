//! The part of an agent's desktop: payments by the HTTP API, followed by its event stream.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::proto::field::Field;

/// What the demo reads of a payment.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Payment {
    pub(super) id: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) call: String,
    #[serde(default)]
    pub(super) capturing: Option<Field>,
    #[serde(default)]
    pub(super) fields: BTreeMap<Field, FieldState>,
    #[serde(default)]
    pub(super) outcome: Option<Value>,
    #[serde(default)]
    pub(super) advice: String,
}

/// What the demo reads of a field.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct FieldState {
    pub(super) status: String,
    pub(super) count: u8,
    pub(super) brand: Option<String>,
    pub(super) masked: Option<String>,
    pub(super) problem: Option<String>,
}

/// What the sandbox got, as HMACs.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SandboxCharge {
    #[serde(default)]
    pub(super) pan_hmac: String,
    #[serde(default)]
    pub(super) expiry_hmac: String,
    #[serde(default)]
    pub(super) code_hmac: String,
}

/// A client of the gateway's API.
pub(super) struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    pub(super) fn new(server: SocketAddr, key: String) -> Result<Self> {
        Ok(Self {
            client: Client::builder().no_proxy().build()?,
            base: format!("http://{server}"),
            key,
        })
    }

    /// Whether the gateway takes calls.
    pub(super) async fn is_ready(&self) -> bool {
        let request = self.client.get(format!("{}/readyz", self.base));
        let answer = request.timeout(Duration::from_secs(2)).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// Opens a payment on the call with this SIP Call-ID.
    pub(super) async fn create(&self, call: &str, reference: &str) -> Result<Payment> {
        let body = json!({
            "call": call,
            "amount": 1250,
            "currency": "EUR",
            "reference": reference,
            "description": "Deposit",
        });
        let request = self
            .client
            .post(format!("{}/v1/payments", self.base))
            .header("Idempotency-Key", format!("demo-{reference}"))
            .json(&body);
        self.payment("opening the payment", request).await
    }

    /// Asks for a field.
    pub(super) async fn capture(&self, payment: &str, field: Field) -> Result<Payment> {
        let request = self
            .client
            .post(format!("{}/v1/payments/{payment}/capture", self.base))
            .json(&json!({ "field": field }));
        self.payment("asking for a field", request).await
    }

    /// Charges the card.
    pub(super) async fn complete(&self, payment: &str) -> Result<Payment> {
        let request = self
            .client
            .post(format!("{}/v1/payments/{payment}/complete", self.base));
        self.payment("charging", request).await
    }

    /// Ends a payment without a charge.
    pub(super) async fn cancel(&self, payment: &str) -> Result<Payment> {
        let request = self
            .client
            .post(format!("{}/v1/payments/{payment}/cancel", self.base));
        self.payment("cancelling", request).await
    }

    /// Follows the events of all payments, or of one.
    pub(super) async fn follow(&self, payment: Option<&str>) -> Result<mpsc::Receiver<Payment>> {
        let path = payment.map_or("/v1/events".to_owned(), |id| {
            format!("/v1/payments/{id}/events")
        });
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .bearer_auth(&self.key)
            .send()
            .await?;
        let mut answer = accepted("following events", answer).await?;
        let (sender, receiver) = mpsc::channel(256);
        tokio::spawn(async move {
            let mut stream = EventStream::default();
            // A closed stream ends the events; whoever waits for one has a time limit.
            while let Ok(Some(chunk)) = answer.chunk().await {
                for payment in stream.feed(&chunk) {
                    if sender.send(payment).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }

    async fn payment(&self, what: &str, request: reqwest::RequestBuilder) -> Result<Payment> {
        let answer = request
            .bearer_auth(&self.key)
            .timeout(Duration::from_secs(40))
            .send()
            .await
            .with_context(|| format!("{what} through the API"))?;
        let answer = accepted(what, answer).await?;
        answer
            .json()
            .await
            .with_context(|| format!("{what}: the API's answer is no payment"))
    }
}

/// Turns a refusal into an error with the reason that the API gives.
async fn accepted(what: &str, answer: Response) -> Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.text().await.unwrap_or_default();
    let problem: Value = serde_json::from_str(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or(&body);
    bail!("{what}: the API answered {status}: {detail}")
}

/// Reads `text/event-stream` piece by piece.
#[derive(Default)]
struct EventStream {
    pending: Vec<u8>,
}

impl EventStream {
    /// The payments in the events that `chunk` completes.
    fn feed(&mut self, chunk: &[u8]) -> Vec<Payment> {
        self.pending.extend_from_slice(chunk);
        let mut payments = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            let event: Value = serde_json::from_slice(data).unwrap_or_default();
            if let Ok(payment) = Payment::deserialize(&event["payment"]) {
                payments.push(payment);
            }
        }
        payments
    }
}

/// What the sandbox received, told by the sandbox itself over TLS. `file` is the gateway's
/// `sandbox.json`.
pub(super) async fn sandbox_received(file: &Path) -> Result<Vec<SandboxCharge>> {
    #[derive(Deserialize)]
    struct Sandbox {
        port: u16,
        ca_pem: String,
    }
    #[derive(Deserialize)]
    struct Received {
        received: Vec<SandboxCharge>,
    }
    let text = tokio::fs::read(file)
        .await
        .with_context(|| format!("cannot read {}", file.display()))?;
    let sandbox: Sandbox = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what was expected", file.display()))?;
    let client = Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .tls_certs_only([Certificate::from_pem(sandbox.ca_pem.as_bytes())?])
        .build()?;
    let url = format!("https://127.0.0.1:{}/v1/received", sandbox.port);
    let answer = client.get(url).send().await.context("asking the sandbox")?;
    let received: Received = accepted("asking the sandbox", answer).await?.json().await?;
    Ok(received.received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_the_network_cuts_them() {
        let text = ": hello\n\nid: 7\nevent: payment.capture\ndata: {\"id\":7,\"payment\":\
            {\"id\":\"pay_1\",\"state\":\"capturing\",\"capturing\":\"payment-card-number\",\"fields\":\
            {\"payment-card-number\":{\"status\":\"capturing\",\"count\":5,\"brand\":\"visa\"}}}}\n\n\
            event: call.ended\ndata: {\"id\":8,\"payment\":null}\n\n";
        for cut in 0..text.len() {
            let mut stream = EventStream::default();
            let mut payments = stream.feed(&text.as_bytes()[..cut]);
            payments.extend(stream.feed(&text.as_bytes()[cut..]));
            assert_eq!(payments.len(), 1, "cut at {cut}");
            let field = &payments[0].fields[&Field::PaymentCardNumber];
            assert_eq!((field.count, field.status.as_str()), (5, "capturing"));
        }
    }
}
