//! What the card plane holds, for whom and until when. Decides only: time comes in.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{
    Advice, Outcome,
    card::{CardView, RequestMemory},
};
use crate::proto::{
    card::{CapturedField, Expiry, Pan, SecurityCode},
    field::Field,
    id::PaymentId,
};

/// The fields of all payments. Dropping a field wipes it.
pub(super) struct Vault {
    payments: HashMap<PaymentId, Holding>,
    keep_after_decline: Duration,
    hold_at_most: Duration,
}

/// A card taken out of the vault for one attempt.
pub(super) struct Card {
    pan: Pan,
    expiry: Expiry,
    code: Option<SecurityCode>,
}

/// Why there is no card to charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotReady {
    /// This field is not held.
    Missing(Field),
    /// A charge of this payment is on its way.
    InFlight,
}

#[derive(Default)]
struct Holding {
    pan: Option<Held<Pan>>,
    expiry: Option<Held<Expiry>>,
    code: Option<Held<SecurityCode>>,
    others: BTreeMap<Field, Held<CapturedField>>,
    flight: Flight,
}

struct Held<T> {
    field: T,
    wipe_at: Instant,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Flight {
    #[default]
    None,
    UnderWay,
    /// The payment was wiped while its charge was on its way: nothing survives the answer.
    WipedMeanwhile,
}

impl Vault {
    pub(super) fn new(keep_after_decline: Duration, hold_at_most: Duration) -> Self {
        Self {
            payments: HashMap::new(),
            keep_after_decline,
            hold_at_most,
        }
    }

    /// Keeps a field, wiping an earlier one of its kind.
    pub(super) fn store(&mut self, payment: &PaymentId, field: CapturedField, now: Instant) {
        let wipe_at = now + self.hold_at_most;
        let holding = self.payments.entry(payment.clone()).or_default();
        match field {
            CapturedField::Pan(field) => holding.pan = Some(Held { field, wipe_at }),
            CapturedField::Expiry(field) => holding.expiry = Some(Held { field, wipe_at }),
            CapturedField::SecurityCode(field) => holding.code = Some(Held { field, wipe_at }),
            field @ (CapturedField::PostalCode(_)
            | CapturedField::RoutingNumber(_)
            | CapturedField::AccountNumber(_)) => {
                let kind = field.field();
                holding.others.insert(kind, Held { field, wipe_at });
            }
        }
    }

    /// Wipes what is held for a payment; what is on its way is wiped at its answer.
    pub(super) fn wipe(&mut self, payment: &PaymentId) {
        let Some(holding) = self.payments.remove(payment) else {
            return;
        };
        if holding.flight != Flight::None {
            let wiped = Holding {
                flight: Flight::WipedMeanwhile,
                ..Holding::default()
            };
            self.payments.insert(payment.clone(), wiped);
        }
    }

    /// The fields that are held and not on their way.
    pub(super) fn held(&self, payment: &PaymentId) -> Vec<Field> {
        let Some(holding) = self.payments.get(payment) else {
            return Vec::new();
        };
        let mut fields: Vec<Field> = holding.others.keys().copied().collect();
        fields.extend(holding.pan.as_ref().map(|_| Field::PaymentCardNumber));
        fields.extend(holding.expiry.as_ref().map(|_| Field::ExpirationDate));
        fields.extend(holding.code.as_ref().map(|_| Field::SecurityCode));
        fields.sort_unstable();
        fields
    }

    /// Hands out the card for an attempt; [`Vault::answered`] ends it.
    pub(super) fn take(&mut self, payment: &PaymentId) -> Result<Card, NotReady> {
        let Some(holding) = self.payments.get_mut(payment) else {
            return Err(NotReady::Missing(Field::PaymentCardNumber));
        };
        if holding.flight != Flight::None {
            return Err(NotReady::InFlight);
        }
        match (holding.pan.take(), holding.expiry.take()) {
            (Some(pan), Some(expiry)) => {
                holding.flight = Flight::UnderWay;
                Ok(Card {
                    pan: pan.field,
                    expiry: expiry.field,
                    code: holding.code.take().map(|code| code.field),
                })
            }
            (pan, expiry) => {
                let missing = match pan {
                    None => Field::PaymentCardNumber,
                    Some(_) => Field::ExpirationDate,
                };
                (holding.pan, holding.expiry) = (pan, expiry);
                Err(NotReady::Missing(missing))
            }
        }
    }

    /// Ends an attempt: wipes, or keeps what `outcome` lets a next attempt use (PCI DSS 3.3.1). The
    /// security code never survives. `card` is `None` where it was lost, and so wiped, on the way.
    pub(super) fn answered(
        &mut self,
        payment: &PaymentId,
        card: Option<Card>,
        outcome: &Outcome,
        now: Instant,
    ) {
        let Some(holding) = self.payments.remove(payment) else {
            return;
        };
        let kept = Kept::after(outcome);
        if holding.flight == Flight::WipedMeanwhile || kept == Kept::NOTHING {
            return;
        }
        let wipe_at = now + self.keep_after_decline;
        let (pan, expiry) = card.map_or((None, None), |card| (Some(card.pan), Some(card.expiry)));
        // A field that was keyed while the charge was on its way is newer than what was sent.
        let pan = holding.pan.map(|held| held.field).or(pan);
        let expiry = holding.expiry.map(|held| held.field).or(expiry);
        let kept = Holding {
            pan: pan
                .filter(|_| kept.pan)
                .map(|field| Held { field, wipe_at }),
            expiry: expiry
                .filter(|_| kept.expiry)
                .map(|field| Held { field, wipe_at }),
            ..Holding::default()
        };
        if !kept.is_empty() {
            self.payments.insert(payment.clone(), kept);
        }
    }

    /// Wipes what has been kept for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        self.payments.retain(|_, holding| {
            expire(&mut holding.pan, now);
            expire(&mut holding.expiry, now);
            expire(&mut holding.code, now);
            holding.others.retain(|_, held| held.wipe_at > now);
            !holding.is_empty() || holding.flight != Flight::None
        });
    }

    /// When [`Vault::expire`] has something to do next.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.payments.values().flat_map(Holding::wipe_at).min()
    }
}

impl Card {
    /// The security code never outlives an answer.
    pub(super) fn wipe_code(&mut self) {
        self.code = None;
    }

    pub(super) fn view<'a>(&'a mut self, memory: &'a dyn RequestMemory) -> CardView<'a> {
        CardView::new(&mut self.pan, &mut self.expiry, self.code.as_mut(), memory)
    }
}

impl Holding {
    fn is_empty(&self) -> bool {
        self.wipe_at().next().is_none()
    }

    fn wipe_at(&self) -> impl Iterator<Item = Instant> {
        let pan = self.pan.as_ref().map(|held| held.wipe_at);
        let expiry = self.expiry.as_ref().map(|held| held.wipe_at);
        let code = self.code.as_ref().map(|held| held.wipe_at);
        let others = self.others.values().map(|held| held.wipe_at);
        pan.into_iter().chain(expiry).chain(code).chain(others)
    }
}

fn expire<T>(held: &mut Option<Held<T>>, now: Instant) {
    held.take_if(|held| held.wipe_at <= now);
}

/// What outlives an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    pan: bool,
    expiry: bool,
}

impl Kept {
    const NOTHING: Self = Self {
        pan: false,
        expiry: false,
    };
    const BOTH: Self = Self {
        pan: true,
        expiry: true,
    };

    fn after(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Declined {
                advice: Advice::TryAgain,
                ..
            } => Self::BOTH,
            // What has to be keyed again is of no more use.
            Outcome::Declined {
                advice: Advice::ReEnter(field),
                ..
            } => Self {
                pan: *field != Field::PaymentCardNumber,
                expiry: *field != Field::ExpirationDate,
            },
            Outcome::Declined {
                advice: Advice::OtherCard | Advice::CallIssuer | Advice::DoNotRetry,
                ..
            }
            | Outcome::Approved { .. }
            | Outcome::Failed { .. }
            | Outcome::Pending { .. }
            | Outcome::Unknown { .. } => Self::NOTHING,
        }
    }
}

#[cfg(test)]
mod tests;
