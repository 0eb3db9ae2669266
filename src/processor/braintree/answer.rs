//! What Braintree's answers mean. They come with HTTP 200, refusals too.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::super::{
    Advice, Charge, Outcome, Purpose, Submitted, Token,
    api::{minor, not_looked_up, refused, unclear},
    response::Response,
    words,
};
use crate::proto::{currency::currency_exponent, field::Field};

#[derive(Deserialize)]
pub(super) struct Answer<D> {
    pub(super) data: Option<D>,
    #[serde(default)]
    pub(super) errors: Vec<Trouble>,
}

/// One of `errors`. Its message is for people and is not passed on.
#[derive(Deserialize)]
pub(super) struct Trouble {
    extensions: Option<Extensions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    error_class: Option<String>,
    legacy_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tokenised {
    tokenize_credit_card: Option<Made>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    payment_method: Option<PaymentMethod>,
}

#[derive(Deserialize)]
struct PaymentMethod {
    id: String,
    usage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Charged {
    #[serde(alias = "authorizeCreditCard")]
    charge_credit_card: Option<Payload>,
}

#[derive(Deserialize)]
struct Payload {
    transaction: Option<Transaction>,
}

#[derive(Deserialize)]
struct Searched {
    search: Option<Search>,
}

#[derive(Deserialize)]
struct Search {
    transactions: Option<Found>,
}

#[derive(Deserialize)]
struct Found {
    edges: Option<Vec<Edge>>,
}

#[derive(Deserialize)]
struct Edge {
    node: Option<Transaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    id: String,
    order_id: Option<String>,
    status: Option<String>,
    amount: Option<Money>,
    status_history: Option<Vec<Event>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Money {
    value: Value,
    currency_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    status: Option<String>,
    processor_response: Option<ProcessorResponse>,
    gateway_rejection_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessorResponse {
    legacy_code: Option<String>,
}

/// What became of the card. Whatever it is, no money has moved.
pub(super) fn tokenised(response: &Response) -> Submitted {
    let nothing = |why: &str, retryable: bool| {
        Submitted::Ended(Outcome::Failed {
            reason: format!("nothing was charged: {why} (HTTP {})", response.status),
            retryable,
        })
    };
    let answer = match read::<Tokenised>(response) {
        Ok(answer) => answer,
        Err(NotRead::Refused { why, retryable }) => return nothing(why, retryable),
        Err(NotRead::Unclear) => return nothing("the processor's answer cannot be read", true),
    };
    if let Some(field) = answer.errors.iter().find_map(Trouble::field) {
        return Submitted::Ended(Outcome::Declined {
            advice: Advice::ReEnter(field),
            code: code(&answer.errors),
        });
    }
    if !answer.errors.is_empty() {
        let retryable = answer.errors.iter().all(Trouble::may_pass);
        return nothing(&code(&answer.errors), retryable);
    }
    let made = answer.data.and_then(|data| data.tokenize_credit_card);
    let token = made
        .and_then(|made| made.payment_method)
        // Any other could be charged again by whoever finds it.
        .filter(|method| method.usage.as_deref() == Some("SINGLE_USE"))
        .and_then(|method| Token::new(&method.id));
    match token {
        Some(token) => Submitted::Tokenised(token),
        None => nothing("the processor's answer is no single-use token", true),
    }
}

/// What became of a charge that was asked for.
pub(super) fn charged(response: &Response, charge: &Charge) -> Outcome {
    let status = response.status;
    let answer = match read::<Charged>(response) {
        Ok(answer) => answer,
        Err(NotRead::Refused { why, retryable }) => return refused(why, status, retryable),
        Err(NotRead::Unclear) => return unclear("cannot be read", status),
    };
    let transaction = answer
        .data
        .and_then(|data| data.charge_credit_card)
        .and_then(|payload| payload.transaction);
    match transaction {
        // There is one, whatever errors say beside it.
        Some(transaction) if transaction.is_of(charge) => transaction.outcome(charge.purpose),
        Some(_) => unclear("is about another charge", status),
        None if answer.errors.is_empty() => unclear("is no transaction", status),
        None if answer.errors.iter().all(Trouble::did_nothing) => {
            let retryable = answer.errors.iter().all(Trouble::may_pass);
            refused(&code(&answer.errors), status, retryable)
        }
        None => unclear(&format!("says {}", code(&answer.errors)), status),
    }
}

/// What a search tells of a charge; `None` where it has none.
pub(super) fn found(response: &Response, charge: &Charge) -> Option<Outcome> {
    let Ok(answer) = read::<Searched>(response) else {
        let status = response.status;
        return Some(not_looked_up(format!(
            "the search was answered HTTP {status}"
        )));
    };
    let edges = answer
        .data
        .and_then(|data| data.search)
        .and_then(|search| search.transactions)
        .and_then(|found| found.edges);
    let Some(edges) = edges.filter(|_| answer.errors.is_empty()) else {
        let why = format!("the search was answered {}", code(&answer.errors));
        return Some(not_looked_up(why));
    };
    // One that was rejected for being the same as the first does not tell what became of the first.
    let transactions: Vec<_> = edges
        .into_iter()
        .map(|edge| edge.node)
        .filter(|node| !node.as_ref().is_some_and(Transaction::is_a_duplicate))
        .collect();
    Some(match transactions.as_slice() {
        [] => return None,
        [Some(one)] if one.is_of(charge) => one.outcome(charge.purpose),
        [_] => not_looked_up("what was found is about another charge"),
        _ => not_looked_up("there is more than one transaction of this order id"),
    })
}

pub(super) enum NotRead {
    /// It was turned away before GraphQL came to see it.
    Refused {
        why: &'static str,
        retryable: bool,
    },
    Unclear,
}

pub(super) fn read<D: DeserializeOwned>(response: &Response) -> Result<Answer<D>, NotRead> {
    match response.status {
        200 => serde_json::from_slice(&response.body).map_err(|_| NotRead::Unclear),
        401 | 403 => Err(NotRead::Refused {
            why: "the key is not taken",
            retryable: false,
        }),
        429 => Err(NotRead::Refused {
            why: "too many requests",
            retryable: true,
        }),
        _ => Err(NotRead::Unclear),
    }
}

/// The first error's class and code.
pub(super) fn code(errors: &[Trouble]) -> String {
    let first = errors.first().and_then(|error| error.extensions.as_ref());
    let Some(first) = first else {
        return "an error without a class".to_owned();
    };
    let class = first.error_class.as_deref().unwrap_or("ERROR");
    let code = match &first.legacy_code {
        Some(code) => format!("{class}:{code}"),
        None => class.to_owned(),
    };
    words::code_or_withheld(&code)
}

impl Trouble {
    fn class(&self) -> Option<&str> {
        self.extensions.as_ref()?.error_class.as_deref()
    }

    fn legacy_code(&self) -> Option<&str> {
        self.extensions.as_ref()?.legacy_code.as_deref()
    }

    /// Whether a request that met it was surely not done.
    pub(super) fn did_nothing(&self) -> bool {
        match (self.class(), self.legacy_code()) {
            // The payment method is consumed, not there (any more) or in use: by a charge, it may be.
            (
                Some("VALIDATION"),
                Some("91564" | "91565" | "91566" | "91731" | "91732" | "91733"),
            ) => false,
            (
                Some(
                    "VALIDATION" | "AUTHENTICATION" | "AUTHORIZATION" | "UNSUPPORTED_CLIENT"
                    | "RESOURCE_LIMIT",
                ),
                _,
            ) => true,
            // INTERNAL and SERVICE_AVAILABILITY come of what was begun, too; NOT_FOUND may be about
            // a payment method that is consumed.
            _ => false,
        }
    }

    /// Whether what was asked for is not to be had, in the words of GraphQL.
    pub(super) fn is_the_requests(&self) -> bool {
        matches!(self.class(), Some("VALIDATION" | "NOT_FOUND"))
    }

    /// Whether the same may be taken at another time.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self.class(),
            Some("RESOURCE_LIMIT" | "INTERNAL" | "SERVICE_AVAILABILITY")
        )
    }

    /// Which field was keyed wrong, if one was.
    fn field(&self) -> Option<Field> {
        match self.legacy_code()? {
            // Not a number, prohibited, too long or short, none.
            "81714" | "81715" | "81716" | "81750" => Some(Field::PaymentCardNumber),
            "81709" | "81710" | "81711" | "81712" | "81713" => Some(Field::ExpirationDate),
            "81706" | "81707" | "81736" => Some(Field::SecurityCode),
            _ => None,
        }
    }
}

impl Transaction {
    fn is_of(&self, charge: &Charge) -> bool {
        let Some(money) = &self.amount else {
            return false;
        };
        let decimals = currency_exponent(&charge.currency);
        let amount = decimals.and_then(|decimals| minor(&money.value, decimals));
        amount == Some(charge.amount_minor)
            && money.currency_code.as_deref() == Some(&charge.currency)
            && self.order_id.as_deref() == Some(charge.attempt.to_string().as_str())
    }

    fn status(&self) -> &str {
        self.status.as_deref().unwrap_or_default()
    }

    /// How it came to be as it is.
    fn event(&self) -> Option<&Event> {
        let history = self.status_history.as_ref()?;
        history.iter().find(|event| event.status == self.status)
    }

    fn rejection(&self) -> &str {
        let reason = self
            .event()
            .and_then(|e| e.gateway_rejection_reason.as_deref());
        reason.unwrap_or_default()
    }

    fn is_a_duplicate(&self) -> bool {
        self.status() == "GATEWAY_REJECTED" && self.rejection() == "DUPLICATE"
    }

    fn outcome(&self, purpose: Purpose) -> Outcome {
        let processor_reference = words::reference_or_withheld(&self.id);
        let response = self.event().and_then(|e| e.processor_response.as_ref());
        let legacy = response.and_then(|response| response.legacy_code.as_deref());
        let status = self.status();
        match status {
            "SUBMITTED_FOR_SETTLEMENT" | "SETTLEMENT_PENDING" | "SETTLING" | "SETTLED" => {
                Outcome::Approved {
                    processor_reference,
                    code: status.to_owned(),
                }
            }
            "AUTHORIZED" if purpose == Purpose::Authorise => Outcome::Approved {
                processor_reference,
                code: status.to_owned(),
            },
            // Not captured: nobody is paid yet.
            "AUTHORIZING" | "AUTHORIZED" => Outcome::Pending {
                processor_reference,
                code: status.to_owned(),
            },
            "PROCESSOR_DECLINED" => declined(legacy.unwrap_or_default()),
            "GATEWAY_REJECTED" => rejected(self.rejection()),
            // It did not come through to the processor.
            "FAILED" => Outcome::Declined {
                advice: Advice::TryAgain,
                code: words::code_or_withheld(&format!("FAILED:{}", legacy.unwrap_or_default())),
            },
            "VOIDED" | "AUTHORIZATION_EXPIRED" => Outcome::Failed {
                reason: "the charge was cancelled at the processor".to_owned(),
                retryable: true,
            },
            // SETTLEMENT_DECLINED and SETTLEMENT_CONFIRMED are none that a charge by card comes to.
            other => unclear(&format!("says {}", words::code_or_withheld(other)), 200),
        }
    }
}

/// By `legacyCode` of the processor's response: 2000 to 2999 are declines.
pub(super) fn declined(legacy: &str) -> Outcome {
    let code = words::code_or_withheld(&format!("PROCESSOR_DECLINED:{legacy}"));
    let advice = match legacy {
        // Set up wrong, in one way or another, at the processor: another card does not help.
        "2025" | "2026" | "2027" | "2028" | "2030" | "2040" | "2045" | "2055" => {
            return refused(&code, 200, false);
        }
        // Insufficient funds; processor's network not available.
        "2001" | "3000" => Advice::TryAgain,
        // Invalid number, its length, no such issuer, not of this kind of card.
        "2005" | "2008" | "2009" | "2051" => Advice::ReEnter(Field::PaymentCardNumber),
        "2004" | "2006" => Advice::ReEnter(Field::ExpirationDate),
        // The code; address and code.
        "2010" | "2060" => Advice::ReEnter(Field::SecurityCode),
        // Limits, voice authorisation, not allowed, violations, call for approval, call issuer,
        // restriction on the card.
        "2002" | "2003" | "2011" | "2015" | "2020" | "2021" | "2041" | "2043" | "2044" | "2057" => {
            Advice::CallIssuer
        }
        // Lost, stolen, fraud; a duplicate; stopped by the cardholder; pick up the card.
        "2012" | "2013" | "2014" | "2016" | "2017" | "2018" | "2047" | "2053" => Advice::DoNotRetry,
        _ => Advice::OtherCard,
    };
    Outcome::Declined { advice, code }
}

/// By `gatewayRejectionReason`: rules of the merchant's own account.
pub(super) fn rejected(reason: &str) -> Outcome {
    let code = words::code_or_withheld(&format!("GATEWAY_REJECTED:{reason}"));
    let advice = match reason {
        // The same charge was approved before: only the search tells which that is.
        "DUPLICATE" => return unclear("says that there is such a charge already", 200),
        "APPLICATION_INCOMPLETE" | "MANUAL_TRANSACTIONS_DISABLED" => {
            return refused(&code, 200, false);
        }
        "CVV" | "AVS_AND_CVV" => Advice::ReEnter(Field::SecurityCode),
        "EXCESSIVE_RETRY" | "FRAUD" | "PAYMENT_METHOD_BLOCKED" | "RISK_THRESHOLD" => {
            Advice::DoNotRetry
        }
        _ => Advice::OtherCard,
    };
    Outcome::Declined { advice, code }
}
