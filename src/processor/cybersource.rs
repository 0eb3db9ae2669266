//! CyberSource REST: one request authorises and captures, signed with a shared secret.
//!
//! The signature covers a digest of the body, and the body holds the card: [`Api::post_signed_card`] hashes it
//! where it stands. The answer's `status` tells what became of it. Sources:
//! <https://developer.cybersource.com/api-reference-assets/index.html#payments>,
//! <https://developer.cybersource.com/api/reference/response-codes.html>,
//! <https://developer.cybersource.com/docs/cybs/en-us/txn-search/developer/all/rest/txn-search/txn-search-intro.html>,
//! <https://developer.cybersource.com/docs/cybs/en-us/currency-codes/reference/all/na/currency-codes/currency-codes.html>.
//!
//! Its timeout reversal (`POST /pts/v2/reversals` with our `transactionId`) is not used: it exists for one
//! platform only (Visa Platform Connect), and not for what was captured.

mod answer;
mod operations;
mod signature;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{
    Abilities, CardView, Charge, Connection, EndpointError, Mode, Operation, Outcome, Processor,
    Promises, Purpose, Secret, Submitted, Token,
    api::{Api, age, not_looked_up, short_reference},
    card::{Composed, Piece},
    client::{Fields, Heading, JSON, lent},
    digest::BodyDigest,
    exchange::ExchangeError,
    response::Response,
};
use crate::{
    audit_log::Recorded,
    proto::currency::{currency_exponent, decimal},
};
use answer::{Found, understand};
use signature::Signer;

const PAYMENTS: &str = "/pts/v2/payments";
const SEARCHES: &str = "/tss/v2/searches";
/// After how long an empty search counts; CyberSource does not say how far it lags behind.
const SEARCH_LAG: Duration = Duration::from_secs(70 * 60);

/// What the adapter needs to know.
pub struct CyberSourceSettings {
    /// How it is reached; [`CyberSource::site`] unless told otherwise.
    pub connection: Connection,
    /// The shared secret, in Base64.
    pub key: Secret,
    /// The secret's name (`keyid`).
    pub key_id: String,
    /// The merchant that is charged for, set up for telephone orders.
    pub merchant_id: String,
    /// What the cardholder's statement says, where that is not the account's own.
    pub descriptor: Option<String>,
}

/// The adapter.
pub struct CyberSource {
    api: Api,
    signer: Signer,
    descriptor: Option<String>,
    mode: Mode,
}

/// Why there is no adapter.
#[derive(Debug, thiserror::Error)]
pub enum CyberSourceError {
    /// The shared secret is none.
    #[error(
        "key_file: found no Base64; expected the shared secret of a REST key as CyberSource shows it"
    )]
    Key,
    /// It cannot be reached as configured.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl CyberSource {
    /// Where the API is.
    #[must_use]
    pub const fn site(mode: Mode) -> &'static str {
        match mode {
            Mode::Test => "https://apitest.cybersource.com",
            Mode::Live => "https://api.cybersource.com",
        }
    }

    /// # Errors
    /// [`CyberSourceError`], which says what to change.
    pub fn new(settings: CyberSourceSettings) -> Result<Self, CyberSourceError> {
        let connection = &settings.connection;
        let signer = Signer::new(
            settings.key_id,
            &settings.key,
            settings.merchant_id,
            &connection.site,
        );
        Ok(Self {
            api: Api::new(connection)?,
            signer: signer.ok_or(CyberSourceError::Key)?,
            descriptor: settings.descriptor,
            mode: connection.mode,
        })
    }

    /// The request's JSON up to the card. Nothing here is secret.
    fn opening(&self, charge: &Charge, amount: &str) -> String {
        let reference = short_reference(charge);
        let mut payment = json!({
            "clientReferenceInformation": {
                "code": reference,
                "comments": charge.reference,
                "transactionId": reference,
            },
            "processingInformation": {
                "capture": charge.purpose == Purpose::Charge,
                "commerceIndicator": "moto",
                // No address is sent that could be verified.
                "authorizationOptions": { "ignoreAvsResult": true },
            },
            "orderInformation": {
                "amountDetails": { "totalAmount": amount, "currency": charge.currency },
            },
        });
        if let Some(descriptor) = &self.descriptor {
            payment["merchantInformation"] =
                json!({ "merchantDescriptor": { "name": descriptor } });
        }
        let mut text = payment.to_string();
        text.pop();
        text.push_str(",\"paymentInformation\":{\"card\":{\"number\":\"");
        text
    }

    async fn post(&self, path: &str, body: String) -> Result<Response, ExchangeError> {
        let digest = BodyDigest::of(body.as_bytes());
        let fields = self.signer.sign(path, &digest, Timestamp::now());
        let heading = Heading {
            media: JSON,
            fields: &lent(&fields),
        };
        self.api.post(path, heading, body).await
    }

    /// What CyberSource has under a reference, as far as its index has come; else why that is not known.
    async fn search(&self, reference: &str) -> Result<Found, String> {
        let search = json!({
            "save": false,
            "name": "tonewall",
            "timezone": "GMT",
            "query": format!("clientReferenceInformation.code:{reference}"),
            "offset": 0,
            "limit": 10,
            "sort": "submitTimeUtc:desc",
        });
        let response = self.post(SEARCHES, search.to_string()).await;
        let response = response.map_err(|error| error.to_string())?;
        match (response.status, serde_json::from_slice(&response.body)) {
            (200 | 201, Ok(found)) => Ok(found),
            (401, _) => Err(answer::why_not_signed_in(&response)),
            (status, _) => Err(format!("the search was answered HTTP {status}")),
        }
    }

    async fn find(&self, charge: &Charge) -> Outcome {
        let reference = short_reference(charge);
        let found = match self.search(&reference).await {
            Ok(found) => found,
            Err(why) => return not_looked_up(why),
        };
        match found.of(&reference).as_slice() {
            [] if !found.is_empty() => not_looked_up("the search found something else"),
            [] if age(charge) < SEARCH_LAG => {
                not_looked_up("the search does not have it, and may lag behind")
            }
            [] => Outcome::Failed {
                reason: "the processor has no such charge: nothing was done".to_owned(),
                retryable: true,
            },
            [one] => one.outcome(charge),
            _ => not_looked_up("there is more than one transaction of this reference"),
        }
    }
}

impl Processor for CyberSource {
    fn promises(&self) -> Promises {
        Promises {
            name: "cybersource",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: false,
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: true,
            // The adapter itself keeps it, counted from the attempt: see `find`.
            consistency_delay: Duration::ZERO,
            // Only on one of its platforms, and only of what was not captured.
            reversal_by_reference: false,
            abilities: Abilities {
                authorise: true,
                settle_part: true,
                // A void takes back the capture and leaves the authorisation.
                void_charge: false,
                refund: true,
                refund_part: true,
            },
        }
    }

    async fn warm(&self) {
        self.api.warm().await;
    }

    async fn submit(&self, recorded: Recorded, card: CardView<'_>, charge: &Charge) -> Submitted {
        let Some(amount) = amount(charge) else {
            return Submitted::Ended(Outcome::Failed {
                reason: format!(
                    "nothing was sent: {} is no currency that can be charged",
                    charge.currency
                ),
                retryable: false,
            });
        };
        let opening = self.opening(charge, &amount);
        let mut body = vec![
            Piece::Text(&opening),
            Piece::Pan,
            Piece::Text("\",\"expirationMonth\":\""),
            Piece::ExpiryMonth,
            Piece::Text("\",\"expirationYear\":\"20"),
            Piece::ExpiryYear,
        ];
        if card.has_security_code() {
            body.extend([Piece::Text("\",\"securityCode\":\""), Piece::SecurityCode]);
        }
        body.push(Piece::Text("\"}}}"));
        // Called once the connection stands: the date is that of the sending.
        let sign = |body: &Composed<'_>| -> Fields {
            self.signer.sign(PAYMENTS, &body.digest(), Timestamp::now())
        };
        let sent = self
            .api
            .post_signed_card(recorded, card, PAYMENTS, sign, &body);
        Submitted::Ended(match sent.await {
            Ok(response) => understand(&response, charge),
            Err(error) => error.into(),
        })
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        self.find(charge).await
    }

    async fn operate(&self, operation: &Operation) -> Outcome {
        self.request_operation(operation).await
    }

    async fn look_up_operation(&self, operation: &Operation) -> Outcome {
        self.find_operation(operation).await
    }
}

/// CyberSource counts in major units with the decimals of ISO 4217.
fn amount(charge: &Charge) -> Option<String> {
    currency_exponent(&charge.currency)?;
    Some(decimal(charge.amount_minor, &charge.currency))
}
