//! Errors as `application/problem+json` (RFC 9457): what was found, what was expected, what to do.

use super::{digits::redact, schema};
use crate::{
    audit_log::AuditError,
    gateway::payments::PaymentError,
    journal::{JournalError, NotBegun},
    proto::{field::Field, id::PaymentId, payment::TooMany},
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

macro_rules! slugs {
    ($($(#[$meta:meta])* $variant:ident = $slug:literal, $status:ident, $title:literal;)*) => {
        /// Every kind of refusal. The slugs are stable: clients may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Slug {
            $($(#[$meta])* $variant,)*
        }

        impl Slug {
            /// All of them, for the document.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The URI in `type`.
            #[must_use]
            pub const fn uri(self) -> &'static str {
                match self { $(Self::$variant => concat!("urn:tonewall:problem:", $slug),)* }
            }

            /// The HTTP status that it comes with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

slugs! {
    /// The body is not JSON.
    MalformedJson = "malformed-json", BAD_REQUEST, "The body is not JSON";
    /// The query cannot be read.
    MalformedQuery = "malformed-query", BAD_REQUEST, "The query cannot be read";
    /// The request broke off.
    BrokenOff = "broken-off", BAD_REQUEST, "The request broke off";
    /// No `Idempotency-Key`, or an unusable one.
    IdempotencyKey = "idempotency-key", BAD_REQUEST, "An Idempotency-Key is needed";
    /// No credentials, or unknown ones.
    NotSignedIn = "not-signed-in", UNAUTHORIZED, "Not signed in";
    /// Not signed by the processor.
    NotTheProcessor = "not-the-processor", UNAUTHORIZED, "Not signed by the processor";
    /// The link into the panel was used, has expired or never was.
    LinkSpent = "link-spent", UNAUTHORIZED, "This link no longer works";
    /// The role may not do this.
    RoleRefused = "role-refused", FORBIDDEN, "This key may not do that";
    /// A request with the panel's cookie that the panel did not make.
    CrossSite = "cross-site", FORBIDDEN, "Not sent by the panel";
    /// No such address.
    NotFound = "not-found", NOT_FOUND, "Nothing here";
    /// No such call.
    UnknownCall = "unknown-call", NOT_FOUND, "No such call";
    /// No such payment.
    UnknownPayment = "unknown-payment", NOT_FOUND, "No such payment";
    /// No such link.
    UnknownLink = "unknown-link", NOT_FOUND, "No such link";
    /// No such trunk.
    UnknownTrunk = "unknown-trunk", NOT_FOUND, "No such trunk";
    /// The address has no such method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Another method is needed";
    /// The request came too slowly.
    TooSlow = "too-slow", REQUEST_TIMEOUT, "The request came too slowly";
    /// The call has a payment already.
    CallHasPayment = "call-has-payment", CONFLICT, "The call already has a payment";
    /// The call cannot be armed.
    CannotArm = "cannot-arm", CONFLICT, "The call cannot be protected";
    /// The payment's state does not allow it.
    WrongState = "wrong-state", CONFLICT, "Not in this state";
    /// The charge does not allow it.
    NotAllowed = "not-allowed", CONFLICT, "The charge does not allow it";
    /// The processor cannot do it.
    Unable = "unable", UNPROCESSABLE_ENTITY, "This processor cannot do it";
    /// More than this key may move.
    OverLimit = "over-limit", FORBIDDEN, "More than this key may move";
    /// Fields are missing.
    FieldsMissing = "fields-missing", CONFLICT, "Fields are missing";
    /// Payments need a confirmed link to their call.
    LinkUnconfirmed = "link-unconfirmed", CONFLICT, "The call is not confirmed to be yours";
    /// The link is over.
    LinkEnded = "link-ended", CONFLICT, "This link has ended";
    /// The link's state does not allow it.
    LinkState = "link-state", CONFLICT, "Not with the link as it stands";
    /// The same request is being carried out.
    InProgress = "idempotency-in-progress", CONFLICT, "The same request is being carried out";
    /// The body is too large.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is not declared as JSON.
    MediaType = "media-type", UNSUPPORTED_MEDIA_TYPE, "The body has to be JSON";
    /// A member of the body is missing, of the wrong type or out of range.
    InvalidField = "invalid-field", UNPROCESSABLE_ENTITY, "A member of the body cannot be used";
    /// A member of the body could be a card number.
    CardDigits = "card-digits", UNPROCESSABLE_ENTITY, "That could be a card number";
    /// The named leg is the agent's.
    WrongLeg = "wrong-leg", UNPROCESSABLE_ENTITY, "The wrong leg";
    /// Which leg is the caller's is not known, and none was named.
    CallerUnknown = "caller-unknown", UNPROCESSABLE_ENTITY, "The caller's leg has to be named";
    /// Not the code that was read out.
    WrongCode = "wrong-code", UNPROCESSABLE_ENTITY, "Not the code that was read out";
    /// The key was used with another request.
    IdempotencyConflict = "idempotency-conflict", UNPROCESSABLE_ENTITY,
        "The Idempotency-Key was used with another request";
    /// Too many failed attempts from this source.
    TooManyAttempts = "too-many-attempts", TOO_MANY_REQUESTS, "Too many failed attempts";
    /// As many charges were tried as may be.
    TooManyCharges = "too-many-charges", TOO_MANY_REQUESTS, "As many charges were tried as may be";
    /// The gateway broke.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The gateway failed";
    /// The node is being drained.
    Draining = "draining", SERVICE_UNAVAILABLE, "The gateway is draining";
    /// No durable record, so nothing is done.
    NotRecordable = "not-recordable", SERVICE_UNAVAILABLE, "The records cannot be kept";
    /// Too much at once.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too much at once";
    /// Not ready to take calls.
    NotReady = "not-ready", SERVICE_UNAVAILABLE, "Not ready";
}

/// A refusal: becomes a [`schema::Problem`] for the client.
#[derive(Debug, Clone)]
pub struct Problem {
    slug: Slug,
    detail: String,
    member: Option<&'static str>,
    fields: Vec<Field>,
    payment: Option<Box<PaymentId>>,
    retry_after_seconds: Option<u64>,
}

impl Problem {
    /// Builds one; whatever could be a card number is taken out of `detail`.
    pub(super) fn new(slug: Slug, detail: impl AsRef<str>) -> Self {
        Self {
            slug,
            detail: redact(detail.as_ref()),
            member: None,
            fields: Vec::new(),
            payment: None,
            retry_after_seconds: None,
        }
    }

    pub(super) const fn member(mut self, member: &'static str) -> Self {
        self.member = Some(member);
        self
    }

    pub(super) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Whatever broke inside is logged, not told.
    pub(super) fn internal() -> Self {
        Self::new(
            Slug::Internal,
            "the gateway failed while it handled this request; its log tells more. GET the payment before you try again",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_string(&schema::Problem {
            kind: self.slug.uri(),
            title: self.slug.title(),
            status: self.slug.status().as_u16(),
            detail: self.detail,
            member: self.member,
            fields: self.fields,
            payment: self.payment.map(|id| id.to_string()),
        })
        .unwrap_or_default();
        let mut response = (self.slug.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.slug == Slug::NotSignedIn {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tonewall\""),
            );
        }
        response
    }
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        let slug = match &error {
            PaymentError::UnknownCall(_) => Slug::UnknownCall,
            PaymentError::UnknownPayment(_) => Slug::UnknownPayment,
            PaymentError::WrongLeg(_) => Slug::WrongLeg,
            PaymentError::CallerUnknown => Slug::CallerUnknown,
            PaymentError::CallHasPayment(_) => Slug::CallHasPayment,
            PaymentError::CannotArm(_) => Slug::CannotArm,
            PaymentError::WrongState { .. } => Slug::WrongState,
            PaymentError::FieldsMissing(_) => Slug::FieldsMissing,
            PaymentError::NotAllowed(NotBegun::OverLimit { .. }) => Slug::OverLimit,
            PaymentError::NotAllowed(_) => Slug::NotAllowed,
            PaymentError::TooMany(_) => Slug::TooManyCharges,
            PaymentError::Unable(_) => Slug::Unable,
            PaymentError::Invalid { .. } => Slug::InvalidField,
            PaymentError::Draining => Slug::Draining,
            PaymentError::NotRecordable(_) => Slug::NotRecordable,
            PaymentError::Overloaded(_) => Slug::Overloaded,
        };
        let mut problem = Self::new(slug, error.to_string());
        match error {
            PaymentError::CallHasPayment(payment) => problem.payment = Some(Box::new(payment)),
            PaymentError::FieldsMissing(fields) => {
                let names: Vec<_> = fields.iter().map(|field| name_of(*field)).collect();
                problem.detail = format!(
                    "still missing: {}; capture each, then complete",
                    names.join(", ")
                );
                problem.fields = fields;
            }
            // An id is no use to somebody who has lost it.
            PaymentError::UnknownPayment(_) => {
                problem.detail = "no such payment here; GET /v1/payments lists them".to_owned();
            }
            PaymentError::Invalid { field, .. } => problem.member = Some(field),
            PaymentError::TooMany(TooMany::ByKey { wait, .. }) => {
                problem.retry_after_seconds = Some(wait.as_secs() + 1);
            }
            PaymentError::Overloaded(_) => problem.retry_after_seconds = Some(1),
            PaymentError::UnknownCall(_)
            | PaymentError::WrongLeg(_)
            | PaymentError::CallerUnknown
            | PaymentError::CannotArm(_)
            | PaymentError::WrongState { .. }
            | PaymentError::NotAllowed(_)
            | PaymentError::TooMany(TooMany::OnCall(_))
            | PaymentError::Unable(_)
            | PaymentError::Draining
            | PaymentError::NotRecordable(_) => {}
        }
        problem
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "the journal did not answer a request");
        Self::new(
            Slug::NotRecordable,
            "the gateway's journal cannot be used now, so nothing was done; try again, and tell the operator if it lasts",
        )
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        tracing::error!(%error, "the audit log did not take a record");
        Self::new(
            Slug::NotRecordable,
            "the gateway's audit log cannot be written now, so nothing was done; tell the operator",
        )
    }
}

/// The API's word for a field.
pub(super) const fn name_of(field: Field) -> &'static str {
    match field {
        Field::PaymentCardNumber => "payment-card-number",
        Field::ExpirationDate => "expiration-date",
        Field::SecurityCode => "security-code",
        Field::PostalCode => "postal-code",
        Field::BankRoutingNumber => "bank-routing-number",
        Field::BankAccountNumber => "bank-account-number",
    }
}

/// Every field.
pub(super) const FIELDS: [Field; 6] = [
    Field::PaymentCardNumber,
    Field::ExpirationDate,
    Field::SecurityCode,
    Field::PostalCode,
    Field::BankRoutingNumber,
    Field::BankAccountNumber,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_never_carries_twelve_digits_that_somebody_sent() {
        let problem = Problem::from(PaymentError::UnknownCall("4242 4242 4242 4242".into()));
        assert!(!problem.detail.contains("4242"), "{}", problem.detail);
    }

    #[test]
    fn every_kind_of_refusal_has_its_own_uri() {
        let uris: std::collections::HashSet<_> = Slug::ALL.iter().map(|s| s.uri()).collect();
        assert_eq!(uris.len(), Slug::ALL.len());
    }
}
