//! What CyberSource's answers mean.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::super::{
    Advice, Charge, Operation, OperationKind, Outcome, Purpose,
    api::{refused, short_reference, unclear, will_not},
    response::Response,
    words,
};
use crate::proto::{
    currency::{currency_exponent, decimal},
    field::Field,
};

/// How far a clock may be off before it is named as the reason of a signature that is not taken.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    id: Option<String>,
    status: String,
    client_reference_information: Option<Reference>,
    order_information: Option<Order>,
    error_information: Option<Reason>,
}

#[derive(Deserialize)]
pub(super) struct Reference {
    pub(super) code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    amount_details: Option<Amounts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Amounts {
    authorized_amount: Option<String>,
    total_amount: Option<String>,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct Reason {
    reason: Option<String>,
}

/// What a request that was not processed is answered with.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) status: Option<String>,
    pub(super) reason: Option<String>,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    field: Option<String>,
}

/// What became of a request that holds a card.
pub(super) fn understand(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    if status != 201 {
        return not_taken(response);
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(&response.body) else {
        return unclear("is not the JSON of a payment", status);
    };
    let reference = answer.client_reference_information.as_ref();
    if reference.and_then(|found| found.code.as_ref()) != Some(&short_reference(charge)) {
        return unclear("is about another payment", status);
    }
    answer.outcome(charge)
}

impl Answer {
    fn outcome(&self, charge: &Charge) -> Outcome {
        let reason = self.error_information.as_ref();
        let reason = reason.and_then(|error| error.reason.as_deref());
        let code = match reason {
            Some(reason) => words::code_or_withheld(&format!("{}:{reason}", self.status)),
            None => words::code_or_withheld(&self.status),
        };
        let id = self.id.as_deref().filter(|id| !id.is_empty());
        let processor_reference = id.map_or_else(String::new, words::reference_or_withheld);
        match (self.status.as_str(), id) {
            ("AUTHORIZED", Some(_)) if self.is_whole(charge) => Outcome::Approved {
                processor_reference,
                code,
            },
            // Part of the amount, or what the issuer has authorised and CyberSource has not let pass: the
            // cardholder's money may be held, and is not taken.
            (
                "AUTHORIZED"
                | "PARTIAL_AUTHORIZED"
                | "AUTHORIZED_PENDING_REVIEW"
                | "AUTHORIZED_RISK_DECLINED"
                | "PENDING_REVIEW"
                | "PENDING"
                | "TRANSMITTED",
                Some(_),
            ) => Outcome::Pending {
                processor_reference,
                code,
            },
            ("DECLINED", _) => declined(reason.unwrap_or_default(), code),
            // A caller cannot do what this asks for, and nothing is charged until it is done.
            ("PENDING_AUTHENTICATION" | "AUTHENTICATION_FAILED", _) => Outcome::Declined {
                advice: Advice::OtherCard,
                code,
            },
            _ => unclear(&format!("says {code}"), 201),
        }
    }

    /// Whether all that was asked for is authorised.
    fn is_whole(&self, charge: &Charge) -> bool {
        let amounts = self.order_information.as_ref();
        match amounts.and_then(|order| order.amount_details.as_ref()) {
            Some(found) => {
                let authorized = found.authorized_amount.as_deref();
                let currency = found.currency.as_deref();
                authorized.is_none_or(|text| is_amount(text, charge.amount_minor, &charge.currency))
                    && currency.is_none_or(|code| code == charge.currency)
            }
            None => true,
        }
    }
}

/// Whether a decimal is an amount in minor units, whatever zeros it ends in.
fn is_amount(text: &str, minor: u64, currency: &str) -> bool {
    let plain = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    currency_exponent(currency).is_some() && plain(&decimal(minor, currency)) == plain(text)
}

/// What is not a matter of the card is no decline.
fn declined(reason: &str, code: String) -> Outcome {
    match reason {
        "INVALID_MERCHANT_CONFIGURATION" => refused(&code, 201, false),
        reason => Outcome::Declined {
            advice: advice(reason),
            code,
        },
    }
}

/// Answers to what CyberSource did not process.
fn not_taken(response: &Response) -> Outcome {
    let status = response.status;
    match status {
        401 => return refused(&why_not_signed_in(response), status, false),
        403 => return refused("the key may not charge", status, false),
        429 => return refused("too many requests", status, true),
        _ => {}
    }
    let Ok(refusal) = serde_json::from_slice::<Refusal>(&response.body) else {
        return unclear("cannot be read", status);
    };
    let reason = refusal.reason.as_deref().unwrap_or_default();
    let code = words::code_or_withheld(reason);
    let is_request = refusal.status.as_deref() == Some("INVALID_REQUEST");
    match (status, reason) {
        // What was done under the reference is not said.
        (_, "DUPLICATE_REQUEST") => unclear("says that there is such a payment already", status),
        (400, "INVALID_CARD") if is_request => Outcome::Declined {
            advice: Advice::ReEnter(Field::PaymentCardNumber),
            code,
        },
        (400, "CARD_TYPE_NOT_ACCEPTED" | "INVALID_CARD_TYPE") if is_request => Outcome::Declined {
            advice: Advice::OtherCard,
            code,
        },
        (400, "PROCESSOR_UNAVAILABLE") if is_request => refused(&code, status, true),
        (400, _) if is_request => match refusal.field() {
            Some(field) => Outcome::Declined {
                advice: Advice::ReEnter(field),
                code,
            },
            None => refused(&code, status, false),
        },
        _ => unclear(&format!("says {code}"), status),
    }
}

impl Refusal {
    /// Which field was keyed wrong, if nothing else was.
    fn field(&self) -> Option<Field> {
        let field = |detail: &Detail| {
            let path = detail.field.as_deref()?;
            match path.strip_prefix("paymentInformation.card.")? {
                "number" => Some(Field::PaymentCardNumber),
                "expirationMonth" | "expirationYear" => Some(Field::ExpirationDate),
                "securityCode" => Some(Field::SecurityCode),
                _ => None,
            }
        };
        let mut fields = self.details.iter().map(field);
        let first = fields.next()??;
        fields.all(|other| other.is_some()).then_some(first)
    }
}

/// CyberSource does not say what is wrong with a signature. Its own clock tells whether it is ours.
pub(super) fn why_not_signed_in(response: &Response) -> String {
    let off = response
        .date
        .map(|theirs| Timestamp::now().duration_since(theirs));
    match off {
        Some(off) if off.abs() > CLOCK_TOLERANCE => format!(
            "the clock of this machine is {} s {} the processor's, and requests are signed with the time; set it (NTP)",
            off.abs().as_secs(),
            if off.is_negative() {
                "behind"
            } else {
                "ahead of"
            },
        ),
        _ => "key, key_id or merchant_id are not taken".to_owned(),
    }
}

/// By `errorInformation.reason`.
fn advice(reason: &str) -> Advice {
    match reason {
        "INSUFFICIENT_FUND" | "ISSUER_UNAVAILABLE" | "PROCESSOR_ERROR" => Advice::TryAgain,
        "INVALID_ACCOUNT" => Advice::ReEnter(Field::PaymentCardNumber),
        "EXPIRED_CARD" => Advice::ReEnter(Field::ExpirationDate),
        "CVN_NOT_MATCH" | "INVALID_CVN" | "CV_FAILED" => Advice::ReEnter(Field::SecurityCode),
        // Refer to the issuer, not for sales without the card, over its limit, frozen.
        "CONTACT_PROCESSOR"
        | "UNAUTHORIZED_CARD"
        | "EXCEEDS_CREDIT_LIMIT"
        | "ALLOWABLE_PIN_RETRIES_EXCEEDED"
        | "SUSPENDED_ACCOUNT" => Advice::CallIssuer,
        // Lost or stolen, stopped by the cardholder, on somebody's list, by the rules against fraud.
        "STOLEN_LOST_CARD"
        | "BLOCKED_BY_CARDHOLDER"
        | "BLACKLISTED_CUSTOMER"
        | "DECISION_PROFILE_REJECT"
        | "SCORE_EXCEEDS_THRESHOLD"
        | "CUSTOMER_WATCHLIST_MATCH"
        | "ADDRESS_COUNTRY_WATCHLIST_MATCH"
        | "EMAIL_COUNTRY_WATCHLIST_MATCH"
        | "IP_COUNTRY_WATCHLIST_MATCH" => Advice::DoNotRetry,
        _ => Advice::OtherCard,
    }
}

/// What a search found.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    total_count: u64,
    #[serde(rename = "_embedded")]
    embedded: Option<Embedded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Embedded {
    #[serde(default)]
    transaction_summaries: Vec<Summary>,
}

/// One transaction as a search tells it: which services were run, and with what result.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    id: Option<String>,
    client_reference_information: Option<Reference>,
    order_information: Option<Order>,
    application_information: Option<Applications>,
}

#[derive(Deserialize)]
struct Applications {
    #[serde(default)]
    applications: Vec<Application>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Application {
    name: Option<String>,
    reason_code: Option<String>,
    r_code: Option<String>,
}

impl Found {
    /// Whether there is nothing, in the processor's own words.
    pub(super) fn is_empty(&self) -> bool {
        let embedded = self.embedded.as_ref();
        let summaries = embedded.map(|embedded| &embedded.transaction_summaries);
        self.total_count == 0 && summaries.is_none_or(Vec::is_empty)
    }

    /// What is of one of our references.
    pub(super) fn of(&self, ours: &str) -> Vec<&Summary> {
        let summaries = self.embedded.as_ref().into_iter();
        summaries
            .flat_map(|embedded| &embedded.transaction_summaries)
            .filter(|summary| {
                let reference = summary.client_reference_information.as_ref();
                reference.and_then(|found| found.code.as_deref()) == Some(ours)
            })
            .collect()
    }
}

impl Summary {
    pub(super) fn outcome(&self, charge: &Charge) -> Outcome {
        let unclear = |what: &str| super::not_looked_up(format!("the transaction {what}"));
        if !self.is_of(charge.amount_minor, &charge.currency) {
            return unclear("is of another amount");
        }
        let Some(authorization) = self.application("ics_auth") else {
            return unclear("is no authorisation");
        };
        let reason = authorization.reason_code.as_deref().unwrap_or_default();
        let code = words::code_or_withheld(reason_word(reason));
        let id = self.id.as_deref().filter(|id| !id.is_empty());
        let processor_reference = id.map_or_else(String::new, words::reference_or_withheld);
        let is_captured = self
            .application("ics_bill")
            .is_some_and(|capture| capture.r_code.as_deref() == Some("1"));
        let is_all_done = is_captured || charge.purpose == Purpose::Authorise;
        match (authorization.r_code.as_deref(), reason, id) {
            (Some("1"), "100", Some(_)) if is_all_done => Outcome::Approved {
                processor_reference,
                code,
            },
            // Held and not taken: in part, without a capture, or against CyberSource's own rules.
            (Some("1"), _, Some(_))
            | (Some("0"), "110" | "200" | "201" | "230" | "480" | "481" | "520", _) => {
                Outcome::Pending {
                    processor_reference,
                    code,
                }
            }
            (Some("0"), _, _) => declined(reason_word(reason), code),
            _ => unclear(&format!("says {code}")),
        }
    }

    /// What became of an operation; nothing where that is not said.
    pub(super) fn outcome_of_operation(&self, operation: &Operation) -> Option<Outcome> {
        let service = match operation.kind {
            OperationKind::Settle => "ics_bill",
            OperationKind::Void => "ics_auth_reversal",
            OperationKind::Refund => "ics_credit",
        };
        let service = self.application(service)?;
        let currency = &operation.charge.currency;
        if operation.kind != OperationKind::Void && !self.is_of(operation.amount_minor, currency) {
            return None;
        }
        let reason = service.reason_code.as_deref().unwrap_or_default();
        match (service.r_code.as_deref(), self.id.as_deref()) {
            (Some("1"), Some(id)) if !id.is_empty() => Some(Outcome::Approved {
                processor_reference: words::reference_or_withheld(id),
                code: words::code_or_withheld(reason_word(reason)),
            }),
            (Some("0"), _) => Some(will_not(reason_word(reason))),
            _ => None,
        }
    }

    fn is_of(&self, minor: u64, currency: &str) -> bool {
        let order = self.order_information.as_ref();
        let amounts = order.and_then(|order| order.amount_details.as_ref());
        amounts.is_some_and(|found| {
            let total = found.total_amount.as_deref();
            total.is_some_and(|total| is_amount(total, minor, currency))
                && found.currency.as_deref() == Some(currency)
        })
    }

    fn application(&self, name: &str) -> Option<&Application> {
        let applications = self.application_information.as_ref()?;
        let mut found = applications.applications.iter();
        found.find(|application| application.name.as_deref() == Some(name))
    }
}

/// The word that answers have for a reason that searches tell by its number.
fn reason_word(number: &str) -> &str {
    match number {
        "100" => "AUTHORIZED",
        "110" => "PARTIAL_AUTHORIZED",
        "200" => "AVS_FAILED",
        "201" => "CONTACT_PROCESSOR",
        "202" => "EXPIRED_CARD",
        "203" => "PROCESSOR_DECLINED",
        "204" => "INSUFFICIENT_FUND",
        "205" => "STOLEN_LOST_CARD",
        "207" => "ISSUER_UNAVAILABLE",
        "208" => "UNAUTHORIZED_CARD",
        "209" => "CVN_NOT_MATCH",
        "210" => "EXCEEDS_CREDIT_LIMIT",
        "211" => "INVALID_CVN",
        "221" => "BLACKLISTED_CUSTOMER",
        "222" => "SUSPENDED_ACCOUNT",
        "230" => "CV_FAILED",
        "231" => "INVALID_ACCOUNT",
        "233" => "GENERAL_DECLINE",
        "234" => "INVALID_MERCHANT_CONFIGURATION",
        "236" => "PROCESSOR_ERROR",
        "480" => "DECISION_PROFILE_REVIEW",
        "481" => "DECISION_PROFILE_REJECT",
        other => other,
    }
}

#[cfg(test)]
mod tests;
