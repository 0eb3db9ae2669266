//! What Authorize.Net's answers mean.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    super::{
        Advice, Charge, Operation, OperationKind, Outcome, Purpose,
        api::{OnTheBooks, minor, not_looked_up, refused, unclear, will_not},
        response::Response,
        words,
    },
    operations::ours,
    reference, transaction_type,
};
use crate::proto::field::Field;

/// UTF-8's byte order mark, which answers begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    transaction_response: Option<Transaction>,
    ref_id: Option<String>,
    messages: Messages,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Messages {
    result_code: String,
    #[serde(default)]
    message: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    response_code: Option<String>,
    trans_id: Option<String>,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    errors: Vec<Error>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Error {
    error_code: String,
}

/// One page of the list of unsettled transactions.
#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(default)]
    transactions: Vec<Summary>,
    messages: Messages,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    trans_id: String,
    invoice_number: Option<String>,
}

#[derive(Deserialize)]
struct Detailed {
    transaction: Option<Details>,
    messages: Messages,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    trans_id: String,
    ref_trans_id: Option<String>,
    transaction_type: String,
    transaction_status: String,
    response_reason_code: Option<Value>,
    auth_amount: Option<Value>,
    settle_amount: Option<Value>,
    order: Option<Order>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    invoice_number: Option<String>,
}

/// What became of a charge that was asked for.
pub(super) fn charged(response: &Response, charge: &Charge) -> Outcome {
    let transaction = match begun(response, &reference(charge)) {
        Ok(transaction) => transaction,
        Err(outcome) => return outcome,
    };
    let status = response.status;
    let id = transaction.trans_id.as_deref().unwrap_or_default();
    let reason = transaction.reason();
    let code = transaction.response_code.as_deref().unwrap_or_default();
    match (code, id) {
        // What an account in test mode approves has the id 0 and is not there.
        ("1", "0") => refused("the account is in test mode", status, false),
        ("1", "") => unclear("approves a charge without an id", status),
        ("1", id) => Outcome::Approved {
            processor_reference: words::reference_or_withheld(id),
            code: words::code_or_withheld(&format!("1:{reason}")),
        },
        ("2", _) => declined(reason),
        ("3", _) => failed(reason),
        // Held: by a filter of the account, for consent.
        ("4" | "5", id) => Outcome::Pending {
            processor_reference: words::reference_or_withheld(id),
            code: words::code_or_withheld(&format!("{code}:{reason}")),
        },
        (other, _) => unclear(&format!("says {}", words::code_or_withheld(other)), status),
    }
}

/// What became of an operation that was asked for.
pub(super) fn operated(response: &Response, operation: &Operation) -> Outcome {
    let transaction = match begun(response, &ours(operation)) {
        Ok(transaction) => transaction,
        Err(outcome) => return outcome,
    };
    let status = response.status;
    let id = transaction.trans_id.as_deref().unwrap_or_default();
    let reason = transaction.reason();
    let code = transaction.response_code.as_deref().unwrap_or_default();
    let said = words::code_or_withheld(&format!("{code}:{reason}"));
    match (code, reason) {
        // Voided, or captured, already: the details say whether by this.
        (_, "310" | "311") => unclear(&format!("says {said}"), status),
        ("1", _) if id == "0" => refused("the account is in test mode", status, false),
        ("1", _) if !id.is_empty() => Outcome::Approved {
            processor_reference: words::reference_or_withheld(id),
            code: said,
        },
        ("2" | "3", reason) => not_done(code, reason),
        ("4" | "5", _) => Outcome::Pending {
            processor_reference: words::reference_or_withheld(id),
            code: said,
        },
        _ => unclear("is none of an operation", status),
    }
}

/// The transaction that an answer is about; else what it means that there is none.
fn begun(response: &Response, ours: &str) -> Result<Transaction, Outcome> {
    let status = response.status;
    match status {
        200 => {}
        401 | 403 => return Err(refused("the request is not taken", status, false)),
        429 => return Err(refused("too many requests", status, true)),
        _ => return Err(unclear("cannot be read", status)),
    }
    let Some(answer) = read::<Answer>(response) else {
        return Err(unclear("is not the JSON of a transaction", status));
    };
    let transaction = answer.transaction_response;
    let Some(transaction) = transaction.filter(|found| found.response_code.is_some()) else {
        return Err(not_begun(&answer.messages));
    };
    match answer.ref_id.as_deref() == Some(ours) {
        true => Ok(transaction),
        false => Err(unclear("is about another transaction", status)),
    }
}

/// The page; or why it is none.
pub(super) fn listed(response: &Response) -> Result<Listed, String> {
    let listed = read::<Listed>(response).filter(|_| response.status == 200);
    let listed = listed.ok_or_else(|| format!("the list was answered HTTP {}", response.status))?;
    match listed.messages.is_ok() {
        true => Ok(listed),
        false => Err(format!("the list was answered {}", listed.messages.code())),
    }
}

impl Listed {
    pub(super) fn len(&self) -> usize {
        self.transactions.len()
    }

    /// The processor's own reference of the charge that is ours.
    pub(super) fn id_of(&self, ours: &str) -> Result<Option<String>, String> {
        let ours = |found: &&Summary| found.invoice_number.as_deref() == Some(ours);
        let mut found = self.transactions.iter().filter(ours);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            // It goes into a request as it is.
            (Some(one), None) if is_id(&one.trans_id) => Ok(Some(one.trans_id.clone())),
            (Some(_), None) => Err("its id is no number".to_owned()),
            (Some(_), Some(_)) => {
                Err("there is more than one transaction of this invoice number".to_owned())
            }
        }
    }
}

/// What became of a charge, by its details.
pub(super) fn detailed(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    let Some(found) = read::<Detailed>(response).filter(|_| status == 200) else {
        return not_looked_up(format!("its details were answered HTTP {status}"));
    };
    let Some(details) = found.transaction.filter(|_| found.messages.is_ok()) else {
        let code = found.messages.code();
        return not_looked_up(format!("its details were answered {code}"));
    };
    let invoice = details
        .order
        .as_ref()
        .and_then(|order| order.invoice_number.as_deref());
    if invoice != Some(&reference(charge))
        || details.transaction_type != transaction_type(charge.purpose)
    {
        return not_looked_up("the details are of another charge");
    }
    let processor_reference = words::reference_or_withheld(&details.trans_id);
    let state = details.transaction_status.as_str();
    let code = words::code_or_withheld(state);
    let reason = details.reason();
    let amount = details
        .auth_amount
        .as_ref()
        .and_then(|amount| minor(amount, 2));
    match state {
        state if is_captured(state) && amount == Some(charge.amount_minor) => Outcome::Approved {
            processor_reference,
            code,
        },
        "authorizedPendingCapture"
            if charge.purpose == Purpose::Authorise && amount == Some(charge.amount_minor) =>
        {
            Outcome::Approved {
                processor_reference,
                code,
            }
        }
        // Or approved there and not yet captured.
        state if is_held(state) || state == "authorizedPendingCapture" => Outcome::Pending {
            processor_reference,
            code,
        },
        "declined" => declined(&reason),
        "generalError" | "communicationError" => failed(&reason),
        "voided" | "expired" | "failedReview" => Outcome::Failed {
            reason: "the charge was cancelled at the processor".to_owned(),
            retryable: true,
        },
        // Another amount, settled with an error, charged back, returned.
        _ => not_looked_up(format!("the processor says {code}")),
    }
}

/// What details show of an operation: of a refund its own, else those of the charge.
pub(super) fn shown(response: &Response, operation: &Operation) -> OnTheBooks {
    let unread = |why: &str| OnTheBooks::Unread(why.to_owned());
    let found = read::<Detailed>(response).filter(|_| response.status == 200);
    let Some(found) = found else {
        return unread("the details cannot be read");
    };
    let Some(details) = found.transaction.filter(|_| found.messages.is_ok()) else {
        return unread(&format!(
            "the details were answered {}",
            found.messages.code()
        ));
    };
    let is_it = match operation.kind {
        OperationKind::Settle | OperationKind::Void => {
            details.trans_id == operation.processor_reference
        }
        OperationKind::Refund => details.is_refund(operation),
    };
    if !is_it {
        return unread("the details are of something else");
    }
    let settled = details.settle_amount.as_ref();
    let amount_fits = settled.and_then(|amount| minor(amount, 2)) == Some(operation.amount_minor);
    let state = details.transaction_status.as_str();
    let processor_reference = words::reference_or_withheld(&details.trans_id);
    let code = words::code_or_withheld(state);
    let done = Outcome::Approved {
        processor_reference: processor_reference.clone(),
        code: code.clone(),
    };
    let held = Outcome::Pending {
        processor_reference,
        code,
    };
    match (operation.kind, state) {
        (OperationKind::Settle, state) if is_captured(state) && amount_fits => OnTheBooks::As(done),
        (OperationKind::Settle, state) if is_held(state) => OnTheBooks::As(held),
        (OperationKind::Settle, "authorizedPendingCapture" | "voided" | "expired") => {
            OnTheBooks::Missing
        }
        (OperationKind::Void, "voided") => OnTheBooks::As(done),
        (OperationKind::Void, "authorizedPendingCapture" | "expired") => OnTheBooks::Missing,
        (OperationKind::Void, state) if is_captured(state) || is_held(state) => OnTheBooks::Missing,
        (OperationKind::Refund, "refundPendingSettlement" | "refundSettledSuccessfully")
            if amount_fits =>
        {
            OnTheBooks::As(done)
        }
        (OperationKind::Refund, "voided" | "failedReview") => OnTheBooks::As(will_not(state)),
        (OperationKind::Refund, "declined") => OnTheBooks::As(not_done("2", &details.reason())),
        (OperationKind::Refund, "generalError" | "communicationError") => {
            OnTheBooks::As(not_done("3", &details.reason()))
        }
        (OperationKind::Refund, state) if is_held(state) => OnTheBooks::As(held),
        // Another amount, or a state that does not tell.
        _ => unread(&format!(
            "the processor says {}",
            words::code_or_withheld(state)
        )),
    }
}

/// Whether it may stand in a request as it is.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the money of such a transaction is taken.
fn is_captured(state: &str) -> bool {
    matches!(
        state,
        "capturedPendingSettlement"
            | "pendingSettlement"
            | "pendingFinalSettlement"
            | "updatingSettlement"
            | "settledSuccessfully"
    )
}

/// Whether such a transaction is held for review, or just released.
fn is_held(state: &str) -> bool {
    matches!(
        state,
        "FDSPendingReview"
            | "FDSAuthorizedPendingReview"
            | "underReview"
            | "approvedReview"
            | "authorizedPendingRelease"
    )
}

/// The JSON behind the byte order mark.
fn read<T: DeserializeOwned>(response: &Response) -> Option<T> {
    let body = response.body.as_slice();
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    serde_json::from_slice(body).ok()
}

/// What an answer without a transaction means, by the code of the whole request.
fn not_begun(messages: &Messages) -> Outcome {
    let code = messages.code();
    match messages.message.first().map(|first| first.code.as_str()) {
        _ if messages.is_ok() => unclear("is no transaction", 200),
        // Too busy; under maintenance.
        Some("E00053" | "E00104") => refused(&code, 200, true),
        // What was sent is not taken: its type, form or method (2 to 4), keys (5 to 8), the account's test
        // mode (9), permissions (10, 11), a field's value, presence, length or type (13 to 16), its root
        // (45), the way to authenticate (59).
        Some(
            "E00002" | "E00003" | "E00004" | "E00005" | "E00006" | "E00007" | "E00008" | "E00009"
            | "E00010" | "E00011" | "E00013" | "E00014" | "E00015" | "E00016" | "E00045" | "E00059",
        ) => refused(&code, 200, false),
        // E00001 is an error while it was processed.
        _ => unclear(&format!("says {code}"), 200),
    }
}

impl Messages {
    fn is_ok(&self) -> bool {
        self.result_code == "Ok"
    }

    fn code(&self) -> String {
        words::code_or_withheld(self.message.first().map_or("", |first| first.code.as_str()))
    }
}

impl Transaction {
    /// The response reason code.
    fn reason(&self) -> &str {
        let error = self.errors.first().map(|error| error.error_code.as_str());
        let message = self.messages.first().map(|message| message.code.as_str());
        error.or(message).unwrap_or_default()
    }
}

impl Details {
    /// Whether it is the one that the operation asked for.
    fn is_refund(&self, operation: &Operation) -> bool {
        let order = self.order.as_ref();
        let invoice = order.and_then(|order| order.invoice_number.as_ref());
        self.transaction_type == "refundTransaction"
            && self.ref_trans_id.as_ref() == Some(&operation.processor_reference)
            && invoice == Some(&ours(operation))
    }

    fn reason(&self) -> String {
        match &self.response_reason_code {
            Some(Value::String(code)) => code.clone(),
            Some(Value::Number(code)) => code.to_string(),
            _ => String::new(),
        }
    }
}

/// A decline or an error whose authorisation the gateway tried to void, and failed; one that was approved
/// and did not settle; one that is there already.
fn may_stand(reason: &str) -> bool {
    matches!(
        reason,
        "11" | "36" | "120" | "121" | "122" | "127" | "141" | "145" | "152" | "165" | "318"
    )
}

/// By response reason code, where the response code is 2.
pub(super) fn declined(reason: &str) -> Outcome {
    let code = words::code_or_withheld(&format!("2:{reason}"));
    if may_stand(reason) {
        return unclear(&format!("says {code}: it may stand"), 200);
    }
    let advice = match reason {
        // The card code, alone or with the address.
        "44" | "45" | "65" => Advice::ReEnter(Field::SecurityCode),
        "315" => Advice::ReEnter(Field::PaymentCardNumber),
        "316" | "317" => Advice::ReEnter(Field::ExpirationDate),
        // Referral.
        "3" => Advice::CallIssuer,
        // Pick up the card; fraud; a blocked address, filters, a review.
        "4" | "41" | "250" | "251" | "254" => Advice::DoNotRetry,
        _ => Advice::OtherCard,
    };
    Outcome::Declined { advice, code }
}

/// By response reason code, where the response code is 3.
pub(super) fn failed(reason: &str) -> Outcome {
    let code = words::code_or_withheld(&format!("3:{reason}"));
    let again = |field| Outcome::Declined {
        advice: Advice::ReEnter(field),
        code: code.clone(),
    };
    match reason {
        "6" | "37" => again(Field::PaymentCardNumber),
        "7" | "8" => again(Field::ExpirationDate),
        "78" => again(Field::SecurityCode),
        // This kind of card is not taken; its bank does not allow it.
        "17" | "28" | "128" => Outcome::Declined {
            advice: Advice::OtherCard,
            code,
        },
        // An error during processing, try again in five minutes.
        "19" | "20" | "21" | "22" | "23" | "25" | "26" | "57" | "58" | "59" | "60" | "61"
        | "62" | "63" => Outcome::Declined {
            advice: Advice::TryAgain,
            code,
        },
        // Amount; login; set up wrong at the processor; currency; too much; not allowed; permissions.
        "5" | "13" | "24" | "29" | "30" | "31" | "34" | "35" | "38" | "39" | "43" | "49" | "66"
        | "84" | "87" | "103" | "116" => refused(&code, 200, false),
        _ => unclear(&format!("says {code}"), 200),
    }
}

/// By response code and response reason code, where an operation is declined or in error.
fn not_done(response_code: &str, reason: &str) -> Outcome {
    let code = words::code_or_withheld(&format!("{response_code}:{reason}"));
    match (response_code, reason) {
        (_, reason) if may_stand(reason) => unclear(&format!("says {code}: it may stand"), 200),
        ("2", _) => will_not(&code),
        // No such transaction (15, 16), a field that is missing, more than was authorised, not in part, not
        // settled yet (50), more than was charged (51, 55), not in a state for it or too long ago (54).
        (_, "15" | "16" | "33" | "47" | "48" | "50" | "51" | "54" | "55") => will_not(&code),
        (_, reason) => match failed(reason) {
            Outcome::Declined {
                advice: Advice::TryAgain,
                ..
            } => refused(&code, 200, true),
            Outcome::Declined { .. } => will_not(&code),
            outcome => outcome,
        },
    }
}
