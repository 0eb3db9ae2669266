//! Whether the peers are there: each is asked by OPTIONS from time to time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rsipstack::{
    sip::{Method, Scheme, Uri},
    transport::SipAddr,
};
use tokio::{sync::mpsc, time::timeout};
use tracing::{info, warn};

use super::{
    Ua,
    bridge::Event,
    transactions::{Told, Way, branch, send, tag},
};
use crate::proto::sip::{Dialog, field};

/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a peer answered when it was last asked.
pub(super) struct Presence(AtomicBool);

impl Default for Presence {
    /// A peer that was not asked yet is taken for there.
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Presence {
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asks the peers until the process ends.
pub(super) fn watch(ua: &Arc<Ua>) {
    for (place, peer) in ua.settings.peers.iter().enumerate() {
        if !peer.keepalive.is_zero() {
            tokio::spawn(ask(Arc::clone(ua), place));
        }
    }
}

async fn ask(ua: Arc<Ua>, place: usize) {
    let (Some(peer), Some(presence), Some(connection)) = (
        ua.settings.peers.get(place),
        ua.presence.get(place),
        ua.connections.get(place),
    ) else {
        return;
    };
    loop {
        let home = ua.home(peer);
        let (here, there) = (
            format!("<sip:{}>", home.host),
            format!("<sip:{}>", peer.address),
        );
        let target = Uri {
            scheme: Some(Scheme::Sip),
            host_with_port: peer.address.into(),
            ..Uri::default()
        };
        let call_id = format!("{}@{}", tag(), home.host.host);
        let mut asking = Dialog::calling((&here, &there), target, call_id, &tag(), home);
        let mut options = asking.request(Method::Options, &branch());
        options.headers.push(field("Accept", "application/sdp"));
        let way = Way {
            connection: connection.clone(),
            destination: SipAddr::new(peer.transport.into(), peer.address.into()),
        };
        let (events, mut told) = mpsc::channel(4);
        send(&ua.endpoint, options, &way, None, 0, events);
        // Any answer but our own stack's for none at all: some refuse OPTIONS, and are there.
        let answered = timeout(PATIENCE, async {
            while let Some(event) = told.recv().await {
                if let Event::Client {
                    told: Told::Response(response),
                    ..
                } = event
                {
                    return !matches!(response.status_code.code(), 408 | 503);
                }
            }
            false
        });
        let there = answered.await.unwrap_or(false);
        let name = peer.name.as_str();
        match (presence.0.swap(there, Ordering::Relaxed), there) {
            (true, false) => warn!(peer = name, "the SIP peer does not answer"),
            (false, true) => info!(peer = name, "the SIP peer answers again"),
            _ => {}
        }
        tokio::time::sleep(peer.keepalive).await;
    }
}
