//! What the OpenAPI document says of the bodies. The values themselves are serialised from the
//! types of their own modules; a test holds the two side by side.

use serde::Serialize;
use utoipa::ToSchema;

use super::Timeouts;

/// What the caller is asked to key.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Field {
    /// The card number.
    PaymentCardNumber,
    /// Month and year, MMYY.
    ExpirationDate,
    /// CVV2, CVC2 or CID.
    SecurityCode,
    /// Digits of a postal code.
    PostalCode,
    /// ABA routing number.
    BankRoutingNumber,
    /// Account number at a bank.
    BankAccountNumber,
}

/// A card's brand.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Brand {
    Visa,
    Mastercard,
    Amex,
    Discover,
    Jcb,
    Diners,
    Unionpay,
    Maestro,
}

/// Where a payment stands.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum PaymentState {
    /// The call is being protected.
    Arming,
    /// Protected; no field is open.
    Open,
    /// A field is open: the caller may key.
    Capturing,
    /// The processor has been asked.
    Submitting,
    /// The money is authorised.
    Approved,
    /// Declined, with a field or a card to ask for again; still protected.
    Declined,
    /// Nothing was charged.
    Failed,
    /// It may have been charged: a look-up or a person resolves it.
    Unknown,
    /// Ended without a charge.
    Cancelled,
}

/// Where a field stands.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum FieldStatus {
    /// Not asked for yet.
    Missing,
    /// Open now.
    Capturing,
    /// Complete and checked.
    Complete,
    /// The last try ended without a value: see `problem`.
    Problem,
}

/// Why what was keyed cannot be right.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Rejection {
    /// Too few digits.
    TooShort,
    /// The check digit does not fit.
    CheckDigit,
    /// No brand has such first digits.
    UnknownBrand,
    /// A brand that the merchant does not take.
    BrandNotAccepted,
    /// No such month or year.
    InvalidDate,
    /// The card has expired.
    Expired,
    /// Not as long as this brand's codes are.
    CodeLength,
}

/// A field as the agent sees it.
#[derive(ToSchema)]
pub struct FieldView {
    /// Where it stands.
    pub status: FieldStatus,
    /// Whether `complete` needs it.
    pub required: bool,
    /// Digits keyed so far.
    pub count: u8,
    /// The brand, once it is known.
    pub brand: Option<Brand>,
    /// The last four digits of a card or account number.
    #[schema(pattern = "^[0-9]{4}$")]
    pub last4: Option<String>,
    /// What to show.
    #[schema(example = "•••• •••• •••• 4242")]
    pub masked: Option<String>,
    /// How many more times the caller may key it.
    pub attempts_left: Option<u8>,
    /// Why what was keyed cannot be right.
    pub rejection: Option<Rejection>,
    /// One sentence for the agent: what went wrong and what to do.
    pub problem: Option<String>,
}

/// The trunks that shadow mode listens to.
#[derive(ToSchema)]
pub struct TrunkList {
    /// By name.
    pub trunks: Vec<crate::shadow::TrunkLine>,
}

/// What to do after a decline.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum AdviceName {
    /// The same card may work now or later.
    TryAgain,
    /// Ask for another card.
    OtherCard,
    /// Ask for the field in `field` again.
    ReEnter,
    /// The customer has to call the issuer.
    CallIssuer,
    /// Do not try this card again.
    DoNotRetry,
}

/// Advice after a decline.
#[derive(ToSchema)]
pub struct Advice {
    /// What to do.
    pub advice: AdviceName,
    /// Which field to ask for again.
    pub field: Option<Field>,
}

/// How an attempt ended.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// The money is authorised.
    Approved,
    /// The processor or issuer said no; no charge stands.
    Declined,
    /// Nothing was charged.
    Failed,
    /// The processor has it and has not decided; it may stand.
    Pending,
    /// It may stand.
    Unknown,
}

/// How the last attempt ended.
#[derive(ToSchema)]
pub struct Outcome {
    /// How.
    pub kind: OutcomeKind,
    /// Of an approval, or what is pending: the processor's own reference.
    pub processor_reference: Option<String>,
    /// Of an approval, a decline or what is pending: the processor's code, for support.
    pub code: Option<String>,
    /// Of a decline: what to do next.
    pub advice: Option<Advice>,
    /// Of a failure or an unknown end: why.
    pub reason: Option<String>,
    /// Of a failure: whether trying again may help.
    pub retryable: Option<bool>,
}

/// The fields of a payment, by name.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Fields {
    pub payment_card_number: Option<FieldView>,
    pub expiration_date: Option<FieldView>,
    pub security_code: Option<FieldView>,
    pub postal_code: Option<FieldView>,
    pub bank_routing_number: Option<FieldView>,
    pub bank_account_number: Option<FieldView>,
}

/// A payment as the agent sees it. No digit beyond the last four is in it.
#[derive(ToSchema)]
pub struct PaymentView {
    /// The payment's id.
    #[schema(example = "pay_demo_node-1_01JD0000000000000000000000")]
    pub id: String,
    /// The call it is taken on.
    pub call: String,
    /// Where it stands.
    pub state: PaymentState,
    /// Minor units (cents).
    pub amount_minor: u64,
    /// ISO 4217 code.
    #[schema(example = "EUR")]
    pub currency: String,
    /// Whether the money is taken or set aside.
    pub purpose: Purpose,
    /// Where the money is, of what was approved.
    pub balance: Option<Balance>,
    /// What was done with the charge since, oldest first.
    pub operations: Vec<OperationView>,
    /// The merchant's own reference.
    pub reference: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether the caller's keys are kept from the agent now.
    pub armed: bool,
    /// Whether the agent does not hear the caller, because the line is too noisy to tell keys from
    /// it. Until the end of the payment; keys are taken all the same.
    pub caller_muted: bool,
    /// The field that is open.
    pub capturing: Option<Field>,
    /// The fields, by name.
    pub fields: Fields,
    /// How the last attempt ended.
    pub outcome: Option<Outcome>,
    /// One sentence for the agent: what to do next.
    pub advice: String,
    /// How often the processor was asked.
    pub attempts: u32,
    /// Whether no real money moves.
    pub sandbox: bool,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated: String,
}

/// What the card is used for.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Purpose {
    /// The money is taken.
    Charge,
    /// The money is set aside, to be settled or voided later.
    Authorise,
}

/// Where the money of a charge is, in minor units.
#[derive(ToSchema)]
pub struct Balance {
    /// A word for the whole.
    pub standing: Standing,
    /// Approved by the issuer.
    pub authorised_minor: u64,
    /// Taken, or to be taken without anybody's doing.
    pub settled_minor: u64,
    /// Given back.
    pub refunded_minor: u64,
    /// On its way back, or perhaps given back.
    pub refunding_minor: u64,
    /// The settlement or void that is not decided: nothing else can be done before.
    pub open: Option<OperationKind>,
}

/// A word for where the money is.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Standing {
    /// Set aside and not taken.
    Authorised,
    /// Taken.
    Settled,
    /// Part of it was given back.
    PartRefunded,
    /// All of it was given back.
    Refunded,
    /// All of it was undone.
    Voided,
}

/// What is done with a charge.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Takes what was set aside.
    Settle,
    /// Undoes all of it.
    Void,
    /// Gives money back.
    Refund,
}

/// A settlement, void or refund.
#[derive(ToSchema)]
pub struct OperationView {
    /// Its id: our reference at the processor.
    #[schema(example = "op_demo_node-1_01JD0000000000000000000000")]
    pub id: String,
    /// What.
    pub kind: OperationKind,
    /// Where it stands.
    pub state: OperationState,
    /// Minor units.
    pub amount_minor: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// Your own words.
    pub reason: Option<String>,
    /// How it ended, or why it is open; nothing while it is on its way.
    pub outcome: Option<Outcome>,
    /// When it began.
    #[schema(format = DateTime)]
    pub created: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated: String,
}

/// Where an operation stands.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum OperationState {
    /// It is on its way.
    Sending,
    /// It was done.
    Done,
    /// The processor will not do it.
    Refused,
    /// Nothing was done.
    Failed,
    /// The processor has it and will do it or not.
    Pending,
    /// It may have been done.
    Unknown,
}

/// What is to be done with a charge.
#[derive(ToSchema)]
pub struct NewOperation {
    /// Minor units: an integer, or a string of digits. All that there is where left out.
    #[schema(schema_with = amount, required = false)]
    pub amount: Option<u64>,
    /// Your own words, for the log and the messages. Twelve digits in a row are refused.
    #[schema(max_length = 200)]
    pub reason: Option<String>,
}

/// A list of payments.
#[derive(ToSchema)]
pub struct PaymentList {
    /// Newest first.
    pub payments: Vec<PaymentView>,
}

/// One thing that happened: the `data` of an event.
#[derive(ToSchema)]
pub struct PaymentEvent {
    /// Grows by one with each event.
    pub id: u64,
    /// What happened.
    #[schema(example = "payment.capture")]
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// On which call.
    pub call: String,
    /// The payment after it.
    pub payment: Option<PaymentView>,
}

/// What a desktop looks for its call by: exactly one of the first three, or none in a session that is an
/// agent's own.
#[derive(ToSchema)]
pub struct NewLink {
    /// The call: our id or the signalling's.
    #[schema(max_length = 200)]
    pub call: Option<String>,
    /// The agent's own address; without a host, at any host.
    #[schema(max_length = 200, example = "sip:4711@pbx.example")]
    pub agent: Option<String>,
    /// What another system calls the call, as signalling has told it.
    #[schema(max_length = 200)]
    pub reference: Option<String>,
    /// `code`: only by the code that is read out.
    pub confirm: Option<LinkConfirmation>,
}

/// What confirms a link.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum LinkConfirmation {
    /// That one call fits, where whoever asks may rely on that.
    Match,
    /// The code.
    Code,
}

/// A desktop's claim that a call is its own.
#[derive(ToSchema)]
pub struct Link {
    /// Its id.
    #[schema(example = "link_demo_node-1_01JD0000000000000000000000")]
    pub id: String,
    /// Where it stands.
    pub state: LinkState,
    /// The call, where it is found.
    pub call: Option<String>,
    /// How many calls fit, where it is several.
    pub candidates: Option<u64>,
    /// One sentence: what to do next.
    pub advice: String,
}

/// Where a link stands.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum LinkState {
    /// No answered call fits.
    Looking,
    /// More than one does; the code tells which.
    Several,
    /// One does, and the code is needed.
    Found,
    /// The code was read out.
    Reading,
    /// Payments can be taken on `call`.
    Confirmed,
    /// It is over.
    Ended,
}

/// The code that was heard.
#[derive(ToSchema)]
pub struct ReadCode {
    /// Four digits.
    #[schema(pattern = "^[0-9]{4}$")]
    pub code: String,
}

/// A call that is up.
#[derive(ToSchema)]
pub struct CallView {
    /// Our id.
    #[schema(example = "call_demo_node-1_01JD0000000000000000000000")]
    pub id: String,
    /// The signalling's id (SIP Call-ID).
    pub signalling_id: String,
    /// Tag of the caller's leg.
    pub caller_tag: Option<String>,
    /// The agent's own address, where signalling told it.
    pub agent: Option<String>,
    /// Tag of the agent's leg.
    pub agent_tag: Option<String>,
    /// Whether it is known which of the two tags is the caller's. Where it is not, the keys of both legs
    /// are masked, and a payment has to name the caller's tag as `leg`.
    pub sides_known: bool,
    /// When the first offer came.
    #[schema(format = DateTime)]
    pub started: String,
    /// Whether both ends have agreed on media.
    pub answered: bool,
    /// Why no payment can be taken on it, if so.
    pub refusal: Option<String>,
    /// Whether the caller's keys are kept from the agent now.
    pub armed: bool,
}

/// A list of calls.
#[derive(ToSchema)]
pub struct CallList {
    /// Newest first.
    pub calls: Vec<CallView>,
}

/// What is asked for. Twelve digits in a row are refused in `reference` and `description`.
#[derive(ToSchema)]
pub struct NewPayment {
    /// The call: our id or the signalling's. Either this or `link`.
    #[schema(max_length = 200)]
    pub call: Option<String>,
    /// A confirmed link to the call.
    #[schema(max_length = 200)]
    pub link: Option<String>,
    /// Minor units (1250 is 12.50 EUR): an integer, or a string of digits.
    #[schema(schema_with = amount)]
    pub amount: u64,
    /// ISO 4217 code, upper case.
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    pub currency: String,
    /// `charge` where left out.
    pub purpose: Option<Purpose>,
    /// Your own reference.
    #[schema(max_length = 200, example = "INV-1")]
    pub reference: String,
    /// What it is for.
    #[schema(max_length = 200)]
    pub description: Option<String>,
    /// The caller's tag: makes sure of it, and is needed where `sides_known` is false.
    #[schema(max_length = 200)]
    pub leg: Option<String>,
    /// Which fields `complete` needs; card number, expiry and security code where left out.
    pub fields: Option<Vec<Field>>,
}

/// A payment that waits for the agent's code: as [`NewPayment`], of the path's call.
#[derive(ToSchema)]
pub struct PreparedRequest {
    /// Minor units (1250 is 12.50 EUR): an integer, or a string of digits.
    #[schema(schema_with = amount)]
    pub amount: u64,
    /// ISO 4217 code, upper case.
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    pub currency: String,
    /// `charge` where left out.
    pub purpose: Option<Purpose>,
    /// Your own reference.
    #[schema(max_length = 200, example = "INV-1")]
    pub reference: String,
    /// What it is for.
    #[schema(max_length = 200)]
    pub description: Option<String>,
    /// The caller's tag: makes sure of it, and is needed where `sides_known` is false.
    #[schema(max_length = 200)]
    pub leg: Option<String>,
    /// Which fields `complete` needs; card number, expiry and security code where left out.
    pub fields: Option<Vec<Field>>,
}

/// What waits.
#[derive(ToSchema)]
pub struct Prepared {
    /// The call.
    pub call: String,
    /// Minor units (cents).
    pub amount_minor: u64,
    /// ISO 4217 code.
    #[schema(example = "EUR")]
    pub currency: String,
    /// The merchant's own reference.
    pub reference: String,
    /// What it is for.
    pub description: Option<String>,
    /// What the agent dials.
    #[schema(example = "*77#")]
    pub key_code: String,
    /// Until when it waits.
    #[schema(format = DateTime)]
    pub expires: String,
}

fn amount() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
    Schema::OneOf(
        OneOfBuilder::new()
            .item(
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(1))
                    .maximum(Some(99_999_999_999_i64)),
            )
            .item(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some("^[0-9]{1,20}$")),
            )
            .description(Some("Minor units: 1250 is 12.50 EUR"))
            .build(),
    )
}

/// Which field the caller is asked for.
#[derive(ToSchema)]
pub struct Capture {
    /// The field.
    pub field: Field,
}

/// What a key or a session may do.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub enum Role {
    /// Takes payments.
    Agent,
    /// Takes payments, settles, voids and refunds.
    Supervisor,
    /// A program that does so.
    Integration,
    /// Reads the compliance log.
    Auditor,
    /// Keys and configuration.
    Administrator,
}

/// What the processor can do besides charging at once.
#[derive(ToSchema)]
pub struct Abilities {
    /// Sets money aside, settles it later, and voids it until then.
    pub authorise: bool,
    /// Settles less than was set aside; what is left is given free.
    pub settle_part: bool,
    /// Voids a charge that settles itself.
    pub void_charge: bool,
    /// Gives all of it back.
    pub refund: bool,
    /// Gives part of it back, also several times.
    pub refund_part: bool,
}

/// Who this key or cookie is.
#[derive(Serialize, ToSchema)]
pub struct Session {
    /// Whose calls it sees.
    pub tenant: String,
    /// Which node answered.
    pub node: String,
    /// What it may do.
    #[schema(value_type = Role)]
    pub role: crate::journal::Role,
    /// What whoever made it called it.
    pub label: String,
    /// The agent whose session it is.
    #[schema(value_type = Option<String>)]
    pub agent: Option<crate::proto::party::AgentAddress>,
    /// Whether no real money moves here.
    pub sandbox: bool,
    /// What it may do with charges that stand.
    #[schema(value_type = Vec<OperationKind>)]
    pub operations: Vec<crate::proto::payment::OperationKind>,
    /// What the processor can do besides charging at once.
    #[schema(value_type = Abilities)]
    pub abilities: crate::processor::Abilities,
    /// When it runs out.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
    /// The gateway's version.
    pub version: &'static str,
    /// How long the caller may take.
    pub timeouts: Timeouts,
}

/// A refusal, as `application/problem+json` (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Stable URI of the kind of refusal: match on this.
    #[serde(rename = "type")]
    #[schema(example = "urn:tonewall:problem:unknown-call")]
    pub kind: &'static str,
    /// The kind in a few words.
    pub title: &'static str,
    /// The HTTP status again.
    pub status: u16,
    /// What was found, what was expected and what to do, in words for a person.
    pub detail: String,
    /// The member of the body that cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<&'static str>,
    /// The fields that are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<Field>>)]
    pub fields: Vec<crate::proto::field::Field>,
    /// The payment that is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
}

/// Liveness.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
}
