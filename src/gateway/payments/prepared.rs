//! Payments that wait for the agent to dial the code that starts them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{NewPayment, PaymentError, Payments, Principal, validate};
use crate::{
    media::{MediaCommand, MediaError},
    proto::{
        audit::Actor,
        call::{Dialled, KeyCode},
        id::CallId,
        payment::Purpose,
    },
};

/// How long a payment waits: an agent who has not dialled by then talks about something else.
const WAITS: Duration = Duration::from_secs(15 * 60);

/// What the code of keys may do.
#[derive(Debug, Clone)]
pub struct KeyCodeSettings {
    /// What the agent dials.
    pub code: KeyCode,
    /// Whether a PIN has to come with it.
    pub asks_pin: bool,
    /// The currency of an amount that is dialled with it; none where that starts nothing.
    pub currency: Option<String>,
}

impl KeyCodeSettings {
    /// What the agent dials for what is prepared, with the word PIN in the place of one.
    fn spelled(&self) -> String {
        self.code
            .spelled(if self.asks_pin { &["PIN"] } else { &[] })
    }
}

/// A payment that waits for the code.
pub(super) struct Prepared {
    by: Principal,
    new: NewPayment,
    until: Timestamp,
}

/// What is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PreparedView {
    pub call: CallId,
    pub amount_minor: u64,
    pub currency: String,
    pub reference: String,
    pub description: Option<String>,
    /// What the agent dials to start it.
    pub key_code: String,
    /// Until when.
    pub expires: Timestamp,
}

impl Payments {
    /// Has a payment wait on its call until the agent dials the code, in place of one that waits
    /// already. Nothing is armed or recorded before.
    pub fn prepare(&self, by: &Principal, new: NewPayment) -> Result<PreparedView, PaymentError> {
        validate::validate(&new)?;
        self.able(&new)?;
        let (call, _) = self.callable(by, &new)?;
        if !call.sides_known {
            // Nor is it known who is the agent, to whom alone the code is left.
            return Err(PaymentError::CallerUnknown);
        }
        let call = call.id;
        self.shared.book().refuse_second(&call)?;
        let wait = SignedDuration::try_from(WAITS).unwrap_or(SignedDuration::ZERO);
        let prepared = Prepared {
            by: by.clone(),
            until: (self.shared.clock)().utc + wait,
            new: NewPayment {
                call: call.to_string(),
                ..new
            },
        };
        let view = self.view(&call, &prepared);
        self.listen(&call, true).map_err(|error| match error {
            MediaError::Overloaded => PaymentError::Overloaded(error.to_string()),
            MediaError::UnknownCall => PaymentError::UnknownCall(call.to_string()),
        })?;
        self.shared.prepared().insert(call, prepared);
        Ok(view)
    }

    /// The payment that waits on a call.
    pub fn prepared(
        &self,
        by: &Principal,
        call: &str,
    ) -> Result<Option<PreparedView>, PaymentError> {
        let call = self.call_of(by, call)?;
        let now = (self.shared.clock)().utc;
        let prepared = self.shared.prepared();
        let waits = prepared.get(&call).filter(|one| now < one.until);
        Ok(waits.map(|one| self.view(&call, one)))
    }

    /// It waits no longer. Whether one did.
    pub fn unprepare(&self, by: &Principal, call: &str) -> Result<bool, PaymentError> {
        let call = self.call_of(by, call)?;
        let waited = self.shared.prepared().remove(&call).is_some();
        // An error says that the call is over.
        let _ = self.listen(&call, false);
        Ok(waited)
    }

    fn call_of(&self, by: &Principal, call: &str) -> Result<CallId, PaymentError> {
        let found = self.shared.calls.find(&by.tenant, call);
        let unknown = || PaymentError::UnknownCall(validate::echo(call));
        found.map(|call| call.id).ok_or_else(unknown)
    }

    fn view(&self, call: &CallId, prepared: &Prepared) -> PreparedView {
        let new = &prepared.new;
        PreparedView {
            call: call.clone(),
            amount_minor: new.amount_minor,
            currency: new.currency.clone(),
            reference: new.reference.clone(),
            description: new.description.clone(),
            key_code: self.shared.settings.key_code.spelled(),
            expires: prepared.until,
        }
    }

    /// Whether keys of the agent's that may be the code's are kept back. Where an amount can be dialled
    /// they always are.
    fn listen(&self, call: &CallId, listen: bool) -> Result<(), MediaError> {
        let always = self.shared.settings.key_code.currency.is_some();
        let command = MediaCommand::AwaitCode(listen || always);
        self.shared.media.send(call, command)
    }

    /// The agent has dialled: begins what was asked for, by the rules of the API.
    pub(super) fn handle_dialled(&self, call: &CallId, dialled: Dialled) {
        let name = match dialled {
            Dialled::Code | Dialled::Amount(_) => "call.key-code",
            Dialled::Refused(_) => "call.key-code-refused",
        };
        self.shared.hub.publish(name, call, None);
        let now = (self.shared.clock)().utc;
        let begins = match dialled {
            Dialled::Code => self
                .shared
                .prepared()
                .remove(call)
                .filter(|one| now < one.until),
            Dialled::Amount(amount_minor) => self.of_amount(call, amount_minor, now),
            Dialled::Refused(reason) => {
                tracing::warn!(%call, %reason, "the key code was dialled and starts nothing");
                return;
            }
        };
        let Some(prepared) = begins else {
            tracing::info!(%call, "the key code was dialled, and no payment waits for it");
            return;
        };
        let (service, call) = (self.clone(), call.clone());
        tokio::spawn(async move {
            let Prepared { by, new, until } = prepared;
            match service.create(&by, new.clone()).await {
                Ok(_) => {
                    let _ = service.listen(&call, false);
                }
                Err(error) => {
                    tracing::warn!(%call, %error, "the key code was dialled, and its payment cannot begin");
                    // It may be dialled again; what was prepared meanwhile stays.
                    let mut all = service.shared.prepared();
                    if dialled == Dialled::Code {
                        all.entry(call).or_insert(Prepared { by, new, until });
                    }
                }
            }
        });
    }

    fn of_amount(&self, call: &CallId, amount_minor: u64, now: Timestamp) -> Option<Prepared> {
        let currency = self.shared.settings.key_code.currency.clone()?;
        Some(Prepared {
            by: Principal {
                tenant: call.tenant().clone(),
                actor: Actor::Gateway,
                origin: "key code on the agent's leg".to_owned(),
            },
            new: NewPayment {
                call: call.to_string(),
                leg: None,
                amount_minor,
                currency,
                purpose: Purpose::Charge,
                reference: "dialled".to_owned(),
                description: None,
                fields: Vec::new(),
            },
            until: now,
        })
    }
}
