//! What Authorize.Net's answers mean.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    super::{
        Advice, Charge, Outcome,
        api::{minor, not_looked_up, refused, unclear},
        response::Response,
        words,
    },
    reference,
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
    transaction_type: String,
    transaction_status: String,
    response_reason_code: Option<Value>,
    auth_amount: Option<Value>,
    order: Option<Order>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    invoice_number: Option<String>,
}

/// What became of a charge that was asked for.
pub(super) fn charged(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    match status {
        200 => {}
        401 | 403 => return refused("the request is not taken", status, false),
        429 => return refused("too many requests", status, true),
        _ => return unclear("cannot be read", status),
    }
    let Some(answer) = read::<Answer>(response) else {
        return unclear("is not the JSON of a transaction", status);
    };
    let transaction = answer.transaction_response.as_ref();
    let transaction = transaction.and_then(|found| Some((found, found.response_code.as_deref()?)));
    let Some((transaction, code)) = transaction else {
        return not_begun(&answer.messages);
    };
    if answer.ref_id.as_deref() != Some(&reference(charge)) {
        return unclear("is about another charge", status);
    }
    let id = transaction.trans_id.as_deref().unwrap_or_default();
    let reason = transaction.reason();
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
            (Some(one), None) if one.trans_id.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Some(one.trans_id.clone()))
            }
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
    if invoice != Some(&reference(charge)) || details.transaction_type != "authCaptureTransaction" {
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
        "capturedPendingSettlement"
        | "pendingSettlement"
        | "pendingFinalSettlement"
        | "updatingSettlement"
        | "settledSuccessfully"
            if amount == Some(charge.amount_minor) =>
        {
            Outcome::Approved {
                processor_reference,
                code,
            }
        }
        // Held by a filter, or approved there and not yet captured.
        "FDSPendingReview"
        | "FDSAuthorizedPendingReview"
        | "underReview"
        | "approvedReview"
        | "authorizedPendingCapture"
        | "authorizedPendingRelease" => Outcome::Pending {
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
