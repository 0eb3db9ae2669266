//! Tokenise, then charge: what is durable, wiped and sent, and in which order.

use super::*;
use crate::{
    processor::Abilities,
    processor::{Token, testing::Tokens},
    proto::id::AttemptId,
};

/// Everything that happened, in its order.
type Trail = Arc<Mutex<Vec<String>>>;

/// A processor that gives tokens and answers every charge alike.
struct Tokenising {
    trail: Trail,
    fields: Memory,
    outcome: Outcome,
    token: &'static str,
    test_cards_only: bool,
}

impl Processor for Tokenising {
    fn promises(&self) -> Promises {
        Promises {
            name: "tokenising",
            sandbox: false,
            test_cards_only: self.test_cards_only,
            tokenises: true,
            idempotency_retention: Duration::ZERO,
            look_up_by_reference: true,
            consistency_delay: Duration::ZERO,
            reversal_by_reference: false,
            abilities: Abilities::default(),
        }
    }

    async fn submit(&self, _recorded: Recorded, card: CardView<'_>, _charge: &Charge) -> Submitted {
        assert!(card.has_security_code());
        self.trail.lock().unwrap().push("submit".to_owned());
        std::future::ready(Submitted::Tokenised(Token::new(self.token).unwrap())).await
    }

    async fn charge(&self, _charge: &Charge, token: &Token) -> Outcome {
        // Number and expiry: the code is wiped by now.
        let fields = self.fields.taken();
        let done = format!("charge {} with {fields} fields held", token.as_str());
        self.trail.lock().unwrap().push(done);
        std::future::ready(self.outcome.clone()).await
    }

    async fn look_up(&self, _charge: &Charge, token: Option<&Token>) -> Outcome {
        let done = format!("look up {}", token.map_or("nothing", Token::as_str));
        self.trail.lock().unwrap().push(done);
        std::future::ready(self.outcome.clone()).await
    }
}

/// Tokens that tell when they are kept.
struct Noting(Tokens, Trail);

impl TokenStore for Noting {
    fn ended(
        &self,
        attempt: AttemptId,
    ) -> crate::processor::Later<'_, Result<Option<Outcome>, String>> {
        self.0.ended(attempt)
    }

    fn keep(
        &self,
        attempt: AttemptId,
        token: Token,
    ) -> crate::processor::Later<'_, Result<(), String>> {
        self.1.lock().unwrap().push("keep".to_owned());
        self.0.keep(attempt, token)
    }

    fn kept(
        &self,
        attempt: AttemptId,
    ) -> crate::processor::Later<'_, Result<Option<Token>, String>> {
        self.0.kept(attempt)
    }
}

struct TokenBench {
    plane: CardPlane,
    trail: Trail,
    fields: Memory,
}

fn approved(reference: &str) -> Outcome {
    Outcome::Approved {
        processor_reference: reference.to_owned(),
        code: "ok".to_owned(),
    }
}

impl TokenBench {
    fn new(change: impl FnOnce(&mut Tokenising, &mut Tokens)) -> Self {
        let (trail, fields) = (Trail::default(), key_memory());
        let mut adapter = Tokenising {
            trail: trail.clone(),
            fields: fields.clone(),
            outcome: approved("ch_1"),
            token: "tok_1",
            test_cards_only: false,
        };
        let mut tokens = Tokens::default();
        change(&mut adapter, &mut tokens);
        let plane = CardPlane::start(
            CardPlaneSettings::default(),
            adapter,
            Arc::new(request_memory()),
            Arc::new(Noting(tokens, trail.clone())),
        );
        Self {
            plane: plane.unwrap(),
            trail,
            fields,
        }
    }

    async fn pay(&self, number: &str) -> Outcome {
        for (field, digits) in [
            (Field::PaymentCardNumber, number),
            (Field::ExpirationDate, "1239"),
            (Field::SecurityCode, "123"),
        ] {
            let field = self.fields.field(field, digits);
            self.plane.sink().store(&payment(1), field).unwrap();
        }
        self.plane.submit(recorded(), charge(1)).await.unwrap()
    }

    fn trail(&self) -> Vec<String> {
        self.trail.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_token_is_kept_and_the_security_code_wiped_before_anything_is_charged() {
    let bench = TokenBench::new(|_, _| ());
    assert_eq!(bench.pay("4242424242424242").await, approved("ch_1"));
    assert_eq!(
        bench.trail(),
        ["submit", "keep", "charge tok_1 with 2 fields held"]
    );
    assert_eq!(bench.fields.taken(), 0);
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_charged() {
    let bench = TokenBench::new(|_, tokens| tokens.refuses = true);
    let outcome = bench.pay("4242424242424242").await;
    let Outcome::Failed { reason, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("nothing was charged"), "{reason}");
    assert_eq!(bench.trail(), ["submit", "keep"]);
}

#[tokio::test]
async fn an_attempt_without_a_token_was_not_charged_and_one_with_it_is_asked_for() {
    let bench = TokenBench::new(|adapter, _| {
        adapter.outcome = Outcome::Unknown {
            reason: "no answer".to_owned(),
        };
    });
    let before = bench.plane.look_up(&charge(1)).await;
    assert!(matches!(before, Outcome::Failed { .. }), "{before:?}");
    assert!(bench.trail().is_empty());
    bench.pay("4242424242424242").await;
    let after = bench.plane.look_up(&charge(1)).await;
    assert!(matches!(after, Outcome::Unknown { .. }), "{after:?}");
    assert_eq!(bench.trail().last().unwrap(), "look up tok_1");
}

#[tokio::test]
async fn in_test_mode_a_card_that_is_none_of_the_test_cards_is_not_sent() {
    let bench = TokenBench::new(|adapter, _| adapter.test_cards_only = true);
    let outcome = bench.pay("4716835173984242").await;
    let expected = Outcome::Declined {
        advice: Advice::OtherCard,
        code: "not_a_test_card".to_owned(),
    };
    assert_eq!(outcome, expected);
    assert!(bench.trail().is_empty());
    assert_eq!(bench.pay("4242424242424242").await, approved("ch_1"));
}

#[tokio::test]
async fn what_repeats_the_card_is_not_passed_on_and_not_kept() {
    let bench = TokenBench::new(|adapter, _| adapter.outcome = approved("x47168351y"));
    assert_eq!(bench.pay("4716835173984242").await, approved("withheld"));
    // Seven digits of the card in a row, and no check digit that would give it away.
    let bench = TokenBench::new(|adapter, _| adapter.token = "tok_7168351");
    let outcome = bench.pay("4716835173984242").await;
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert_eq!(bench.trail(), ["submit"]);
}
