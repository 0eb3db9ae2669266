//! The stack logs whole messages; nobody may read that.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use super::*;
use crate::gateway::no_messages;

#[derive(Clone, Default)]
pub(super) struct Pages(Arc<Mutex<Vec<u8>>>);

impl io::Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pages {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Everything is logged that may be, until the guard is dropped.
pub(super) fn listen(pages: &Pages, silenced: bool) -> DefaultGuard {
    let writer = pages.clone();
    // What an operator could ask for at most.
    let filter = EnvFilter::new("trace,rsipstack=trace");
    let page = fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let registry = tracing_subscriber::registry().with(filter);
    let silence = silenced.then(no_messages);
    registry.with(silence).with(page).set_default()
}

/// A call with secrets in it, with everything logged that may be.
async fn logged(silenced: bool, ports: std::ops::RangeInclusive<u16>) -> String {
    let pages = Pages::default();
    let _guard = listen(&pages, silenced);
    let world = World::new(ports).await;
    let canary = "Authorization: Digest response=\"canary-auth\"\r\n";
    let crypto = sdp(4_000) + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:canary-sdes\r\n";
    world
        .trunk
        .send(&world.trunk.invite("log", canary, &crypto))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    world.pbx.answers(&invite, "200 OK", &sdp(6_000)).await;
    let taken = world.trunk.hear("SIP/2.0 200").await;
    world.pbx.hear("ACK ").await;
    let dialog = Dialog2::of_answer(&taken);
    world
        .trunk
        .send(&world.trunk.within("ACK", 1, &dialog, "", ("", "")))
        .await;
    let info = ("application/dtmf-relay", "Signal=5\r\nDuration=98765\r\n");
    world
        .trunk
        .send(&world.trunk.within("INFO", 2, &dialog, "", info))
        .await;
    world.pbx.hear("INFO ").await;
    world.trunk.send("canary-broken\r\n\r\n").await;
    tokio::time::sleep(QUIET).await;
    pages.text()
}

#[tokio::test]
async fn no_body_and_no_credential_is_logged_at_any_level() {
    let text = logged(true, 25_500..=25_519).await;
    assert!(text.contains("SIP call"), "control: something is logged");
    for secret in ["Signal=5", "98765", "canary"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn the_stack_would_log_them() {
    let text = logged(false, 25_520..=25_539).await;
    assert!(text.contains("98765") && text.contains("canary-auth"));
}
