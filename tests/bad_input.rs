//! What is malformed gets a clear error or is dropped and counted, and harms no other call.
#![allow(clippy::unwrap_used, reason = "tests may")]

#[path = "bad_input/api.rs"]
mod api;
mod common;
#[path = "bad_input/config.rs"]
mod config;
#[path = "bad_input/media.rs"]
mod media;
#[path = "bad_input/ng.rs"]
mod ng;

use std::time::Duration;

use common::{Ends, Gateway, Options, PATIENCE, play};
use tokio::time::{Instant, sleep};

/// Two calls that are up all the while: one as it came, one armed.
struct Healthy {
    plain: Ends,
    armed: Ends,
    since: Instant,
}

impl Healthy {
    async fn start(gateway: &Gateway) -> Self {
        let plain = play(gateway, "healthy-plain").await;
        let armed = play(gateway, "healthy-armed").await;
        let since = Instant::now();
        gateway.payment(&armed.id).await;
        Self {
            plain,
            armed,
            since,
        }
    }

    /// Every packet of every direction came once, in order, until now.
    async fn check(&self, gateway: &Gateway) {
        let expected = self.since.elapsed().as_millis() as usize / 20;
        for (call, ends) in [("plain", &self.plain), ("armed", &self.armed)] {
            for (end, got) in [("agent", &ends.agent_got), ("caller", &ends.caller_got)] {
                // The call may be muted for a moment while it is being armed.
                let wanted = expected.saturating_sub(25);
                let sequences = sequences(got, wanted).await;
                assert!(
                    sequences.len() >= wanted,
                    "{call} call, {end}: {} of {expected} packets",
                    sequences.len()
                );
                for pair in sequences.windows(2) {
                    assert_eq!(
                        pair[1],
                        pair[0].wrapping_add(1),
                        "{call} call, {end}: lost or out of order"
                    );
                }
            }
            let view = gateway.get(&format!("/v1/calls/{}", ends.id)).await;
            assert_eq!(view["armed"], call == "armed", "{view}");
        }
    }
}

/// Sequence numbers of the audio that an end got, once there are `wanted` or patience is over.
async fn sequences(got: &tokio::sync::Mutex<Vec<Vec<u8>>>, wanted: usize) -> Vec<u16> {
    let until = Instant::now() + PATIENCE;
    loop {
        let got = got.lock().await;
        let audio = got.iter().filter(|packet| packet[1] & 0x7f == 0);
        let sequences: Vec<u16> = audio
            .map(|packet| u16::from_be_bytes([packet[2], packet[3]]))
            .collect();
        if sequences.len() >= wanted || Instant::now() > until {
            return sequences;
        }
        drop(got);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_refused_or_counted_and_harms_no_call() {
    let gateway = Gateway::start(Options::default()).await;
    let healthy = Healthy::start(&gateway).await;
    media::is_dropped_and_counted(&gateway).await;
    healthy.check(&gateway).await;
    ng::is_refused_in_words(&gateway).await;
    healthy.check(&gateway).await;
    api::is_refused_in_words(&gateway, &healthy).await;
    healthy.check(&gateway).await;
    let ready = gateway
        .http
        .get(format!("{}/readyz", gateway.base))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
    assert_eq!(gateway.counted("tonewall_calls_failed_total").await, 0);
    assert_eq!(gateway.counted("tonewall_incidents_total").await, 0);
    let log = gateway.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(
        !log.contains(common::APPROVED),
        "the card number is in the log"
    );
}
