//! `complete`: a charge is tried, if the limits let it be.

use std::time::Duration;

use super::{
    PaymentState, Payments, Principal,
    actor::Command,
    types::{PaymentError, PaymentView},
};
use crate::proto::{
    audit::Actor,
    id::{AttemptId, KeyId, PaymentId},
};

/// How long `complete` waits for the end of the attempt.
const COMPLETE_PATIENCE: Duration = Duration::from_secs(30);

impl Payments {
    /// Charges. Answers once the attempt has ended or after 30 s with the state `submitting`.
    pub async fn complete(
        &self,
        by: &Principal,
        id: &PaymentId,
    ) -> Result<PaymentView, PaymentError> {
        let shared = &self.shared;
        let now = (shared.clock)();
        let attempt = AttemptId::new(
            by.tenant.clone(),
            shared.settings.node.clone(),
            shared.serial(now),
        );
        let watched = shared.book().live.get(id).map(|live| live.view.clone());
        let counted = match &watched {
            Some(view) if *id.tenant() == by.tenant => {
                let call = view.borrow().call.clone();
                let key = key_of(by);
                shared.velocity().count(&call, key, now.instant)?;
                Some((call, key))
            }
            _ => None,
        };
        let view = match self.command(by, id, Command::Complete(attempt)).await {
            Ok(view) => view,
            Err(error) => {
                if let Some((call, key)) = counted {
                    shared.velocity().take_back(&call, key);
                }
                return Err(error);
            }
        };
        let (Some(mut watched), PaymentState::Submitting) = (watched, view.state) else {
            return Ok(view);
        };
        // Both errors mean that the last view is the answer: time is up, or the task has ended.
        let _ = tokio::time::timeout(
            COMPLETE_PATIENCE,
            watched.wait_for(|view| view.state != PaymentState::Submitting),
        )
        .await;
        let last = watched.borrow().clone();
        Ok(last)
    }
}

/// Whose tries are counted together.
const fn key_of(by: &Principal) -> Option<&KeyId> {
    match &by.actor {
        Actor::Key { id } | Actor::Panel { id } => Some(id),
        Actor::Gateway | Actor::Peer { .. } | Actor::Console { .. } | Actor::Anonymous => None,
    }
}
