//! Requests that are carried out once, by their `Idempotency-Key`.

use std::{future::Future, sync::Arc};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    Api,
    problem::{Problem, Slug},
};
use crate::{
    gateway::payments::{PaymentView, Principal},
    journal::Idempotent,
    proto::id::Tenant,
};

/// Tells that an answer is the kept one of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A `POST` with its key.
pub(super) struct Once {
    tenant: Tenant,
    key: String,
    fingerprint: [u8; 32],
}

impl Once {
    pub(super) fn of(
        headers: &HeaderMap,
        by: &Principal,
        path: &str,
        body: &[u8],
    ) -> Result<Self, Problem> {
        Ok(Self {
            tenant: by.tenant.clone(),
            key: idempotency_key(headers)?,
            fingerprint: Sha256::new()
                .chain_update(format!("POST\n{path}\n"))
                .chain_update(body)
                .finalize()
                .into(),
        })
    }

    /// The key as the journal keeps it: hashed, for a client may put anything into it.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Does the work, or answers as it was answered the first time. An answer is kept for 24 hours, a refusal
    /// is not: it frees the key.
    pub(super) async fn carry_out(
        self,
        api: Arc<Api>,
        work: impl Future<Output = Result<(StatusCode, PaymentView), Problem>> + Send + 'static,
    ) -> Result<Response, Problem> {
        carry_out(async move {
            let Self {
                tenant,
                key,
                fingerprint,
            } = self;
            let reserved = api
                .service
                .idempotency(tenant.clone(), key.clone(), fingerprint, Timestamp::now());
            match reserved.await? {
                Idempotent::New => {}
                Idempotent::Replay { status, body } => return Ok(replayed(status, body)),
                Idempotent::InProgress => {
                    return Err(Problem::new(
                        Slug::InProgress,
                        "the first request with this Idempotency-Key is still being carried out; send it again in a second",
                    )
                    .retry_after(1));
                }
                Idempotent::Conflict => {
                    return Err(Problem::new(
                        Slug::IdempotencyConflict,
                        "this Idempotency-Key came with another request before; use a new key for a new one",
                    ));
                }
            }
            let done = work.await.and_then(|(status, payment)| {
                let body = serde_json::to_string(&payment).map_err(|_| Problem::internal())?;
                Ok((status, body))
            });
            let answer = done.as_ref().ok();
            let answer = answer.map(|(status, body)| (status.as_u16(), body.clone()));
            let kept = api.service.idempotency_answer(tenant, key, answer).await;
            if let Err(error) = kept {
                tracing::error!(%error, "the answer to an Idempotency-Key could not be kept");
            }
            let (status, body) = done?;
            Ok(answered(status, body))
        })
        .await
    }
}

/// Runs a change to its end even when the client hangs up: half a payment is worse than an answer
/// that nobody reads.
pub(super) async fn carry_out(
    work: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|_| Err(Problem::internal()))
}

/// The key as the journal keeps it: hashed, for a client may put anything into it.
fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let key = headers
        .get("idempotency-key")
        .and_then(|value| value.to_str().ok());
    match key.map(str::trim) {
        Some(key)
            if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            let hex = Sha256::digest(key.as_bytes())
                .iter()
                .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            Ok(format!("sha256:{hex}"))
        }
        Some(_) => Err(Problem::new(
            Slug::IdempotencyKey,
            "the header Idempotency-Key is empty, too long or holds other characters; expected 1 to 255 printable ASCII characters without spaces, such as a UUID",
        )),
        None => Err(Problem::new(
            Slug::IdempotencyKey,
            "the header Idempotency-Key is missing; send a new one (such as a UUID) with each payment, and the same one when you send a request again",
        )),
    }
}

fn replayed(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED);
    let mut response = answered(status, body);
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// A payment's JSON; of one that was created, with its address.
fn answered(status: StatusCode, body: String) -> Response {
    let location = (status == StatusCode::CREATED)
        .then(|| serde_json::from_str::<PaymentView>(&body).ok())
        .flatten()
        .and_then(|payment| HeaderValue::from_str(&format!("/v1/payments/{}", payment.id)).ok());
    let json = HeaderValue::from_static("application/json");
    let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
