//! One try: a signed POST, and what came back.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::{Client, header};

use super::{
    Endpoint, OpenError, Patience,
    resolver::{Guarded, LookUp, admit},
    secrets::Keyring,
};
use crate::{
    journal::CallbackRow,
    processor::sentence,
    proto::callback::{Answer, signatures},
};

/// How long a connection that is not used is kept.
const SPARE_FOR: Duration = Duration::from_secs(10);

pub(super) struct Sender {
    http: Client,
    url: reqwest::Url,
    pub(super) keyring: Keyring,
}

impl Sender {
    /// Follows no redirection, asks no proxy, and connects to admitted addresses only.
    pub(super) fn new(
        endpoint: &Endpoint,
        patience: Patience,
        look_up: LookUp,
    ) -> Result<Self, OpenError> {
        let failed = |problem: String| OpenError {
            endpoint: endpoint.name.clone(),
            problem,
        };
        // A resolver is asked for names only.
        if let Some(address) = endpoint.target.literal() {
            admit(address, endpoint.allow_private).map_err(|error| failed(error.to_string()))?;
        }
        let tls = endpoint
            .trust
            .client()
            .map_err(|error| failed(error.to_string()))?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Guarded {
                look_up,
                allow_private: endpoint.allow_private,
            }))
            .user_agent(concat!("tonewall/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            .timeout(patience.whole)
            .pool_idle_timeout(SPARE_FOR)
            .pool_max_idle_per_host(super::line::AT_ONCE)
            .build()
            .map_err(|error| failed(sentence(error)))?;
        Ok(Self {
            http,
            url: endpoint.target.url(),
            keyring: Keyring::open(endpoint.secrets.clone()).map_err(failed)?,
        })
    }

    /// What came back, and in words what was wrong with it. The answer's body is not read: its status
    /// says all that counts.
    pub(super) async fn post(&self, row: &CallbackRow, at: Timestamp) -> (Answer, String) {
        let id = row.id.to_string();
        let timestamp = at.as_second();
        let secrets = self.keyring.secrets();
        let signed = signatures(secrets.iter(), &id, timestamp, &row.body);
        let request = self
            .http
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signed)
            .body(row.body.clone());
        match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let asked = answer.headers().get(header::RETRY_AFTER);
                let asked = asked.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let words = match status {
                    300..=399 => format!("HTTP {status}: redirections are not followed"),
                    _ => format!("HTTP {status}"),
                };
                (
                    Answer::Status(status, asked.map(Duration::from_secs)),
                    words,
                )
            }
            Err(error) if error.is_timeout() => (
                Answer::Nothing,
                format!("no answer in time: {}", sentence(error)),
            ),
            Err(error) => (Answer::Nothing, sentence(error)),
        }
    }
}
