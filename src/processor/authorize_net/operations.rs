//! Capturing what was authorised, voiding and refunding.
//!
//! There is no idempotency key, so each is asked for once. What became of a capture and of a void stands in the
//! details of the transaction, and of both a second one is told as done already (310, 311). A refund is a
//! transaction of its own, with the card's last four and an invoice number that is ours; it is looked for by that
//! among the unsettled ones, where that it is missing never counts. What has not settled can only be voided, and
//! what has only be refunded. Sources:
//! <https://developer.authorize.net/api/reference/index.html#payment-transactions-capture-a-previously-authorized-amount>,
//! `…#payment-transactions-void-a-transaction`, `…#payment-transactions-refund-a-transaction`.

use super::{
    AuthorizeNet, DUPLICATE_WINDOW,
    answer::{is_id, operated, shown},
    shortened,
};
use crate::{
    processor::{
        Operation, OperationKind, Outcome,
        api::{ON_ITS_WAY, OnTheBooks, operation_not_looked_up, operation_outcome},
    },
    proto::currency::decimal,
};

impl AuthorizeNet {
    pub(super) async fn request_operation(&self, operation: &Operation) -> Outcome {
        let rest = match request(operation) {
            Ok(rest) => rest,
            Err(why) => {
                return Outcome::Failed {
                    reason: format!("nothing was sent: {why}"),
                    retryable: false,
                };
            }
        };
        match self.ask("createTransactionRequest", &rest).await {
            Ok(response) => operated(&response, operation),
            Err(error) => error.into(),
        }
    }

    pub(super) async fn find_operation(&self, operation: &Operation) -> Outcome {
        let id = match operation.kind {
            OperationKind::Settle | OperationKind::Void => match named(operation) {
                Ok(id) => id.to_owned(),
                Err(why) => return operation_not_looked_up(why),
            },
            OperationKind::Refund => match self.find(&ours(operation)).await {
                Ok(Some(id)) => id,
                Ok(None) => {
                    return operation_not_looked_up(format!(
                        "it is not among the unsettled transactions, which does not say that there is none; find invoice number {} in the Merchant Interface",
                        ours(operation)
                    ));
                }
                Err(why) => return operation_not_looked_up(why),
            },
        };
        let rest = format!(",\"transId\":\"{id}\"");
        let books = match self.ask("getTransactionDetailsRequest", &rest).await {
            Ok(response) => shown(&response, operation),
            Err(error) => OnTheBooks::Unread(error.to_string()),
        };
        operation_outcome(operation, None, books, ON_ITS_WAY)
    }
}

/// Our reference of an operation, shortened as that of an attempt.
pub(super) fn ours(operation: &Operation) -> String {
    shortened(&operation.id.to_string())
}

/// Its charge, as the processor names it; what is said where it has no such name.
fn named(operation: &Operation) -> Result<&str, &'static str> {
    let id = operation.processor_reference.as_str();
    is_id(id)
        .then_some(id)
        .ok_or("the charge has no reference that Authorize.Net knows")
}

/// The request behind the credentials, in the order of the schema; what is said where it cannot be made.
pub(super) fn request(operation: &Operation) -> Result<String, &'static str> {
    let amount = decimal(operation.amount_minor, &operation.charge.currency);
    let of = named(operation)?;
    let ours = ours(operation);
    let transaction = match operation.kind {
        OperationKind::Settle => format!(
            "\"transactionType\":\"priorAuthCaptureTransaction\",\"amount\":\"{amount}\",\"refTransId\":\"{of}\""
        ),
        OperationKind::Void => {
            format!("\"transactionType\":\"voidTransaction\",\"refTransId\":\"{of}\"")
        }
        OperationKind::Refund => format!(
            "\"transactionType\":\"refundTransaction\",\"amount\":\"{amount}\",\"payment\":{{\"creditCard\":{{\"cardNumber\":\"{}\",\"expirationDate\":\"XXXX\"}}}},\"refTransId\":\"{of}\",\"order\":{{\"invoiceNumber\":\"{ours}\"}},\"transactionSettings\":{{\"setting\":[{{\"settingName\":\"duplicateWindow\",\"settingValue\":\"{DUPLICATE_WINDOW}\"}}]}}",
            operation
                .last4
                .ok_or("a refund needs the card's last four, which are not known")?
        ),
    };
    Ok(format!(
        ",\"refId\":\"{ours}\",\"transactionRequest\":{{{transaction}}}"
    ))
}

#[cfg(test)]
mod tests;
