//! Authorize.Net's JSON API: one request charges the card.
//!
//! The JSON stands for XML: its members have to come in the order of the schema, the answer begins with a
//! byte order mark, and refusals come with HTTP 200. The transaction key stands in the body, so all that
//! is sent, look-ups too, goes by the way that wipes what it sent.
//!
//! A charge without an answer is looked for in the list of unsettled transactions, which tells what became
//! of a charge that is there. That it is not there never counts: nothing says how far the list lags, it ends
//! after 1000 transactions, and what is being settled leaves it. Sources:
//! <https://developer.authorize.net/api/reference/index.html>,
//! <https://api.authorize.net/xml/v1/schema/AnetApiSchema.xsd>,
//! <https://developer.authorize.net/api/reference/responseCodes.html>,
//! <https://support.authorize.net/s/article/Error-11-A-duplicate-transaction-has-been-submitted>.

mod answer;
mod operations;

use std::time::Duration;

use serde_json::Value;

use self::answer::{charged, detailed, listed};
use super::{
    Abilities, CardView, Charge, Connection, EndpointError, Mode, Operation, Outcome, Processor,
    Promises, Purpose, Secret, Submitted, Token,
    api::{Api, not_looked_up, serial},
    card::Piece,
    client::{Heading, JSON},
    exchange::ExchangeError,
    response::Response,
};
use crate::{audit_log::Recorded, proto::currency::decimal};

/// Currencies of accounts at Authorize.Net; each account has one. All have two decimals.
const CURRENCIES: [&str; 6] = ["AUD", "CAD", "EUR", "GBP", "NZD", "USD"];
/// Mail order and telephone order.
const MOTO: &str = "1";
/// How long, in seconds, a request with the same card, amount and invoice number is refused instead of
/// charged: as long as can be. An invoice number is of one attempt, which is sent once, so what this meets
/// is a request that something on the way has repeated, and never a second payment.
const DUPLICATE_WINDOW: &str = "28800";
/// Transactions on a page of the list: as many as stay well below the longest answer that is read.
const PAGE: usize = 50;
/// Pages of the list, which has the 1000 latest transactions.
const PAGES: usize = 20;

/// What the adapter needs to know.
pub struct AuthorizeNetSettings {
    /// How it is reached; [`AuthorizeNet::site`] unless told otherwise.
    pub connection: Connection,
    /// The API login id. It is no secret.
    pub api_login_id: String,
    /// The transaction key.
    pub key: Secret,
}

/// The adapter.
pub struct AuthorizeNet {
    api: Api,
    /// Every request's beginning between its name and the transaction key.
    credentials: String,
    key: Secret,
    mode: Mode,
}

/// Why there is no adapter.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeNetError {
    /// What would not stand in a request as it is.
    #[error(
        "key_file: found a text that is no transaction key; expected 1 to 16 letters and digits"
    )]
    Key,
    /// It cannot be reached as configured.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl AuthorizeNet {
    /// Where the API is.
    #[must_use]
    pub const fn site(mode: Mode) -> &'static str {
        match mode {
            Mode::Test => "https://apitest.authorize.net/xml/v1/request.api",
            Mode::Live => "https://api.authorize.net/xml/v1/request.api",
        }
    }

    /// # Errors
    /// [`AuthorizeNetError`], which says what to change.
    pub fn new(settings: AuthorizeNetSettings) -> Result<Self, AuthorizeNetError> {
        let key = settings.key.expose();
        if key.len() > 16 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(AuthorizeNetError::Key);
        }
        let name = quoted(&settings.api_login_id);
        Ok(Self {
            api: Api::new(&settings.connection)?,
            credentials: format!(
                "\":{{\"merchantAuthentication\":{{\"name\":{name},\"transactionKey\":\""
            ),
            key: settings.key,
            mode: settings.connection.mode,
        })
    }

    /// Asks what holds no card. `rest` follows the credentials.
    async fn ask(&self, name: &str, rest: &str) -> Result<Response, ExchangeError> {
        let body = [
            "{\"",
            name,
            &self.credentials,
            self.key.expose(),
            "\"}",
            rest,
            "}}",
        ];
        let heading = Heading {
            media: JSON,
            fields: &[],
        };
        self.api.post_secret("", heading, &body).await
    }

    /// The processor's own reference of the transaction of our invoice number, where the list has it.
    async fn find(&self, ours: &str) -> Result<Option<String>, String> {
        for page in 1..=PAGES {
            let rest = format!(
                ",\"sorting\":{{\"orderBy\":\"submitTimeUTC\",\"orderDescending\":true}},\"paging\":{{\"limit\":{PAGE},\"offset\":{page}}}"
            );
            let response = self.ask("getUnsettledTransactionListRequest", &rest).await;
            let listed = listed(&response.map_err(|error| error.to_string())?)?;
            if let Some(id) = listed.id_of(ours)? {
                return Ok(Some(id));
            }
            if listed.len() < PAGE {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

impl Processor for AuthorizeNet {
    fn promises(&self) -> Promises {
        Promises {
            name: "authorize-net",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: false,
            // Of no use without the card, which is wiped by then.
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: true,
            // That there is none is never said.
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities {
                authorise: true,
                settle_part: true,
                void_charge: true,
                refund: true,
                refund_part: true,
            },
        }
    }

    async fn warm(&self) {
        self.api.warm().await;
    }

    async fn submit(&self, recorded: Recorded, card: CardView<'_>, charge: &Charge) -> Submitted {
        if !CURRENCIES.contains(&charge.currency.as_str()) {
            return Submitted::Ended(Outcome::Failed {
                reason: format!(
                    "nothing was sent: Authorize.Net does not charge in {}",
                    charge.currency
                ),
                retryable: false,
            });
        }
        let (before, after) = around_card(charge);
        let mut body = vec![
            Piece::Text("{\"createTransactionRequest"),
            Piece::Text(&self.credentials),
            Piece::Text(self.key.expose()),
            Piece::Text(&before),
            Piece::Pan,
            Piece::Text("\",\"expirationDate\":\"20"),
            Piece::ExpiryYear,
            Piece::Text("-"),
            Piece::ExpiryMonth,
        ];
        if card.has_security_code() {
            body.extend([Piece::Text("\",\"cardCode\":\""), Piece::SecurityCode]);
        }
        body.push(Piece::Text(&after));
        let heading = Heading {
            media: JSON,
            fields: &[],
        };
        let sent = self.api.post_card(recorded, card, "", heading, &body);
        Submitted::Ended(match sent.await {
            Ok(response) => charged(&response, charge),
            Err(error) => error.into(),
        })
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        let id = match self.find(&reference(charge)).await {
            Ok(Some(id)) => id,
            Ok(None) => {
                return not_looked_up(format!(
                    "it is not among the unsettled transactions, which does not say that there is none; find invoice number {} in the Merchant Interface",
                    reference(charge)
                ));
            }
            Err(why) => return not_looked_up(why),
        };
        let rest = format!(",\"transId\":\"{id}\"");
        match self.ask("getTransactionDetailsRequest", &rest).await {
            Ok(response) => detailed(&response, charge),
            Err(error) => not_looked_up(error),
        }
    }

    async fn operate(&self, operation: &Operation) -> Outcome {
        self.request_operation(operation).await
    }

    async fn look_up_operation(&self, operation: &Operation) -> Outcome {
        self.find_operation(operation).await
    }
}

/// Our reference of an attempt in 20 characters, the most that `refId` and `invoiceNumber` take: the end of
/// its ULID. That is all of its 80 random bits, and of its time the low 20 bits, which come again every
/// 17 minutes; so two attempts have the same where 80 random bits are the same, and not before.
fn reference(charge: &Charge) -> String {
    shortened(&charge.attempt.to_string())
}

/// The last 20 characters of an id's unique part.
fn shortened(id: &str) -> String {
    let serial = serial(id);
    serial[serial.len().saturating_sub(20)..].to_owned()
}

const fn transaction_type(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Charge => "authCaptureTransaction",
        Purpose::Authorise => "authOnlyTransaction",
    }
}

/// The request from the transaction key's end to the card, and from the card to its end; in the order of
/// the schema.
fn around_card(charge: &Charge) -> (String, String) {
    let ours = reference(charge);
    let before = format!(
        "\"}},\"refId\":\"{ours}\",\"transactionRequest\":{{\"transactionType\":\"{}\",\"amount\":\"{}\",\"currencyCode\":\"{}\",\"payment\":{{\"creditCard\":{{\"cardNumber\":\"",
        transaction_type(charge.purpose),
        decimal(charge.amount_minor, &charge.currency),
        charge.currency,
    );
    let setting =
        |name, value| format!("{{\"settingName\":\"{name}\",\"settingValue\":\"{value}\"}}");
    let after = format!(
        "\"}}}},\"order\":{{\"invoiceNumber\":\"{ours}\",\"description\":{}}},\"retail\":{{\"marketType\":\"{MOTO}\"}},\"transactionSettings\":{{\"setting\":[{},{}]}}}}}}}}",
        quoted(&charge.reference),
        // A part of the amount is neither a payment nor none.
        setting("allowPartialAuth", "false"),
        setting("duplicateWindow", DUPLICATE_WINDOW),
    );
    (before, after)
}

/// A text of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
