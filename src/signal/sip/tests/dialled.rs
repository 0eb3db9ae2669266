//! The code that an agent dials by INFO.

use std::time::Instant;

use super::*;
use crate::proto::call::{CodeRefusal, Dialled};

const RELAY: &str = "application/dtmf-relay";

impl World {
    /// Has the call wait for the code `*77#`.
    fn awaits(&self, call_id: &str) {
        let id = self.view(call_id).unwrap().id;
        let port: &dyn crate::signal::MediaPort = &*self.house.media;
        port.send(&id, MediaCommand::AwaitCode(true)).unwrap();
    }

    fn dialled(&self) -> Vec<Dialled> {
        self.house.media.dialled.lock().unwrap().clone()
    }
}

impl Phone {
    /// Tells keys by INFO, each once the one before is answered.
    async fn dials(&self, dialog: &Dialog2, first: u32, keys: &str) {
        for (number, key) in (first..).zip(keys.chars()) {
            let told = format!("Signal={key}\r\nDuration=160\r\n");
            let info = self.within("INFO", number, dialog, "", (RELAY, &told));
            for _ in 0..2 {
                // The network may repeat it.
                self.send(&info).await;
                self.hear("SIP/2.0 200").await;
            }
        }
    }

    /// The keys that come by INFO, each of which is taken.
    async fn hears_keys(&self, expected: &str) {
        for key in expected.chars() {
            let info = self.hear("INFO ").await;
            assert_eq!(
                body(&info),
                format!("Signal={key}\r\nDuration=160\r\n"),
                "{expected}"
            );
            assert_eq!(header(&info, "Content-Type"), RELAY);
            self.answers(&info, "200 OK", "").await;
        }
        self.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_code_by_info_starts_the_payment_and_the_caller_hears_nothing_of_it() {
    let world = World::new(27_200..=27_219).await;
    let (_, agent) = world.call("code").await;
    world.awaits("code");
    world.pbx.dials(&agent, 1, "*77#").await;
    assert_eq!(world.dialled(), [Dialled::Code]);
    world.pbx.dials(&agent, 5, "*77*1999#").await;
    assert_eq!(world.dialled(), [Dialled::Code, Dialled::Amount(1_999)]);
    world.trunk.hears_nothing().await;
    // A key before it that is none of it passes.
    world.pbx.dials(&agent, 14, "**77#").await;
    assert_eq!(world.dialled().len(), 3);
    world.trunk.hears_keys("*").await;
}

#[tokio::test]
async fn keys_by_info_that_are_no_code_reach_the_caller_in_their_order() {
    let world = World::new(27_220..=27_239).await;
    let (_, agent) = world.call("none").await;
    world.awaits("none");
    world.pbx.dials(&agent, 1, "*7").await;
    world.trunk.hears_nothing().await;
    // The last one is answered by the caller's end itself.
    let told = "Signal=5\r\nDuration=160\r\n";
    let last = world.pbx.within("INFO", 3, &agent, "", (RELAY, told));
    world.pbx.send(&last).await;
    world.trunk.hears_keys("*75").await;
    world.pbx.hear("SIP/2.0 200").await;
    // Who stops dialling has dialled no code.
    world.pbx.dials(&agent, 4, "*77").await;
    world.trunk.hears_nothing().await;
    let entry = world.server.ua.dialogs.find("none").unwrap();
    let later = Instant::now() + Duration::from_secs(4);
    entry.events.send(bridge::Event::Time(later)).await.unwrap();
    world.trunk.hears_keys("*77").await;
    assert_eq!(world.dialled(), []);
    // What holds no key passes as ever.
    let other = world
        .pbx
        .within("INFO", 7, &agent, "", ("text/plain", "*77#"));
    world.pbx.send(&other).await;
    assert_eq!(body(&world.trunk.hear("INFO ").await), "*77#");
}

#[tokio::test]
async fn what_may_be_a_pin_by_info_never_reaches_the_caller() {
    let world = World::new(27_650..=27_669).await;
    let (_, agent) = world.call("pin").await;
    *world.house.media.pin.lock().unwrap() = Some("2846");
    world.awaits("pin");
    world.pbx.dials(&agent, 1, "*77*2846#").await;
    let wrong = Dialled::Refused(CodeRefusal::WrongPin);
    assert_eq!(world.dialled(), [Dialled::Code]);
    world.pbx.dials(&agent, 10, "*77*1999*2847#").await;
    assert_eq!(world.dialled(), [Dialled::Code, wrong]);
    // It does not end, and time does not pass it on either.
    world.pbx.dials(&agent, 24, "*77*28").await;
    let entry = world.server.ua.dialogs.find("pin").unwrap();
    let later = Instant::now() + Duration::from_secs(4);
    entry.events.send(bridge::Event::Time(later)).await.unwrap();
    world.trunk.hears_nothing().await;
    // Nor where the call cannot be asked what a key is.
    world.house.media.deaf.store(true, Ordering::SeqCst);
    world.pbx.dials(&agent, 30, "46").await;
    world.trunk.hears_nothing().await;
    assert_eq!(world.dialled().len(), 2);
}

#[tokio::test]
async fn a_caller_who_dials_the_code_by_info_starts_nothing() {
    let world = World::new(27_240..=27_259).await;
    let (caller, _) = world.call("theirs").await;
    world.awaits("theirs");
    for (number, key) in (2..).zip("*77#".chars()) {
        let told = format!("Signal={key}\r\nDuration=160\r\n");
        let info = world
            .trunk
            .within("INFO", number, &caller, "", (RELAY, &told));
        world.trunk.send(&info).await;
        let ours = world.pbx.hear("INFO ").await;
        assert_eq!(body(&ours), told);
        world.pbx.answers(&ours, "200 OK", "").await;
        world.trunk.hear("SIP/2.0 200").await;
    }
    assert_eq!(world.dialled(), []);
}

#[tokio::test]
async fn keys_that_wait_end_with_their_call() {
    let world = World::new(27_260..=27_279).await;
    let (caller, agent) = world.call("ends").await;
    world.awaits("ends");
    world.pbx.dials(&agent, 1, "*77").await;
    world
        .trunk
        .send(&world.trunk.within("BYE", 2, &caller, "", ("", "")))
        .await;
    world.trunk.hear("SIP/2.0 200").await;
    let bye = world.pbx.hear("BYE ").await;
    world.pbx.answers(&bye, "200 OK", "").await;
    world.trunk.hears_nothing().await;
    world.is_empty().await;
    assert_eq!(world.dialled(), []);
}

#[tokio::test]
async fn a_key_before_the_caller_is_there_is_not_taken() {
    let world = World::new(27_610..=27_629).await;
    let sent = world.pbx.invite("early", "", &sdp(4_000));
    world.pbx.send(&sent).await;
    let invite = world.trunk.hear("INVITE ").await;
    world.awaits("early");
    world.trunk.answers(&invite, "180 Ringing", "").await;
    let agent = Dialog2::of_answer(&world.pbx.hear("SIP/2.0 180").await);
    let key = (RELAY, "Signal=*\r\n");
    world
        .pbx
        .send(&world.pbx.within("INFO", 2, &agent, "", key))
        .await;
    world.pbx.hear("SIP/2.0 480").await;
    world.trunk.hears_nothing().await;
}
