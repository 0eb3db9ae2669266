//! What of a charge is settled, voided and refunded, and what more may be done with it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the card is to be used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The money is taken.
    #[default]
    Charge,
    /// The money is set aside, to be settled or voided later.
    Authorise,
}

impl Purpose {
    /// Lower-case word used in rows and records; the serde form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Authorise => "authorise",
        }
    }
}

/// What is done with a charge that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Takes what was set aside; processors call it capture.
    Settle,
    /// Undoes all of it before the money has moved.
    Void,
    /// Gives money back.
    Refund,
}

impl OperationKind {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Settle, Self::Void, Self::Refund];

    /// Lower-case word used in rows and records; the serde form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

/// What a processor can do besides charging at once. The default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own"
)]
pub struct Abilities {
    /// Sets money aside, settles it later, and voids it until then.
    pub authorise: bool,
    /// Settles less than was set aside; what is left is given free.
    pub settle_part: bool,
    /// Undoes a charge that was to be settled at once.
    pub void_charge: bool,
    /// Gives all of it back.
    pub refund: bool,
    /// Gives part of it back, also several times.
    pub refund_part: bool,
}

/// How far an operation got, as far as the balance cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It may have been done, or be done yet.
    Open,
    /// It was done.
    Done,
    /// It surely was not.
    NotDone,
}

/// An operation as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationEntry {
    /// What is done.
    pub kind: OperationKind,
    /// Minor units.
    pub amount_minor: u64,
    /// How far it got.
    pub progress: Progress,
}

/// A word for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Money is set aside and not taken.
    Authorised,
    /// Money is taken.
    Settled,
    /// Part of it was given back.
    PartRefunded,
    /// All of it was given back.
    Refunded,
    /// All of it was undone.
    Voided,
}

/// What of an approved charge is where. Amounts are minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What the whole of it is called.
    pub standing: Standing,
    /// Approved by the issuer.
    pub authorised_minor: u64,
    /// Taken, or to be taken without anybody's doing.
    pub settled_minor: u64,
    /// Given back.
    pub refunded_minor: u64,
    /// On its way back, or perhaps given back: counted as if it were.
    pub refunding_minor: u64,
    /// The settlement or void of which it is not known whether it was done; nothing else can be done
    /// before.
    pub open: Option<OperationKind>,
}

/// Why an operation is not done. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAllowed {
    /// It is not known yet whether another one was done.
    #[error("a {} of this charge is not decided yet; wait for it, or resolve it", .0.as_str())]
    Undecided(OperationKind),
    /// It was undone.
    #[error("the charge was voided")]
    Voided,
    /// It was settled.
    #[error("the charge is settled already")]
    Settled,
    /// The money has moved.
    #[error("the charge is settled; refund it instead")]
    RefundInstead,
    /// The money was never taken.
    #[error("the charge is not settled; void it instead")]
    VoidInstead,
    /// Money was given back.
    #[error("part of the charge was refunded; it cannot be voided any more")]
    Refunded,
    /// More than there is.
    #[error("at most {most_minor} minor units are left of the charge")]
    TooMuch {
        /// What there is.
        most_minor: u64,
    },
    /// No money at all.
    #[error("an amount of nothing; expected at least 1 minor unit")]
    Nothing,
    /// A void is of all.
    #[error("a void is of the whole charge; leave the amount out")]
    VoidInPart,
    /// The processor has no such thing.
    #[error("this processor cannot do it: {0}")]
    Unable(&'static str),
}

impl Balance {
    /// Of a charge that was approved, and what was done with it since.
    #[must_use]
    pub fn of(purpose: Purpose, approved_minor: u64, operations: &[OperationEntry]) -> Self {
        let sum = |kind, progress| {
            operations
                .iter()
                .filter(|one| one.kind == kind && one.progress == progress)
                .fold(0_u64, |sum, one| sum.saturating_add(one.amount_minor))
        };
        let is = |kind, progress| {
            operations
                .iter()
                .any(|one| one.kind == kind && one.progress == progress)
        };
        let voided = is(OperationKind::Void, Progress::Done);
        let settled_minor = match purpose {
            _ if voided => 0,
            Purpose::Charge => approved_minor,
            Purpose::Authorise => sum(OperationKind::Settle, Progress::Done),
        };
        let refunded_minor = sum(OperationKind::Refund, Progress::Done);
        let standing = match (settled_minor, refunded_minor) {
            _ if voided => Standing::Voided,
            (0, _) => Standing::Authorised,
            (_, 0) => Standing::Settled,
            (settled, refunded) if refunded < settled => Standing::PartRefunded,
            _ => Standing::Refunded,
        };
        Self {
            standing,
            authorised_minor: approved_minor,
            settled_minor,
            refunded_minor,
            refunding_minor: sum(OperationKind::Refund, Progress::Open),
            open: [OperationKind::Settle, OperationKind::Void]
                .into_iter()
                .find(|kind| is(*kind, Progress::Open)),
        }
    }

    /// The amount that an operation is of; `amount_minor` is what was asked for, all that there is where
    /// nothing was.
    ///
    /// # Errors
    /// [`NotAllowed`]: it must not be done.
    pub fn allow(
        &self,
        kind: OperationKind,
        amount_minor: Option<u64>,
        able: Abilities,
    ) -> Result<u64, NotAllowed> {
        if let Some(open) = self.open {
            return Err(NotAllowed::Undecided(open));
        }
        if self.standing == Standing::Voided {
            return Err(NotAllowed::Voided);
        }
        match kind {
            OperationKind::Settle => self.allow_settle(amount_minor, able),
            OperationKind::Void => self.allow_void(amount_minor, able),
            OperationKind::Refund => self.allow_refund(amount_minor, able),
        }
    }

    fn allow_settle(&self, amount_minor: Option<u64>, able: Abilities) -> Result<u64, NotAllowed> {
        if self.settled_minor > 0 {
            return Err(NotAllowed::Settled);
        }
        let amount = within(amount_minor, self.authorised_minor)?;
        if !able.authorise {
            return Err(NotAllowed::Unable("settle what was set aside"));
        }
        if amount < self.authorised_minor && !able.settle_part {
            return Err(NotAllowed::Unable("settle part of a charge"));
        }
        Ok(amount)
    }

    fn allow_void(&self, amount_minor: Option<u64>, able: Abilities) -> Result<u64, NotAllowed> {
        if amount_minor.is_some() {
            return Err(NotAllowed::VoidInPart);
        }
        if self.refunding_minor > 0 || self.refunded_minor > 0 {
            return Err(NotAllowed::Refunded);
        }
        if self.settled_minor > 0 {
            // What was settled by hand has left; what is settled by itself may not have.
            return if able.void_charge && self.settled_minor == self.authorised_minor {
                Ok(self.authorised_minor)
            } else {
                Err(NotAllowed::RefundInstead)
            };
        }
        if !able.authorise {
            return Err(NotAllowed::Unable("void what was set aside"));
        }
        Ok(self.authorised_minor)
    }

    fn allow_refund(&self, amount_minor: Option<u64>, able: Abilities) -> Result<u64, NotAllowed> {
        if self.settled_minor == 0 {
            return Err(NotAllowed::VoidInstead);
        }
        let left = self
            .settled_minor
            .saturating_sub(self.refunded_minor)
            .saturating_sub(self.refunding_minor);
        let amount = within(amount_minor, left)?;
        if !able.refund {
            return Err(NotAllowed::Unable("refund"));
        }
        if amount < self.settled_minor && !able.refund_part {
            return Err(NotAllowed::Unable("refund part of a charge"));
        }
        Ok(amount)
    }
}

fn within(asked: Option<u64>, most_minor: u64) -> Result<u64, NotAllowed> {
    match asked.unwrap_or(most_minor) {
        amount if amount > most_minor || most_minor == 0 => Err(NotAllowed::TooMuch { most_minor }),
        0 => Err(NotAllowed::Nothing),
        amount => Ok(amount),
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::{
        Abilities, Balance, NotAllowed, OperationEntry,
        OperationKind::{self, Refund, Settle, Void},
        Progress::{self, Done, NotDone, Open},
        Purpose, Standing,
    };

    const ABLE: Abilities = Abilities {
        authorise: true,
        settle_part: true,
        void_charge: true,
        refund: true,
        refund_part: true,
    };

    fn balance(purpose: Purpose, operations: &[(OperationKind, u64, Progress)]) -> Balance {
        let entries: Vec<_> = operations
            .iter()
            .map(|&(kind, amount_minor, progress)| OperationEntry {
                kind,
                amount_minor,
                progress,
            })
            .collect();
        Balance::of(purpose, 1000, &entries)
    }

    #[test]
    fn each_history_has_its_standing() {
        use Purpose::{Authorise, Charge};
        for (purpose, history, standing, settled) in [
            (Charge, &[][..], Standing::Settled, 1000),
            (Authorise, &[], Standing::Authorised, 0),
            (Authorise, &[(Settle, 700, Done)], Standing::Settled, 700),
            (
                Authorise,
                &[(Settle, 700, NotDone)],
                Standing::Authorised,
                0,
            ),
            (Authorise, &[(Settle, 700, Open)], Standing::Authorised, 0),
            (Authorise, &[(Void, 1000, Done)], Standing::Voided, 0),
            (Charge, &[(Void, 1000, Done)], Standing::Voided, 0),
            (Charge, &[(Refund, 400, Done)], Standing::PartRefunded, 1000),
            (
                Authorise,
                &[(Settle, 700, Done), (Refund, 700, Done)],
                Standing::Refunded,
                700,
            ),
        ] {
            let found = balance(purpose, history);
            assert_eq!(
                (found.standing, found.settled_minor),
                (standing, settled),
                "{history:?}"
            );
        }
    }

    #[test]
    fn what_is_refused_says_what_would_be_allowed() {
        use Purpose::{Authorise, Charge};
        for (purpose, history, kind, amount, refusal) in [
            (Charge, &[][..], Settle, None, NotAllowed::Settled),
            (
                Authorise,
                &[(Settle, 10, Done)],
                Settle,
                None,
                NotAllowed::Settled,
            ),
            (Authorise, &[], Refund, None, NotAllowed::VoidInstead),
            (
                Authorise,
                &[(Settle, 10, Done)],
                Void,
                None,
                NotAllowed::RefundInstead,
            ),
            (
                Charge,
                &[(Refund, 10, Done)],
                Void,
                None,
                NotAllowed::Refunded,
            ),
            (
                Charge,
                &[(Refund, 10, Open)],
                Void,
                None,
                NotAllowed::Refunded,
            ),
            (
                Charge,
                &[(Void, 1000, Done)],
                Refund,
                None,
                NotAllowed::Voided,
            ),
            (
                Charge,
                &[(Void, 1000, Open)],
                Refund,
                None,
                NotAllowed::Undecided(Void),
            ),
            (
                Authorise,
                &[(Settle, 10, Open)],
                Void,
                None,
                NotAllowed::Undecided(Settle),
            ),
            (Charge, &[], Void, Some(10), NotAllowed::VoidInPart),
            (
                Charge,
                &[],
                Refund,
                Some(1001),
                NotAllowed::TooMuch { most_minor: 1000 },
            ),
            (
                Charge,
                &[(Refund, 600, Open)],
                Refund,
                Some(401),
                NotAllowed::TooMuch { most_minor: 400 },
            ),
            (
                Charge,
                &[(Refund, 1000, Done)],
                Refund,
                None,
                NotAllowed::TooMuch { most_minor: 0 },
            ),
            (
                Authorise,
                &[],
                Settle,
                Some(1001),
                NotAllowed::TooMuch { most_minor: 1000 },
            ),
            (Charge, &[], Refund, Some(0), NotAllowed::Nothing),
        ] {
            let found = balance(purpose, history).allow(kind, amount, ABLE);
            assert_eq!(found, Err(refusal), "{kind:?} after {history:?}");
        }
    }

    #[test]
    fn what_a_processor_cannot_do_is_refused_by_name() {
        let unable = Abilities::default();
        let charged = balance(Purpose::Charge, &[]);
        let set_aside = balance(Purpose::Authorise, &[]);
        let whole = Abilities {
            settle_part: false,
            refund_part: false,
            ..ABLE
        };
        for (found, expected) in [
            (
                charged.allow(Refund, None, unable),
                NotAllowed::Unable("refund"),
            ),
            (charged.allow(Void, None, unable), NotAllowed::RefundInstead),
            (
                set_aside.allow(Settle, None, unable),
                NotAllowed::Unable("settle what was set aside"),
            ),
            (
                set_aside.allow(Void, None, unable),
                NotAllowed::Unable("void what was set aside"),
            ),
            (
                charged.allow(Refund, Some(1), whole),
                NotAllowed::Unable("refund part of a charge"),
            ),
            (
                set_aside.allow(Settle, Some(1), whole),
                NotAllowed::Unable("settle part of a charge"),
            ),
        ] {
            assert_eq!(found, Err(expected));
        }
        assert_eq!(charged.allow(Refund, None, whole), Ok(1000));
        assert_eq!(set_aside.allow(Settle, None, whole), Ok(1000));
    }

    #[test]
    fn whatever_is_allowed_in_whatever_order_no_more_goes_back_than_came() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..2_000 {
            let purpose = [Purpose::Charge, Purpose::Authorise][rng.random_range(0..2)];
            let mut history: Vec<OperationEntry> = Vec::new();
            for _ in 0..12 {
                // What is open may be decided at any time.
                for one in &mut history {
                    if one.progress == Open && rng.random_bool(0.4) {
                        one.progress = if rng.random_bool(0.5) { Done } else { NotDone };
                    }
                }
                let kind = OperationKind::ALL[rng.random_range(0..3)];
                let asked = rng.random_bool(0.7).then(|| rng.random_range(0..1200));
                let before = Balance::of(purpose, 1000, &history);
                if let Ok(amount_minor) = before.allow(kind, asked, ABLE) {
                    history.push(OperationEntry {
                        kind,
                        amount_minor,
                        progress: Open,
                    });
                }
                // Whatever is open: as if all of it had been done.
                let worst: Vec<_> = history
                    .iter()
                    .filter(|one| one.progress != NotDone)
                    .collect();
                let of = |kind| {
                    worst
                        .iter()
                        .filter(|one| one.kind == kind)
                        .map(|one| one.amount_minor)
                        .sum::<u64>()
                };
                let voids = worst.iter().filter(|one| one.kind == Void).count();
                let settles = worst.iter().filter(|one| one.kind == Settle).count();
                let taken = match purpose {
                    Purpose::Charge => 1000,
                    Purpose::Authorise => of(Settle),
                };
                assert!(taken <= 1000 && settles <= 1 && voids <= 1, "{history:?}");
                assert!(of(Refund) <= taken, "{history:?}");
                assert!(voids == 0 || of(Refund) == 0, "{history:?}");
            }
        }
    }
}
