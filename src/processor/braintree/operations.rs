//! Capturing, reversing and refunding a transaction.
//!
//! None has an idempotency key, so each is asked for once. What became of it stands at the transaction: its
//! status, and its refunds, of which each has an order id that is ours. What has settled is reversed by a refund
//! of all of it. Sources:
//! <https://developer.paypal.com/braintree/graphql/guides/transactions>,
//! <https://developer.paypal.com/braintree/docs/reference/general/statuses>.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Braintree, ON_ITS_WAY, SEARCH_LAG,
    answer::{NotRead, Trouble, code, read},
};
use crate::{
    processor::{
        Operation, OperationKind, Outcome,
        api::{OnTheBooks, minor, operation_outcome, refused, unclear, will_not},
        response::Response,
        words,
    },
    proto::currency::{currency_exponent, decimal},
};

const CAPTURE: &str = "mutation Capture($input: CaptureTransactionInput!) { \
    captureTransaction(input: $input) { transaction { id status amount { value currencyCode } } } }";
const REVERSE: &str = "mutation Reverse($input: ReverseTransactionInput!) { \
    reverseTransaction(input: $input) { reversal { \
    ... on Transaction { id status amount { value currencyCode } } \
    ... on Refund { id status amount { value currencyCode } refundedTransaction { id } } } } }";
const REFUND: &str = "mutation Refund($input: RefundTransactionInput!) { \
    refundTransaction(input: $input) { refund { id orderId status \
    amount { value currencyCode } refundedTransaction { id } } } }";
const READ: &str = "query Read($input: ID!) { node(id: $input) { \
    ... on Transaction { id status amount { value currencyCode } \
    refunds { id orderId status amount { value currencyCode } } } } }";

impl Braintree {
    pub(super) async fn request_operation(&self, operation: &Operation) -> Outcome {
        let Some(amount) = amount(operation) else {
            return Outcome::Failed {
                reason: format!(
                    "nothing was sent: it is not known how to write an amount of {}",
                    operation.charge.currency
                ),
                retryable: false,
            };
        };
        let id = &operation.processor_reference;
        let (document, input) = match operation.kind {
            OperationKind::Settle => (
                CAPTURE,
                json!({ "transactionId": id, "transaction": { "amount": amount } }),
            ),
            OperationKind::Void => (REVERSE, json!({ "transactionId": id })),
            OperationKind::Refund => {
                let refund = json!({ "amount": amount, "orderId": operation.id.to_string() });
                (REFUND, json!({ "transactionId": id, "refund": refund }))
            }
        };
        match self.ask(document, input).await {
            Ok(response) => done(&response, operation),
            Err(error) => error.into(),
        }
    }

    pub(super) async fn find_operation(&self, operation: &Operation) -> Outcome {
        let books = match self.ask(READ, json!(operation.processor_reference)).await {
            Ok(response) => on_the_books(&response, operation),
            Err(error) => OnTheBooks::Unread(error.to_string()),
        };
        operation_outcome(operation, None, books, lag(operation.kind))
    }
}

/// When it counts that the transaction shows nothing. A second capture or reversal would be refused, a second
/// refund done, and how old what is read may be is not said.
const fn lag(kind: OperationKind) -> Duration {
    match kind {
        OperationKind::Settle | OperationKind::Void => ON_ITS_WAY,
        OperationKind::Refund => ON_ITS_WAY.saturating_add(SEARCH_LAG),
    }
}

fn amount(operation: &Operation) -> Option<String> {
    let currency = &operation.charge.currency;
    currency_exponent(currency).map(|_| decimal(operation.amount_minor, currency))
}

/// A transaction or a refund.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    id: String,
    order_id: Option<String>,
    status: Option<String>,
    amount: Option<Money>,
    /// Of a refund.
    refunded_transaction: Option<Named>,
    /// Of a transaction.
    refunds: Option<Vec<Payment>>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Money {
    value: Value,
    currency_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    capture_transaction: Option<Captured>,
    reverse_transaction: Option<Reversed>,
    refund_transaction: Option<Refunded>,
}

#[derive(Deserialize)]
struct Captured {
    transaction: Option<Payment>,
}

#[derive(Deserialize)]
struct Reversed {
    reversal: Option<Payment>,
}

#[derive(Deserialize)]
struct Refunded {
    refund: Option<Payment>,
}

impl Done {
    fn payment(self) -> Option<Payment> {
        let captured = self.capture_transaction.and_then(|done| done.transaction);
        let reversed = self.reverse_transaction.and_then(|done| done.reversal);
        let refunded = self.refund_transaction.and_then(|done| done.refund);
        captured.or(reversed).or(refunded)
    }
}

#[derive(Deserialize)]
struct Asked {
    node: Option<Payment>,
}

/// What became of an operation that was asked for.
pub(super) fn done(response: &Response, operation: &Operation) -> Outcome {
    let status = response.status;
    let answer = match read::<Done>(response) {
        Ok(answer) => answer,
        Err(NotRead::Refused { why, retryable }) => return refused(why, status, retryable),
        Err(NotRead::Unclear) => return unclear("cannot be read", status),
    };
    match answer.data.and_then(Done::payment) {
        Some(payment) => match payment.answers(operation) {
            OnTheBooks::As(outcome) => outcome,
            OnTheBooks::Missing | OnTheBooks::Unread(_) => {
                unclear("is not about this operation", status)
            }
        },
        None if answer.errors.is_empty() => unclear("is no transaction", status),
        // What the transaction's state does not allow.
        None if answer.errors.iter().all(Trouble::is_the_requests) => {
            will_not(&code(&answer.errors))
        }
        None if answer.errors.iter().all(Trouble::did_nothing) => {
            let retryable = answer.errors.iter().all(Trouble::may_pass);
            refused(&code(&answer.errors), status, retryable)
        }
        None => unclear(&format!("says {}", code(&answer.errors)), status),
    }
}

/// What the transaction shows of an operation.
pub(super) fn on_the_books(response: &Response, operation: &Operation) -> OnTheBooks {
    let Ok(answer) = read::<Asked>(response) else {
        return unread("the transaction cannot be read");
    };
    if !answer.errors.is_empty() {
        return unread(&format!("it was answered {}", code(&answer.errors)));
    }
    match answer.data.and_then(|data| data.node) {
        Some(found) if found.id == operation.processor_reference => match operation.kind {
            OperationKind::Settle => found.settled(operation),
            OperationKind::Void => match found.voided() {
                OnTheBooks::Missing => found.reversed(operation),
                shown => shown,
            },
            OperationKind::Refund => found.refunded(operation),
        },
        Some(_) => unread("it is another transaction"),
        None => unread("the transaction is not there"),
    }
}

fn unread(why: &str) -> OnTheBooks {
    OnTheBooks::Unread(why.to_owned())
}

impl Payment {
    /// As the answer to an operation.
    fn answers(&self, operation: &Operation) -> OnTheBooks {
        let is_the_charge = self.id == operation.processor_reference;
        let refunded = self.refunded_transaction.as_ref();
        let is_its_refund = refunded.is_some_and(|of| of.id == operation.processor_reference);
        match operation.kind {
            OperationKind::Settle if is_the_charge => self.settled(operation),
            OperationKind::Void if is_the_charge => self.voided(),
            OperationKind::Void if is_its_refund && self.fits(operation) => self.as_refund(),
            OperationKind::Refund
                if is_its_refund && self.fits(operation) && self.is_named(operation) =>
            {
                self.as_refund()
            }
            _ => unread("it is about something else"),
        }
    }

    /// As a transaction that was to be captured.
    fn settled(&self, operation: &Operation) -> OnTheBooks {
        match self.status() {
            "SUBMITTED_FOR_SETTLEMENT" | "SETTLEMENT_PENDING" | "SETTLING" | "SETTLED" => {
                if self.fits(operation) {
                    OnTheBooks::As(self.approved())
                } else {
                    unread("another amount was captured")
                }
            }
            "SETTLEMENT_DECLINED" => OnTheBooks::As(will_not(self.status())),
            "AUTHORIZING" | "AUTHORIZED" | "AUTHORIZATION_EXPIRED" | "VOIDED" => {
                OnTheBooks::Missing
            }
            _ => unread("its status does not say whether it was captured"),
        }
    }

    /// As a transaction that was to be voided.
    fn voided(&self) -> OnTheBooks {
        match self.status() {
            "VOIDED" => OnTheBooks::As(self.approved()),
            "AUTHORIZING"
            | "AUTHORIZED"
            | "AUTHORIZATION_EXPIRED"
            | "SUBMITTED_FOR_SETTLEMENT"
            | "SETTLEMENT_PENDING"
            | "SETTLING"
            | "SETTLED" => OnTheBooks::Missing,
            _ => unread("its status does not say whether it was voided"),
        }
    }

    /// As a transaction that had settled and was to be reversed: by a refund of all of it.
    fn reversed(&self, operation: &Operation) -> OnTheBooks {
        let Some(refunds) = &self.refunds else {
            return unread("its refunds are not told");
        };
        let whole = refunds.iter().filter(|refund| refund.fits(operation));
        let mut shown = OnTheBooks::Missing;
        for refund in whole {
            shown = refund.as_refund();
            // One that stands counts before those that did not come to be.
            if !matches!(shown, OnTheBooks::As(Outcome::Declined { .. })) {
                break;
            }
        }
        shown
    }

    /// As a transaction of which part was to be refunded.
    fn refunded(&self, operation: &Operation) -> OnTheBooks {
        let Some(refunds) = &self.refunds else {
            return unread("its refunds are not told");
        };
        let mut ours = refunds.iter().filter(|refund| refund.is_named(operation));
        match (ours.next(), ours.next()) {
            (None, _) => OnTheBooks::Missing,
            (Some(one), None) if one.fits(operation) => one.as_refund(),
            (Some(_), None) => unread("the refund of this order id is of another amount"),
            (Some(_), Some(_)) => unread("there is more than one refund of this order id"),
        }
    }

    fn as_refund(&self) -> OnTheBooks {
        OnTheBooks::As(match self.status() {
            "SUBMITTED_FOR_SETTLEMENT" | "SETTLING" | "SETTLED" => self.approved(),
            "PROCESSOR_DECLINED"
            | "GATEWAY_REJECTED"
            | "FAILED"
            | "SETTLEMENT_DECLINED"
            | "VOIDED" => will_not(self.status()),
            status => Outcome::Pending {
                processor_reference: words::reference_or_withheld(&self.id),
                code: words::code_or_withheld(status),
            },
        })
    }

    fn approved(&self) -> Outcome {
        Outcome::Approved {
            processor_reference: words::reference_or_withheld(&self.id),
            code: words::code_or_withheld(self.status()),
        }
    }

    fn status(&self) -> &str {
        self.status.as_deref().unwrap_or_default()
    }

    /// Whether it is of the operation's amount.
    fn fits(&self, operation: &Operation) -> bool {
        let Some(money) = &self.amount else {
            return false;
        };
        let decimals = currency_exponent(&operation.charge.currency);
        let amount = decimals.and_then(|decimals| minor(&money.value, decimals));
        amount == Some(operation.amount_minor)
            && money.currency_code.as_deref() == Some(&operation.charge.currency)
    }

    /// Whether it has the operation's order id.
    fn is_named(&self, operation: &Operation) -> bool {
        self.order_id.as_deref() == Some(operation.id.to_string().as_str())
    }
}

#[cfg(test)]
mod tests;
