//! Braintree's GraphQL API: the card becomes a single-use payment method, which a transaction charges.
//!
//! A single-use payment method keeps the security code, authorises nothing and is consumed by the charge.
//! There is no idempotency key (`clientMutationId` only comes back), so a charge is asked for once. One
//! without an answer is searched for by its order id: that a second one is refused, for the payment method
//! is consumed, would not tell what became of the first. Sources:
//! <https://developer.paypal.com/braintree/graphql/guides/making_api_calls>,
//! <https://developer.paypal.com/braintree/graphql/guides/transactions>,
//! <https://developer.paypal.com/braintree/graphql/guides/search>,
//! <https://developer.paypal.com/braintree/docs/reference/general/processor-responses/authorization-responses>,
//! <https://developer.paypal.com/braintree/articles/control-panel/transactions/duplicate-checking>.

mod answer;
mod operations;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use self::answer::{charged, found, tokenised};
use super::{
    Abilities, CardView, Charge, Connection, EndpointError, Mode, Operation, Outcome, Processor,
    Promises, Purpose, Secret, Submitted, Token,
    api::{Api, age, not_looked_up},
    card::Piece,
    client::{Heading, JSON},
    exchange::ExchangeError,
    response::Response,
};
use crate::{
    audit_log::Recorded,
    proto::currency::{currency_exponent, decimal},
};

/// The date of the API whose fields are sent and whose answers are understood here.
const VERSION: &str = "2019-01-01";
/// How long a charge may be on its way: our own time-outs, and the 60 s that Braintree gives a processor.
const ON_ITS_WAY: Duration = Duration::from_secs(10 * 60);
/// How far a search is taken to lag behind; Braintree does not say.
const SEARCH_LAG: Duration = Duration::from_secs(60 * 60);

const TOKENISE: &str = "mutation Tokenise($input: TokenizeCreditCardInput!) { \
    tokenizeCreditCard(input: $input) { paymentMethod { id usage } } }";
const CHARGE: &str = "mutation Charge($input: ChargeCreditCardInput!) { \
    chargeCreditCard(input: $input) { transaction { ...Told } } }";
const AUTHORISE: &str = "mutation Authorise($input: AuthorizeCreditCardInput!) { \
    authorizeCreditCard(input: $input) { transaction { ...Told } } }";
const FIND: &str = "query Find($input: TransactionSearchInput!) { search { \
    transactions(input: $input, first: 10) { edges { node { ...Told } } } } }";
/// What is asked of a transaction: nothing of the card among it.
const TOLD: &str = " fragment Told on Transaction { id orderId status amount { value currencyCode } \
    statusHistory { status \
    ... on ProcessorDeclinedEvent { processorResponse { legacyCode } } \
    ... on FailedEvent { processorResponse { legacyCode } } \
    ... on GatewayRejectedEvent { gatewayRejectionReason } } }";

/// What the adapter needs to know.
pub struct BraintreeSettings {
    /// How it is reached; [`Braintree::site`] unless told otherwise.
    pub connection: Connection,
    /// The API key's public half. It is no secret.
    pub public_key: String,
    /// Its private half.
    pub key: Secret,
    /// Which merchant account is charged for, by currency (ISO 4217, upper case): at Braintree a charge
    /// has its account's currency, whatever was meant.
    pub merchant_accounts: BTreeMap<String, String>,
}

/// The adapter.
pub struct Braintree {
    api: Api,
    authorization: Secret,
    merchant_accounts: BTreeMap<String, String>,
    mode: Mode,
}

impl Braintree {
    /// Where the API is.
    #[must_use]
    pub const fn site(mode: Mode) -> &'static str {
        match mode {
            Mode::Test => "https://payments.sandbox.braintree-api.com/graphql",
            Mode::Live => "https://payments.braintree-api.com/graphql",
        }
    }

    /// # Errors
    /// [`EndpointError`], which says what to change.
    pub fn new(settings: BraintreeSettings) -> Result<Self, EndpointError> {
        Ok(Self {
            api: Api::new(&settings.connection)?,
            authorization: settings.key.basic(&settings.public_key),
            merchant_accounts: settings.merchant_accounts,
            mode: settings.connection.mode,
        })
    }

    fn fields(&self) -> [(&'static str, &str); 2] {
        [
            ("Authorization", self.authorization.expose()),
            ("Braintree-Version", VERSION),
        ]
    }

    /// What is charged; what is said where it cannot be.
    fn transaction(&self, charge: &Charge) -> Result<Value, Outcome> {
        let unpayable = |why: &str| Outcome::Failed {
            reason: format!("nothing was sent: {why} {}", charge.currency),
            retryable: false,
        };
        let account = self
            .merchant_accounts
            .get(&charge.currency)
            .ok_or_else(|| unpayable("processor.merchant_accounts names no account for"))?;
        if currency_exponent(&charge.currency).is_none() {
            return Err(unpayable("it is not known how to write an amount of"));
        }
        Ok(json!({
            "amount": decimal(charge.amount_minor, &charge.currency),
            "merchantAccountId": account,
            "orderId": charge.attempt.to_string(),
            "paymentInitiator": "MOTO",
        }))
    }

    async fn ask(&self, document: &str, input: Value) -> Result<Response, ExchangeError> {
        let told = if document.contains("...Told") {
            TOLD
        } else {
            ""
        };
        let body = json!({ "query": format!("{document}{told}"), "variables": { "input": input } });
        let fields = self.fields();
        let heading = Heading {
            media: JSON,
            fields: &fields,
        };
        self.api.post("", heading, body.to_string()).await
    }
}

impl Processor for Braintree {
    fn promises(&self) -> Promises {
        Promises {
            name: "braintree",
            sandbox: self.mode == Mode::Test,
            test_cards_only: self.mode == Mode::Test,
            tokenises: true,
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: true,
            // The adapter itself keeps it, counted from the attempt: see `look_up`.
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
        if let Err(outcome) = self.transaction(charge) {
            return Submitted::Ended(outcome);
        }
        let mut opening = json!({ "query": TOKENISE }).to_string();
        opening.pop();
        // Validated at once, so that a field that was keyed wrong is heard of while no money can move.
        opening.push_str(
            ",\"variables\":{\"input\":{\"options\":{\"validate\":true},\"creditCard\":{\"number\":\"",
        );
        let mut body = vec![
            Piece::Text(&opening),
            Piece::Pan,
            Piece::Text("\",\"expirationMonth\":\""),
            Piece::ExpiryMonth,
            Piece::Text("\",\"expirationYear\":\"20"),
            Piece::ExpiryYear,
        ];
        if card.has_security_code() {
            body.extend([Piece::Text("\",\"cvv\":\""), Piece::SecurityCode]);
        }
        body.push(Piece::Text("\"}}}}"));
        let fields = self.fields();
        let heading = Heading {
            media: JSON,
            fields: &fields,
        };
        match self.api.post_card(recorded, card, "", heading, &body).await {
            Ok(response) => tokenised(&response),
            Err(error) => Submitted::Ended(Outcome::Failed {
                reason: format!("nothing was charged: {error}"),
                retryable: true,
            }),
        }
    }

    async fn charge(&self, charge: &Charge, token: &Token) -> Outcome {
        let transaction = match self.transaction(charge) {
            Ok(transaction) => transaction,
            Err(outcome) => return outcome,
        };
        let input = json!({ "paymentMethodId": token.as_str(), "transaction": transaction });
        let document = match charge.purpose {
            Purpose::Charge => CHARGE,
            Purpose::Authorise => AUTHORISE,
        };
        match self.ask(document, input).await {
            Ok(response) => charged(&response, charge),
            Err(error) => error.into(),
        }
    }

    async fn look_up(&self, charge: &Charge, _token: Option<&Token>) -> Outcome {
        let input = json!({ "orderId": { "is": charge.attempt.to_string() } });
        match self.ask(FIND, input).await {
            Ok(response) => match found(&response, charge) {
                Some(outcome) => outcome,
                None if age(charge) < ON_ITS_WAY + SEARCH_LAG => {
                    not_looked_up("the search does not have it, and may lag behind")
                }
                None => Outcome::Failed {
                    reason: "the processor has no such charge: nothing was done".to_owned(),
                    retryable: true,
                },
            },
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

#[cfg(test)]
mod tests;
