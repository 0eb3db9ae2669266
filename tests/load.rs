//! Fifty calls at a time, each with a card of its own: nobody's digits go astray, and a second
//! wave finds the memory that the first one gave back.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Gateway, How, Options,
    pay::{capture, complete, digest},
    play,
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

const CALLS: usize = 50;
/// More of them show a slow leak to whoever looks for one; the second is judged by the first.
const WAVES: usize = 2;
/// After each wave, before the memory is looked at. An ended call is remembered for 30 to 40 s, for a
/// repeated `delete`; ports rest for 5 s; freed memory is handed back every 5 s.
const REST: Duration = Duration::from_secs(47);

/// Card, state at the end, and the processor's code or, where the card is asked about, nothing.
const CARDS: [(&str, &str, &str); 15] = [
    ("4242424242424242", "approved", ""),
    ("5555555555554444", "approved", ""),
    ("378282246310005", "approved", ""),
    ("6011111111111117", "approved", ""),
    ("3566002020360505", "approved", ""),
    ("4000000000000002", "declined", "card_declined"),
    ("4000000000009995", "declined", "insufficient_funds"),
    ("4000000000009987", "declined", "lost_card"),
    ("4000000000000069", "declined", "expired_card"),
    ("4000000000000127", "declined", "incorrect_cvc"),
    ("4000000000003220", "declined", "call_issuer"),
    ("4000000000000119", "failed", ""),
    // Answered after 3 s; reset after and before it was done, so that a look-up has to tell.
    ("4000000000005001", "approved", ""),
    ("4000000000005019", "approved", ""),
    ("4000000000005027", "failed", ""),
];

/// What one caller keys, unlike any other caller.
struct Caller {
    wave: usize,
    number: usize,
}

impl Caller {
    fn card(&self) -> (&'static str, &'static str, &'static str) {
        CARDS[self.number % CARDS.len()]
    }

    fn expiry(&self) -> String {
        format!("{:02}{:02}", 1 + self.number % 12, 30 + self.number % 9)
    }

    fn code(&self) -> String {
        match self.card().0.starts_with('3') && self.card().0.len() == 15 {
            true => format!("{:04}", 1_009 + 179 * self.number % 9_000),
            false => format!("{:03}", 101 + 17 * self.number % 899),
        }
    }

    /// Tells the payments apart at the sandbox.
    fn amount(&self) -> u64 {
        (10_000 * (self.wave + 1) + self.number) as u64
    }

    /// A third by events, a third by tones, a third by both in turn.
    fn how(&self, key: usize) -> How {
        match (self.number % 3, key % 2) {
            (0, _) | (2, 0) => How::Event,
            _ => How::Tone,
        }
    }

    /// The whole call; answers what went wrong.
    async fn pay(&self, gateway: &Gateway) -> Vec<String> {
        let (card, state, code) = self.card();
        let ends = play(gateway, &format!("load-{}-{}", self.wave, self.number)).await;
        let payment = gateway
            .post(
                "/v1/payments",
                json!({"call": ends.id, "amount": self.amount(), "currency": "EUR", "reference": "L"}),
            )
            .await;
        let id = payment["id"].as_str().unwrap();
        for (field, keys) in [
            ("payment-card-number", card),
            ("expiration-date", &self.expiry()),
            ("security-code", &self.code()),
        ] {
            let view = capture(gateway, &ends, id, (field, keys), |key| self.how(key)).await;
            if view["status"] != "complete" || view["count"] != keys.len() {
                return vec![format!("call {}: {field}: {view}", self.number)];
            }
        }
        let ended = complete(gateway, id).await;
        ends.hang_up(gateway).await;
        let mut wrong = Vec::new();
        if ended["state"] != state {
            wrong.push(format!(
                "call {}: found {}, expected {state}: {ended}",
                self.number, ended["state"]
            ));
        }
        if !code.is_empty() && ended["outcome"]["code"] != code {
            wrong.push(format!(
                "call {}: found {}, expected {code}",
                self.number, ended["outcome"]
            ));
        }
        wrong
    }

    /// Compares what the sandbox got with what was keyed.
    fn check_received(&self, received: &[Value]) -> Vec<String> {
        let mine: Vec<_> = received
            .iter()
            .filter(|charge| charge["amount"] == self.amount())
            .collect();
        let [charge] = mine[..] else {
            return vec![format!(
                "call {}: {} charges at the sandbox, expected 1",
                self.number,
                mine.len()
            )];
        };
        [
            ("pan_hmac", digest(self.card().0)),
            ("expiry_hmac", digest(&self.expiry())),
            ("code_hmac", digest(&self.code())),
        ]
        .into_iter()
        .filter(|(name, keyed)| charge[*name] != *keyed)
        .map(|(name, _)| format!("call {}: {name} is not of what was keyed", self.number))
        .collect()
    }
}

/// Fifty calls at once; answers what went wrong.
async fn wave(gateway: &Arc<Gateway>, wave: usize) -> Vec<String> {
    let started = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let gateway = Arc::clone(gateway);
        calls.spawn(async move { Caller { wave, number }.pay(&gateway).await });
    }
    let mut up = 0;
    let mut wrong = Vec::new();
    let mut look = tokio::time::interval(Duration::from_millis(500));
    while !calls.is_empty() {
        tokio::select! {
            Some(ended) = calls.join_next() => wrong.extend(ended.unwrap_or_else(|e| vec![e.to_string()])),
            _ = look.tick() => {
                let calls = gateway.get("/v1/calls").await;
                let armed = calls["calls"].as_array().unwrap().iter().filter(|call| call["armed"] == true);
                up = up.max(armed.count());
            }
        }
    }
    println!(
        "wave {wave}: {up} armed at once, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    if up != CALLS {
        wrong.push(format!("{up} calls were armed at a time, expected {CALLS}"));
    }
    let received = gateway.received().await;
    wrong.extend((0..CALLS).flat_map(|number| Caller { wave, number }.check_received(&received)));
    wrong
}

/// Resident memory once everything of the wave has been let go.
async fn resident_at_rest(gateway: &Gateway) -> u64 {
    tokio::time::sleep(REST).await;
    let calls = gateway.get("/v1/calls").await;
    assert_eq!(calls["calls"], json!([]));
    gateway.resident()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_end_right_and_a_further_wave_takes_no_more_memory() {
    let gateway = Arc::new(
        Gateway::start(Options {
            ports: 20_000,
            ..Options::default()
        })
        .await,
    );
    let mut memory = Vec::new();
    for number in 0..WAVES {
        let wrong = wave(&gateway, number).await;
        assert!(
            wrong.is_empty(),
            "wave {number}: {} of {CALLS} calls went wrong; on a busy machine a debug build may be too slow for real time: look at the load first, then at the code\n{}\n{}",
            wrong.len(),
            wrong.join("\n"),
            gateway
                .log()
                .lines()
                .filter(|line| line.contains("WARN") || line.contains("ERROR"))
                .take(40)
                .collect::<Vec<_>>()
                .join("\n"),
        );
        memory.push(resident_at_rest(&gateway).await);
    }
    println!("resident after each wave: {memory:?} KiB");
    let [first, second] = memory[..2] else {
        panic!("{WAVES} waves, expected at least 2");
    };
    assert!(
        second * 100 <= first * 105,
        "resident after each wave: {memory:?} KiB, the second more than 5 % above the first"
    );
}
