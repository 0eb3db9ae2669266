//! `/v1/payments/{id}/settle`, `/void`, `/refund`: what is done with charges afterwards, and by
//! whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    Api,
    auth::{SignedIn, Source, Taker},
    body,
    once::Once,
    payments::PaymentPath,
    problem::{Problem, Slug},
    schema,
};
use crate::{
    gateway::payments::{OperationOrder, PaymentError, PaymentView},
    journal::{NotBegun, Role},
    proto::{id::PaymentId, payment::OperationKind},
};

/// Who may do what with a charge that stands. Supervisors and integrations may do all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationRules {
    /// What agents may do.
    pub agents: BTreeSet<OperationKind>,
    /// The most that one refund by an agent may be, in minor units by currency; no bound where there is
    /// none, no refund in a currency that it does not name.
    pub agent_refunds: Option<BTreeMap<String, u64>>,
    /// The same of a supervisor.
    pub supervisor_refunds: Option<BTreeMap<String, u64>>,
    /// The same of an integration.
    pub integration_refunds: Option<BTreeMap<String, u64>>,
}

impl OperationRules {
    /// Whether somebody may do it at all.
    pub(super) fn may(&self, role: Role, kind: OperationKind) -> bool {
        self.limits(role, kind).is_ok()
    }

    /// The limits of what somebody may do, if they may.
    fn limits(
        &self,
        role: Role,
        kind: OperationKind,
    ) -> Result<Option<BTreeMap<String, u64>>, &'static str> {
        let limits = match role {
            Role::Agent if self.agents.contains(&kind) => &self.agent_refunds,
            Role::Agent => {
                return Err(
                    "agents may not do this here; ask a supervisor, or have `operations.agents` name it",
                );
            }
            Role::Supervisor => &self.supervisor_refunds,
            Role::Integration => &self.integration_refunds,
            Role::Auditor | Role::Administrator => {
                return Err("this role moves no money; use a supervisor's key");
            }
        };
        Ok(limits.clone().filter(|_| kind == OperationKind::Refund))
    }
}

/// The three are alike but for what they are called, and that a refund has a limit.
macro_rules! operation {
    ($name:ident, $path:literal, $id:literal, $kind:expr, $refused:literal, $summary:literal, $description:literal) => {
        #[utoipa::path(post, path = $path, tag = "payments", operation_id = $id,
                    summary = $summary, description = $description,
                    params(("id" = String, Path, description = "The payment's id"),
                        ("Idempotency-Key" = String, Header,
                            description = "1 to 255 printable ASCII characters of your choice, new for each operation")),
                    request_body = schema::NewOperation,
                    responses(
                        (status = OK, body = schema::PaymentView),
                        (status = ACCEPTED, body = schema::PaymentView, description = "Not decided yet"),
                        (status = BAD_REQUEST, body = schema::Problem,
                            content_type = "application/problem+json", description = "`idempotency-key`"),
                        (status = FORBIDDEN, body = schema::Problem,
                            content_type = "application/problem+json", description = $refused),
                        (status = NOT_FOUND, body = schema::Problem,
                            content_type = "application/problem+json", description = "`unknown-payment`"),
                        (status = CONFLICT, body = schema::Problem,
                            content_type = "application/problem+json",
                            description = "`not-allowed`, `idempotency-in-progress`"),
                        (status = UNPROCESSABLE_ENTITY, body = schema::Problem,
                            content_type = "application/problem+json",
                            description = "`invalid-field`, `card-digits`, `idempotency-conflict`"),
                        (status = SERVICE_UNAVAILABLE, body = schema::Problem,
                            content_type = "application/problem+json", description = "`draining`")))]
        pub(super) async fn $name(
            State(api): State<Arc<Api>>,
            source: Source,
            Taker(by): Taker,
            PaymentPath(id): PaymentPath,
            headers: HeaderMap,
            body: Body,
        ) -> Result<Response, Problem> {
            operate(api, source, by, $kind, id, headers, body).await
        }
    };
}

operation!(
    settle,
    "/v1/payments/{id}/settle",
    "settlePayment",
    OperationKind::Settle,
    "`role-refused`",
    "Takes the money that a payment with the purpose `authorise` has set aside",
    "Processors call it capture. Once, of all of it or less; what is left is given free. Answers 200 once it is decided, done or not: see the last of `operations`. Answers 202 while it is open: follow the events or GET the payment."
);
operation!(
    void,
    "/v1/payments/{id}/void",
    "voidPayment",
    OperationKind::Void,
    "`role-refused`",
    "Undoes a charge before the money has moved",
    "All of it. What was settled already is refunded instead. Answers as `settle` does."
);
operation!(
    refund,
    "/v1/payments/{id}/refund",
    "refundPayment",
    OperationKind::Refund,
    "`role-refused`, `over-limit`",
    "Gives money back",
    "All that is left unless `amount` says less; several times, until nothing is left. Answers as `settle` does."
);

async fn operate(
    api: Arc<Api>,
    Source(from): Source,
    by: SignedIn,
    kind: OperationKind,
    id: PaymentId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let action = format!("POST /v1/payments/{{id}}/{}", kind.as_str());
    let limits = match api.operations.limits(by.key.role, kind) {
        Ok(limits) => limits,
        Err(why) => {
            by.refused_to(&api, from, &action, why).await;
            return Err(Problem::new(Slug::RoleRefused, why));
        }
    };
    let bytes = body::json_bytes(&headers, body, api.body_timeout).await?;
    let (amount_minor, reason) = body::operation(&bytes)?;
    let path = format!("/v1/payments/{id}/{}", kind.as_str());
    let once = Once::of(&headers, &by.principal, &path, &bytes)?;
    let order = OperationOrder {
        kind,
        amount_minor,
        reason,
        limits,
        key: Some(once.key().to_owned()),
    };
    let work = {
        let api = api.clone();
        async move {
            match api.service.operate(&by.principal, &id, order).await {
                Ok(payment) => Ok((status(&payment), payment)),
                Err(error) => {
                    if let PaymentError::NotAllowed(NotBegun::OverLimit { .. }) = error {
                        by.refused_to(&api, from, &action, "more than this key may move")
                            .await;
                    }
                    Err(error.into())
                }
            }
        }
    };
    once.carry_out(api, work).await
}

/// Of the last operation, which is the one that was asked for.
fn status(payment: &PaymentView) -> StatusCode {
    match payment.operations.last() {
        Some(last) if last.state.is_open() => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    }
}
