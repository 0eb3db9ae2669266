//! Random interleavings of commands, facts and failures against the promises.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use proptest::{prelude::*, strategy::ValueTree};
use ulid::Ulid;

use super::{
    Advice, FieldFact, Input, LOOK_UP_FOR, MediaStep, Notice, Outcome, Output, Payment,
    PaymentState, REUSE, Request, Step,
};
use crate::proto::{
    audit::Event,
    field::Field,
    id::{AttemptId, CallId, PaymentId},
    time::Now,
};

#[derive(Debug, Clone)]
enum Act {
    Capture(Field),
    /// The agent asks for everything that is missing, and the caller keys it.
    KeyMissing,
    Complete,
    Cancel,
    /// The oldest record that is being written becomes durable, or does not.
    Written(bool),
    Armed,
    ArmRefused,
    Fact(Field, FieldFact),
    Incident,
    CallEnded,
    Answer(Outcome),
    FieldWasGone(Field),
    LookedUp(Outcome),
    Pass(Duration),
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        4 => Just(Field::PaymentCardNumber),
        4 => Just(Field::ExpirationDate),
        4 => Just(Field::SecurityCode),
        1 => Just(Field::PostalCode),
    ]
}

fn advice() -> impl Strategy<Value = Advice> {
    prop_oneof![
        2 => Just(Advice::TryAgain),
        1 => Just(Advice::OtherCard),
        2 => field().prop_map(Advice::ReEnter),
        1 => Just(Advice::CallIssuer),
        1 => Just(Advice::DoNotRetry),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let code = || "x".to_owned();
    prop_oneof![
        2 => Just(Outcome::Approved { processor_reference: code(), code: code() }),
        4 => advice().prop_map(move |advice| Outcome::Declined { advice, code: code() }),
        1 => any::<bool>().prop_map(move |retryable| Outcome::Failed { reason: code(), retryable }),
        3 => Just(Outcome::Unknown { reason: code() }),
        1 => Just(Outcome::Pending { processor_reference: code(), code: code() }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        24 => field().prop_map(Act::Capture),
        36 => Just(Act::KeyMissing),
        36 => Just(Act::Complete),
        2 => Just(Act::Cancel),
        80 => prop_oneof![40 => Just(true), 1 => Just(false)].prop_map(Act::Written),
        8 => Just(Act::Armed),
        2 => Just(Act::ArmRefused),
        40 => (field(), prop_oneof![
            1 => Just(FieldFact::Opened),
            1 => Just(FieldFact::Activity),
            8 => Just(FieldFact::Complete),
            1 => Just(FieldFact::Closed),
        ]).prop_map(|(field, fact)| Act::Fact(field, fact)),
        2 => prop_oneof![Just(Act::Incident), Just(Act::CallEnded)],
        30 => outcome().prop_map(Act::Answer),
        4 => field().prop_map(Act::FieldWasGone),
        16 => outcome().prop_map(Act::LookedUp),
        16 => prop_oneof![
            9 => prop_oneof![Just(1), Just(200), Just(1_000), Just(30_000), Just(119_000)],
            3 => prop_oneof![Just(251), Just(121_000), Just(200_000)],
            1 => prop_oneof![Just(1_000_000), Just(90_000_000)],
        ].prop_map(|ms| Act::Pass(Duration::from_millis(ms))),
    ]
}

/// What the world knows: what was asked for, what is durable, what the processor did.
struct World {
    payment: Payment,
    now: Now,
    serial: u128,
    writing: VecDeque<Step>,
    durable: Vec<Step>,
    armed: bool,
    releases: usize,
    in_flight: Option<AttemptId>,
    asked: Option<AttemptId>,
    submitted: BTreeSet<AttemptId>,
    /// What the processor said last of each attempt that was submitted.
    truth: BTreeMap<AttemptId, Option<Outcome>>,
    /// Fields in the card plane since the last wipe or answer.
    keyed: BTreeSet<Field>,
    code_was_keyed: bool,
    number_kept_since: Option<Instant>,
    ended: usize,
    looked_up: usize,
    refused: bool,
}

impl World {
    fn new() -> Self {
        let now = Now {
            instant: Instant::now(),
            utc: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut world = Self {
            payment: Payment::new(request(), now),
            now,
            serial: 10,
            writing: VecDeque::new(),
            durable: Vec::new(),
            armed: false,
            releases: 0,
            in_flight: None,
            asked: None,
            submitted: BTreeSet::new(),
            truth: BTreeMap::new(),
            keyed: BTreeSet::new(),
            code_was_keyed: false,
            number_kept_since: None,
            ended: 0,
            looked_up: 0,
            refused: false,
        };
        world.drain();
        world
    }

    fn feed(&mut self, input: Input) {
        self.payment.handle(input, self.now);
        self.drain();
    }

    fn act(&mut self, act: Act) {
        let settled = self.payment.is_settled();
        self.refused = false;
        match act {
            Act::Capture(field) => self.feed(Input::Capture(field)),
            Act::KeyMissing => self.key_missing(),
            Act::Complete => {
                self.serial += 1;
                let attempt = attempt(self.serial);
                self.feed(Input::Complete(attempt));
            }
            Act::Cancel => {
                let before = self.payment.state();
                self.feed(Input::Cancel);
                if matches!(before, PaymentState::Submitting | PaymentState::Unknown) {
                    assert!(self.refused, "cancelled while {before:?}");
                }
            }
            Act::Written(true) => {
                if let Some(step) = self.writing.pop_front() {
                    self.durable.push(step.clone());
                    self.feed(Input::Durable(step));
                }
            }
            Act::Written(false) => {
                if let Some(step) = self.writing.pop_front() {
                    self.feed(Input::NotDurable(step, "disk".to_owned()));
                }
            }
            Act::Armed if self.armed => self.feed(Input::Armed),
            Act::ArmRefused if self.armed => self.feed(Input::ArmRefused("no".to_owned())),
            Act::Armed | Act::ArmRefused => {}
            Act::Fact(field, fact) => {
                if fact == FieldFact::Complete {
                    self.keyed.insert(field);
                    self.code_was_keyed |= field == Field::SecurityCode;
                    if field == Field::PaymentCardNumber {
                        self.number_kept_since = None;
                    }
                }
                self.feed(Input::Field(field, fact));
            }
            Act::Incident => self.feed(Input::Incident),
            Act::CallEnded => self.feed(Input::CallEnded),
            Act::Answer(outcome) => self.answer(outcome),
            Act::FieldWasGone(field) => {
                if let Some(attempt) = self.in_flight.take() {
                    let nothing = Outcome::Failed {
                        reason: String::new(),
                        retryable: true,
                    };
                    self.truth.insert(attempt.clone(), Some(nothing));
                    self.feed(Input::NotSubmitted(attempt, field));
                }
            }
            Act::LookedUp(outcome) => self.looked_up(outcome),
            Act::Pass(time) => {
                self.now = self.now.after(time);
                self.feed(Input::Timeout);
            }
        }
        if settled {
            assert!(self.payment.is_settled() || self.payment.state() == PaymentState::Unknown);
        }
        self.check();
    }

    fn key_missing(&mut self) {
        let missing: Vec<Field> = self.payment.required().iter().copied().collect();
        for field in missing {
            if !self.payment.holds(field) {
                self.act(Act::Capture(field));
                self.act(Act::Written(true));
                self.act(Act::Fact(field, FieldFact::Complete));
            }
        }
    }

    fn answer(&mut self, outcome: Outcome) {
        let Some(attempt) = self.in_flight.take() else {
            return;
        };
        self.truth.insert(attempt.clone(), Some(outcome.clone()));
        // What the card plane does on an answer.
        let kept: &[Field] = match &outcome {
            Outcome::Declined {
                advice: Advice::TryAgain | Advice::ReEnter(_),
                ..
            } => &[Field::PaymentCardNumber, Field::ExpirationDate],
            _ => &[],
        };
        self.keyed.retain(|field| kept.contains(field));
        self.number_kept_since = Some(self.now.instant);
        self.feed(Input::Answered(attempt, outcome));
    }

    fn looked_up(&mut self, outcome: Outcome) {
        let Some(attempt) = self.asked.take() else {
            return;
        };
        // A processor does not contradict what it has already said for good.
        let said = self.truth.get(&attempt).cloned().flatten();
        let outcome = match said {
            Some(Outcome::Unknown { .. } | Outcome::Pending { .. }) | None => outcome,
            Some(definite) => definite,
        };
        self.truth.insert(attempt.clone(), Some(outcome.clone()));
        self.feed(Input::LookedUp(attempt, outcome));
    }

    fn drain(&mut self) {
        while let Some(output) = self.payment.poll_output() {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Record { step, events, .. } => {
                if matches!(step, Step::Result(..))
                    && events.iter().any(
                        |event| matches!(event, Event::CardWiped { reason, .. } if reason.starts_with("all of it")),
                    )
                {
                    assert!(self.keyed.is_empty(), "said to be wiped: {:?}", self.keyed);
                }
                if let Step::Intent(_) = step
                    && let Some(since) = self.number_kept_since
                    && self.payment.required().contains(&Field::PaymentCardNumber)
                {
                    assert!(
                        self.now.instant < since + REUSE,
                        "a card number used too late"
                    );
                }
                self.writing.push_back(step);
            }
            Output::Submit(attempt) => self.submit(attempt),
            Output::LookUp(attempt) => {
                assert!(
                    self.in_flight.is_none(),
                    "looked up while it may still be sent"
                );
                assert!(self.submitted.contains(&attempt));
                self.asked = Some(attempt);
                self.looked_up += 1;
            }
            Output::Media(step) => match step {
                MediaStep::Arm => {
                    assert!(self.durable.contains(&Step::Created));
                    self.armed = true;
                }
                MediaStep::OpenCapture(field) => {
                    assert_eq!(self.releases, 0, "opened after the release");
                    assert!(self.durable.contains(&Step::CaptureOpened(field)));
                }
                MediaStep::CloseCapture => {}
                MediaStep::Release => {
                    self.releases += 1;
                    self.armed = false;
                }
            },
            Output::Wipe { .. } => self.keyed.clear(),
            Output::Publish(Notice::Ended) => self.ended += 1,
            Output::Refused(_) => self.refused = true,
            Output::Publish(Notice::Created | Notice::Updated) | Output::Note(_) => {}
        }
    }

    fn submit(&mut self, attempt: AttemptId) {
        assert!(self.durable.contains(&Step::Intent(attempt.clone())));
        assert!(self.durable.contains(&Step::Sending(attempt.clone())));
        assert!(self.in_flight.is_none(), "two submits in flight");
        assert_eq!(self.releases, 0, "submitted after the release");
        for outcome in self.truth.values() {
            assert!(
                matches!(
                    outcome,
                    Some(Outcome::Declined { .. } | Outcome::Failed { .. })
                ),
                "charged again while an attempt may stand"
            );
        }
        if self.code_was_keyed {
            assert!(
                self.keyed.contains(&Field::SecurityCode),
                "charged without the code keyed anew"
            );
        }
        assert!(self.submitted.insert(attempt.clone()), "submitted twice");
        self.truth.insert(attempt.clone(), None);
        self.in_flight = Some(attempt);
    }

    fn check(&self) {
        let state = self.payment.state();
        let may_stand = self.truth.values().any(|outcome| {
            matches!(
                outcome,
                None | Some(
                    Outcome::Approved { .. } | Outcome::Pending { .. } | Outcome::Unknown { .. }
                )
            )
        });
        if may_stand {
            assert!(
                !matches!(
                    state,
                    PaymentState::Declined | PaymentState::Failed | PaymentState::Cancelled
                ),
                "{state:?} is shown of a charge that may stand"
            );
            let advice = self.payment.advice();
            assert!(!advice.contains("nothing was charged"), "{advice}");
        }
        if state == PaymentState::Approved {
            let approved =
                |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Approved { .. }));
            assert!(self.truth.values().any(approved));
        }
        assert!(self.releases <= 1, "released more than once");
        assert!(self.ended <= 1, "ended more than once");
        let recording = self.writing.contains(&Step::Closed);
        let over = self.payment.is_settled()
            || (state == PaymentState::Unknown && self.in_flight.is_none());
        if over && !recording {
            assert_eq!(
                self.releases, 1,
                "the hold is not released once in {state:?}"
            );
            assert!(!self.payment.is_armed());
            assert!(
                self.keyed.is_empty(),
                "{:?} is not wiped in {state:?}",
                self.keyed
            );
        }
    }

    /// Lets everything that is under way come to its end.
    fn finish(&mut self, last: &Outcome) {
        let started = self.now.instant;
        self.act(Act::CallEnded);
        for _ in 0..1_000 {
            if self.payment.is_settled() {
                break;
            }
            self.act(Act::Written(true));
            self.act(Act::Answer(last.clone()));
            self.act(Act::LookedUp(last.clone()));
            if self.writing.is_empty()
                && let Some(at) = self.payment.poll_timeout()
            {
                let wait = at.saturating_duration_since(self.now.instant);
                self.act(Act::Pass(wait));
            }
        }
        let state = self.payment.state();
        assert!(self.payment.is_settled(), "stuck in {state:?}");
        let limit = LOOK_UP_FOR + Duration::from_secs(3_600);
        assert!(self.now.instant <= started + limit, "it took too long");
        assert_eq!(
            self.ended,
            usize::from(state != PaymentState::Unknown),
            "{state:?}"
        );
        for outcome in self.truth.values() {
            assert!(outcome.is_some(), "an attempt without an outcome");
        }
    }
}

pub(super) fn request() -> Request {
    Request {
        payment: PaymentId::new(tenant(), node(), Ulid::from_parts(1, 1)),
        call: CallId::new(tenant(), node(), Ulid::from_parts(1, 2)),
        amount_minor: 1250,
        currency: "EUR".to_owned(),
        required: Request::default_fields(),
    }
}

pub(super) fn attempt(serial: u128) -> AttemptId {
    AttemptId::new(tenant(), node(), Ulid::from_parts(1, serial))
}

fn tenant() -> crate::proto::id::Tenant {
    "acme".parse().unwrap()
}

fn node() -> crate::proto::id::Node {
    "n1".parse().unwrap()
}

/// Enough of a good start that the random part is about money.
fn armed_and_keyed() -> Vec<Act> {
    vec![
        Act::Written(true),
        Act::Armed,
        Act::Written(true),
        Act::KeyMissing,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_charges_twice_forgets_a_charge_or_keeps_a_card(
        good_start in prop_oneof![3 => Just(true), 1 => Just(false)],
        acts in prop::collection::vec(act(), 0..160),
        last in outcome(),
    ) {
        let mut world = World::new();
        let start = if good_start { armed_and_keyed() } else { Vec::new() };
        for act in start.into_iter().chain(acts) {
            world.act(act);
        }
        world.finish(&last);
    }
}

#[test]
fn the_model_reaches_charges_second_tries_and_unknowns() {
    // A positive control: the property is empty if the random acts never get that far.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut submits, mut second, mut unknown) = (0, 0, 0);
    for _ in 0..500 {
        let acts = prop::collection::vec(act(), 0..160);
        let acts = acts.new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        for act in armed_and_keyed().into_iter().chain(acts) {
            world.act(act);
        }
        submits += usize::from(!world.submitted.is_empty());
        second += usize::from(world.submitted.len() > 1);
        unknown += usize::from(world.looked_up > 0);
    }
    assert!(
        submits > 100 && second > 15 && unknown > 5,
        "{submits} {second} {unknown}"
    );
}
