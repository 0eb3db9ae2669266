//! What the sandbox does with a charge that it approved.

use std::sync::Arc;

use axum::{
    Json,
    extract::{ConnectInfo, Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    ledger::Ledger,
    line::Cutter,
    server::{Desk, cut, new_id, refusal},
};

/// An amount that ends in this, in minor units, is refused.
const REFUSED: u64 = 402;
/// One that ends in this is done, and the connection is cut in the place of the answer.
const SILENT: u64 = 504;
/// One that ends in this is taken, and done once it has been asked for.
const SLOW: u64 = 202;

/// An operation that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Operation {
    reference: String,
    charge: String,
    kind: Kind,
    amount: u64,
    status: Status,
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Settle,
    Void,
    Refund,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Done,
    Pending,
    Declined,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    reference: String,
    kind: Kind,
    amount: u64,
}

/// `POST /v1/charges/{id}/operations`: the same reference is done once.
pub(super) async fn operate(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(line): ConnectInfo<Cutter>,
    Path(charge): Path<String>,
    Json(asked): Json<Asked>,
) -> Response {
    std::future::ready(()).await;
    let mut ledger = desk.ledger();
    if let Some(known) = ledger.operations.get(&asked.reference) {
        let same = (&known.charge, known.kind, known.amount) == (&charge, asked.kind, asked.amount);
        return if same {
            Json(known).into_response()
        } else {
            refusal(StatusCode::CONFLICT, "reference_reused")
        };
    }
    if asked.reference.is_empty() || asked.reference.len() > 200 {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "invalid_reference");
    }
    if let Err(code) = allowed(&ledger, &charge, &asked) {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, code);
    }
    let ending = asked.amount % 1_000;
    let operation = Operation {
        status: match ending {
            REFUSED => Status::Declined,
            SLOW => Status::Pending,
            _ => Status::Done,
        },
        reference: asked.reference.clone(),
        charge,
        kind: asked.kind,
        amount: asked.amount,
        id: new_id(),
    };
    ledger.operations.insert(asked.reference, operation.clone());
    if ending == SILENT {
        return cut(&line);
    }
    Json(operation).into_response()
}

/// `GET /v1/operations/{reference}`.
pub(super) async fn look_up(
    State(desk): State<Arc<Desk>>,
    Path(reference): Path<String>,
) -> Response {
    std::future::ready(()).await;
    match desk.ledger().operations.get_mut(&reference) {
        Some(operation) => {
            let answer = Json(operation.clone());
            if operation.status == Status::Pending {
                operation.status = Status::Done;
            }
            answer.into_response()
        }
        None => refusal(StatusCode::NOT_FOUND, "no_such_operation"),
    }
}

fn allowed(ledger: &Ledger, id: &str, asked: &Asked) -> Result<(), &'static str> {
    let charge = ledger
        .charges
        .values()
        .find(|charge| charge.id.as_deref() == Some(id))
        .ok_or("no_such_charge")?;
    let sum = |kind| {
        ledger
            .operations
            .values()
            .filter(|one| one.charge == id && one.kind == kind && one.status != Status::Declined)
            .map(|one| one.amount)
            .sum::<u64>()
    };
    let (settled_by_hand, voided, refunded) =
        (sum(Kind::Settle), sum(Kind::Void), sum(Kind::Refund));
    let settled = if charge.capture {
        charge.amount
    } else {
        settled_by_hand
    };
    match asked.kind {
        _ if voided > 0 => Err("charge_voided"),
        Kind::Settle if settled > 0 => Err("charge_settled"),
        Kind::Settle if asked.amount == 0 || asked.amount > charge.amount => Err("invalid_amount"),
        Kind::Void if settled_by_hand > 0 || refunded > 0 => Err("charge_settled"),
        Kind::Void if asked.amount != charge.amount => Err("invalid_amount"),
        Kind::Refund if settled == 0 => Err("charge_not_settled"),
        Kind::Refund if asked.amount == 0 || refunded.saturating_add(asked.amount) > settled => {
            Err("invalid_amount")
        }
        Kind::Settle | Kind::Void | Kind::Refund => Ok(()),
    }
}
