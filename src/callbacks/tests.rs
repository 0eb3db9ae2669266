//! What names lead to, with look-ups of our own making; whole deliveries are in `tests/callbacks.rs`.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::dns::Resolve;
use tokio::net::TcpListener;

use super::{resolver::Guarded, *};
use crate::{journal::CallbackRow, proto::callback::Answer};

/// A look-up that answers with these lists of addresses in turn, the last for ever, and counts.
fn answers(lists: &[&str]) -> (LookUp, Arc<AtomicUsize>) {
    let lists: Vec<Vec<IpAddr>> = lists
        .iter()
        .map(|list| {
            list.split_whitespace()
                .map(|a| a.parse().unwrap())
                .collect()
        })
        .collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let look_up: LookUp = Arc::new(move |_name| {
        let nth = counted.fetch_add(1, Ordering::SeqCst).min(lists.len() - 1);
        let found = lists[nth].clone();
        Box::pin(async move { Ok(found) })
    });
    (look_up, asked)
}

async fn resolved(look_up: LookUp, allow_private: bool) -> Result<Vec<String>, String> {
    let guarded = Guarded {
        look_up,
        allow_private,
    };
    match guarded.resolve("crm.example.com".parse().unwrap()).await {
        Ok(addresses) => Ok(addresses.map(|one| one.ip().to_string()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn of_what_a_name_leads_to_only_public_addresses_are_left() {
    for private in [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "::ffff:192.168.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
    ] {
        let error = resolved(answers(&[private]).0, false).await.unwrap_err();
        assert!(error.contains("no public address"), "{private}: {error}");
        let mixed = format!("{private} 1.1.1.1 2606:4700::1111");
        let left = resolved(answers(&[&mixed]).0, false).await.unwrap();
        assert_eq!(left, ["1.1.1.1", "2606:4700::1111"], "{private}");
        let allowed = resolved(answers(&[private]).0, true).await.unwrap();
        assert_eq!(allowed.len(), 1, "{private}");
    }
    for nobody in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
        assert!(
            resolved(answers(&[nobody]).0, true).await.is_err(),
            "{nobody}"
        );
    }
}

fn endpoint(folder: &std::path::Path, url: String) -> Endpoint {
    let secret = folder.join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    Endpoint {
        name: "crm".parse().unwrap(),
        target: url.try_into().unwrap(),
        secrets: SecretFiles {
            current: secret,
            previous: None,
        },
        events: CallbackEvent::ALL.into(),
        allow_private: false,
        trust: Trust::default(),
    }
}

fn row() -> CallbackRow {
    CallbackRow {
        id: "msg_acme_n1_00000000010000000000000001".parse().unwrap(),
        endpoint: "crm".parse().unwrap(),
        payment: "pay_acme_n1_00000000010000000000000001".parse().unwrap(),
        event: CallbackEvent::Approved,
        body: "{}".to_owned(),
        state: crate::journal::CallbackState::Waiting,
        tries: 0,
        due: Timestamp::UNIX_EPOCH,
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
        problem: None,
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_later_is_judged_at_each_connection_and_never_reached() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let (look_up, asked) = answers(&["10.0.0.1", "127.0.0.1", "127.0.0.1 ::1"]);
    let patience = Patience {
        connect: Duration::from_millis(200),
        whole: Duration::from_millis(400),
    };
    let endpoint = endpoint(
        folder.path(),
        format!("http://rebinding.example.com:{port}/"),
    );
    let sender = Sender::new(&endpoint, patience, look_up).ok().unwrap();
    for time in 1..=3 {
        let (answer, problem) = sender.post(&row(), Timestamp::now()).await;
        assert_eq!(answer, Answer::Nothing);
        assert!(problem.contains("no public address"), "{problem}");
        assert_eq!(asked.load(Ordering::SeqCst), time, "judged each time");
    }
    let reached = tokio::time::timeout(Duration::from_millis(100), inside.accept()).await;
    assert!(reached.is_err(), "something has connected");

    // A control: where it is allowed, what was judged is what is connected to, for no other look-up
    // knows this name.
    let allowed = Endpoint {
        allow_private: true,
        ..endpoint
    };
    let (look_up, asked) = answers(&["127.0.0.1"]);
    let sender = Sender::new(&allowed, patience, look_up).ok().unwrap();
    let row = row();
    let (reached, _) = tokio::join!(inside.accept(), sender.post(&row, Timestamp::now()));
    assert!(reached.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_address_inside_is_refused_before_there_is_a_client_for_it() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["https://127.1:8443/", "https://[::ffff:10.0.0.1]/"] {
        let endpoint = endpoint(folder.path(), url.to_owned());
        let refused = Sender::new(&endpoint, Patience::default(), of_the_system());
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("no public address"), "{url}: {error}");
        let allowed = Endpoint {
            allow_private: true,
            ..endpoint
        };
        assert!(Sender::new(&allowed, Patience::default(), of_the_system()).is_ok());
    }
}
