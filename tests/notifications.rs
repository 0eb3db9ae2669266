//! What processors tell by themselves, at the real route of a real gateway: believed only with the processor's
//! signature, applied once, to what is open only, and never lost.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;
mod processors;
mod shop;

use std::{fs, time::Duration};

use axum::http::{HeaderMap, HeaderName};

use common::{
    APPROVED, CODE, EXPIRY, Ends, Gateway, How, Options,
    pay::{capture, complete, id, until},
    play,
};
use processors::{
    ADYEN_ACCOUNT, CHECKOUT_CHANNEL, CHECKOUT_PUBLIC_KEY, Fault, Kind, Processor as Simulator,
    Signed, Stage, Telling, notification_key, other_key,
};
use serde_json::{Value, json};
use shop::Shop;
use tonewall::{
    gateway::payments::{PaymentState, Taken},
    processor::{
        AdyenNotifications, CheckoutNotifications, Mode, ReadNotifications, Secret,
        StripeNotifications,
    },
    proto::payment::Notification,
};

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Stripe => "stripe",
        Kind::Adyen => "adyen",
        Kind::Checkout => "checkout-com",
        _ => panic!("it tells nothing"),
    }
}

/// A gateway that charges by the simulator, and knows the second of two keys that are being exchanged.
async fn start(simulator: &Simulator) -> Gateway {
    let kind = simulator.kind;
    let mut gateway = Gateway::start(Options::default()).await;
    gateway.signal("KILL");
    gateway.until_ended().await;
    let files = ["new", "old"].map(|name| gateway.folder.path().join(name));
    let unused = other_key(kind).replace(['0', 'a'], "1");
    for (file, key) in files.iter().zip([&unused, notification_key(kind)]) {
        fs::write(file, key).unwrap();
    }
    let more = match kind {
        Kind::Adyen => format!("merchant_account = {ADYEN_ACCOUNT:?}"),
        Kind::Checkout => format!(
            "public_key = {CHECKOUT_PUBLIC_KEY:?}\nprocessing_channel = {CHECKOUT_CHANNEL:?}"
        ),
        _ => String::new(),
    };
    let section = format!(
        "[processor]\nkind = {:?}\n{more}\nmode = \"test\"\nurl = {:?}\nkey_file = {:?}\nroots = {:?}\n\
         first_byte_timeout = \"4s\"\n[processor.notifications]\nkey_files = {files:?}\n",
        name(kind),
        simulator.url(),
        simulator.key_file(),
        simulator.roots(),
    );
    gateway.edit_config(|text| {
        let (before, _) = text.split_once("[processor]").unwrap();
        format!("{before}{section}")
    });
    gateway.restart().await;
    gateway
}

/// A payment whose card the caller has keyed.
async fn keyed(gateway: &Gateway, ends: &Ends, call: &str) -> String {
    keyed_for(gateway, ends, call, "charge").await
}

async fn keyed_for(gateway: &Gateway, ends: &Ends, call: &str, purpose: &str) -> String {
    let new = json!({
        "call": call, "amount": 1250, "currency": "EUR", "reference": "INV-1", "purpose": purpose,
    });
    let payment = gateway.post("/v1/payments", new).await;
    for field in [
        ("payment-card-number", APPROVED),
        ("expiration-date", EXPIRY),
        ("security-code", CODE),
    ] {
        let view = capture(gateway, ends, id(&payment), field, |_| How::Event).await;
        assert_eq!(view["status"], "complete", "{view}");
    }
    id(&payment).to_owned()
}

async fn view(gateway: &Gateway, payment: &str) -> Value {
    gateway.get(&format!("/v1/payments/{payment}")).await
}

/// Status and body.
async fn send(gateway: &Gateway, kind: Kind, signed: &Signed) -> (u16, String) {
    let url = format!("{}/notifications/{}", gateway.base, name(kind));
    let request = gateway.http.post(url).body(signed.body.clone());
    let request = match &signed.header {
        Some((name, value)) => request.header(*name, value),
        None => request.header("Content-Type", "application/json"),
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn accepted(gateway: &Gateway, simulator: &Simulator, told: &Telling) {
    let answer = send(gateway, simulator.kind, &simulator.signed(told)).await;
    assert_eq!(answer, (200, "[accepted]".to_owned()), "{told:?}");
}

async fn counted(gateway: &Gateway, kind: Kind, result: &str) -> u64 {
    let name = name(kind);
    let series =
        format!("tonewall_notifications_total{{processor=\"{name}\",result=\"{result}\"}}");
    gateway.counted(&series).await
}

/// Lines of a log: the tenant's, or the node's own.
fn log(gateway: &Gateway, tenant: Option<&str>) -> String {
    let data = gateway.data();
    let mut args = vec!["audit", "show", "--data-dir", data.to_str().unwrap()];
    args.extend(
        tenant
            .map(|tenant| ["--tenant", tenant])
            .into_iter()
            .flatten(),
    );
    gateway.command(&args).1
}

fn lines(log: &str, words: &[&str]) -> usize {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).count()
}

/// An unknown charge that stands at Adyen.
async fn lost(gateway: &Gateway, simulator: &Simulator, call: &str) -> (Ends, String) {
    let ends = play(gateway, call).await;
    let payment = keyed(gateway, &ends, call).await;
    simulator.will(Stage::Card, Fault::ResetAfter);
    let path = format!("/v1/payments/{payment}/complete");
    let unknown = gateway.post(&path, json!({})).await;
    assert_eq!(unknown["state"], "unknown", "{unknown}");
    (ends, payment)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_charge_ends_as_adyen_tells_and_as_nobody_else_does() {
    let simulator = Simulator::start(Kind::Adyen).await;
    let gateway = start(&simulator).await;
    let (_ends, payment) = lost(&gateway, &simulator, "lost").await;
    let told = simulator.of_charge("AUTHORISATION", true);

    let right = simulator.signed(&told);
    let changed = Signed {
        body: right.body.replace("1250", "1251"),
        ..right.clone()
    };
    let without = Signed {
        body: right.body.replace("hmacSignature", "signature"),
        ..right.clone()
    };
    let empty = Signed {
        body: String::new(),
        ..right.clone()
    };
    let by_another = simulator.sign(&told, other_key(Kind::Adyen));
    for forged in [by_another, changed, without, empty] {
        let (status, said) = send(&gateway, Kind::Adyen, &forged).await;
        assert!(
            status == 401 && said.contains("not-the-processor"),
            "{status} {said}"
        );
    }
    assert_eq!(view(&gateway, &payment).await["state"], "unknown");
    assert_eq!(counted(&gateway, Kind::Adyen, "forged").await, 4);
    let refused = lines(&log(&gateway, None), &["sign-in-refused", "notification"]);
    assert_eq!(refused, 4, "{}", log(&gateway, None));
    let elsewhere = send(&gateway, Kind::Stripe, &right).await;
    assert_eq!(elsewhere.0, 404, "{elsewhere:?}");

    // It is Adyen's, and not about this payment.
    let of_another = |change: fn(&mut Telling)| {
        let mut other = told.clone();
        change(&mut other);
        other
    };
    for other in [
        of_another(|told| told.account = "OtherShop".to_owned()),
        of_another(|told| told.reference = "att_01JD0000000000000000000000".to_owned()),
        of_another(|told| told.reference = "SHOP-17".to_owned()),
        of_another(|told| told.event = "REPORT_AVAILABLE"),
    ] {
        accepted(&gateway, &simulator, &other).await;
    }
    assert_eq!(counted(&gateway, Kind::Adyen, "not-ours").await, 4);
    // Part of the amount, say: a person has to look.
    for _ in 0..2 {
        let part = of_another(|told| told.amount = 1000);
        accepted(&gateway, &simulator, &part).await;
    }
    assert_eq!(counted(&gateway, Kind::Adyen, "contradicts").await, 2);
    let tenant = log(&gateway, Some("default"));
    let words = ["processor-notification", "AUTHORISATION", &payment, "1000"];
    assert_eq!(lines(&tenant, &words), 1, "once: {tenant}");
    assert_eq!(view(&gateway, &payment).await["state"], "unknown");

    accepted(&gateway, &simulator, &told).await;
    // What was accepted is true at once.
    let known = view(&gateway, &payment).await;
    assert_eq!(known["state"], "approved", "{known}");
    assert_eq!(
        known["outcome"]["processor_reference"],
        told.own.as_str(),
        "{known}"
    );
    for _ in 0..2 {
        accepted(&gateway, &simulator, &told).await;
    }
    let refused = simulator.of_charge("AUTHORISATION", false);
    accepted(&gateway, &simulator, &refused).await;
    assert_eq!(view(&gateway, &payment).await["outcome"], known["outcome"]);
    for (result, times) in [("concluded", 1), ("known", 2), ("contradicts", 3)] {
        assert_eq!(
            counted(&gateway, Kind::Adyen, result).await,
            times,
            "{result}"
        );
    }
    let tenant = log(&gateway, Some("default"));
    assert_eq!(
        lines(&tenant, &["charge-result", "approved"]),
        1,
        "{tenant}"
    );
    let against = ["processor-notification", "(Refused)", &payment];
    assert_eq!(lines(&tenant, &against), 1, "{tenant}");

    // Another one was refused, as it turns out.
    let (_ends, payment) = lost(&gateway, &simulator, "refused").await;
    let told = simulator.of_charge("AUTHORISATION", false);
    accepted(&gateway, &simulator, &told).await;
    let ended = view(&gateway, &payment).await;
    let outcome = (&ended["state"], &ended["outcome"]["code"]);
    assert_eq!(outcome, (&json!("declined"), &json!("Refused")), "{ended}");
    assert_eq!(simulator.state().violations, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_adyen_tells_of_refunds_is_applied_once_also_after_a_crash() {
    let simulator = Simulator::start(Kind::Adyen).await;
    let mut gateway = start(&simulator).await;
    let ends = play(&gateway, "paid").await;
    let payment = keyed(&gateway, &ends, "paid").await;
    let approved = complete(&gateway, &payment).await;
    assert_eq!(approved["state"], "approved", "{approved}");
    let refund = async |gateway: &Gateway, amount: u64| {
        let path = format!("/v1/payments/{payment}/refund");
        let view = gateway.post(&path, json!({ "amount": amount })).await;
        let last = view["operations"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert_eq!(last["state"], "pending", "{view}");
    };
    let balance = async |gateway: &Gateway| {
        let view = view(gateway, &payment).await;
        let amount = |name: &str| view["balance"][name].as_u64().unwrap();
        (amount("refunded_minor"), amount("refunding_minor"))
    };
    refund(&gateway, 250).await;
    let told = simulator.of_operation("REFUND", true);
    gateway.kill();
    gateway.restart().await;
    assert_eq!(balance(&gateway).await, (0, 250));
    accepted(&gateway, &simulator, &told).await;
    assert_eq!(balance(&gateway).await, (250, 0));
    gateway.kill();
    gateway.restart().await;
    accepted(&gateway, &simulator, &told).await;
    assert_eq!(balance(&gateway).await, (250, 0), "told twice");
    assert_eq!(counted(&gateway, Kind::Adyen, "known").await, 1);
    let tenant = log(&gateway, Some("default"));
    assert_eq!(
        lines(&tenant, &["operation-result", "approved"]),
        1,
        "{tenant}"
    );

    // The charge's reference in the place of the refund's: known by Adyen's own.
    refund(&gateway, 300).await;
    let charge = simulator.of_charge("REFUND", true).reference;
    let by_charge = Telling {
        reference: charge,
        ..simulator.of_operation("REFUND", true)
    };
    let unknown = Telling {
        own: "OP6HT9CRT65ZGN77".to_owned(),
        ..by_charge.clone()
    };
    accepted(&gateway, &simulator, &unknown).await;
    assert_eq!(
        balance(&gateway).await,
        (250, 300),
        "made in Adyen's portal"
    );
    accepted(&gateway, &simulator, &by_charge).await;
    assert_eq!(balance(&gateway).await, (550, 0));

    // One that was refused, and one that fails after it was done.
    refund(&gateway, 100).await;
    let refused = simulator.of_operation("REFUND", false);
    accepted(&gateway, &simulator, &refused).await;
    assert_eq!(balance(&gateway).await, (550, 0));
    let failed = Telling {
        event: "REFUND_FAILED",
        ..by_charge
    };
    for _ in 0..2 {
        accepted(&gateway, &simulator, &failed).await;
    }
    assert_eq!(balance(&gateway).await, (550, 0));
    let tenant = log(&gateway, Some("default"));
    let against = ["processor-notification", "REFUND_FAILED", &payment];
    assert_eq!(lines(&tenant, &against), 1, "{tenant}");
    gateway.until_log("contradicts what is known").await;
    // That a charge that settles itself was not settled is told of the charge.
    let uncaptured = simulator.of_charge("CAPTURE_FAILED", true);
    accepted(&gateway, &simulator, &uncaptured).await;
    let against = ["processor-notification", "CAPTURE_FAILED", &payment];
    assert_eq!(lines(&log(&gateway, Some("default")), &against), 1);
    assert_eq!(simulator.state().violations, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_is_settled_and_voided_when_adyen_says_so() {
    let simulator = Simulator::start(Kind::Adyen).await;
    let gateway = start(&simulator).await;
    for (what, event, standing) in [
        ("settle", "CAPTURE", "settled"),
        ("void", "CANCELLATION", "voided"),
    ] {
        let ends = play(&gateway, what).await;
        let payment = keyed_for(&gateway, &ends, what, "authorise").await;
        assert_eq!(complete(&gateway, &payment).await["state"], "approved");
        let asked = gateway
            .post(&format!("/v1/payments/{payment}/{what}"), json!({}))
            .await;
        assert_eq!(asked["balance"]["standing"], "authorised", "{asked}");
        assert_eq!(asked["balance"]["open"], what, "{asked}");
        // It cannot be both.
        let other = if what == "settle" {
            "CANCELLATION"
        } else {
            "CAPTURE"
        };
        let other = simulator.of_operation(other, true);
        accepted(&gateway, &simulator, &other).await;
        assert_eq!(view(&gateway, &payment).await["balance"]["open"], what);
        let told = simulator.of_operation(event, true);
        accepted(&gateway, &simulator, &told).await;
        let done = view(&gateway, &payment).await;
        assert_eq!(done["balance"]["standing"], standing, "{done}");
        assert_eq!(done["balance"]["open"], Value::Null, "{done}");
        if what == "settle" {
            let failed = simulator.of_operation("CAPTURE_FAILED", true);
            accepted(&gateway, &simulator, &failed).await;
            assert_eq!(view(&gateway, &payment).await["balance"], done["balance"]);
            let against = ["processor-notification", "CAPTURE_FAILED", &payment];
            assert_eq!(lines(&log(&gateway, Some("default")), &against), 1);
        }
    }
    assert_eq!(simulator.state().violations, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_the_answer_is_kept_also_where_the_gateway_dies_before_it() {
    let simulator = Simulator::start(Kind::Adyen).await;
    let mut gateway = start(&simulator).await;
    for dies in [false, true] {
        let call = if dies { "dies" } else { "lives" };
        let ends = play(&gateway, call).await;
        let payment = keyed(&gateway, &ends, call).await;
        simulator.will(Stage::Card, Fault::Hang);
        let charged = simulator.state().ledger.len();
        let complete = {
            let url = format!("{}/v1/payments/{payment}/complete", gateway.base);
            let request = gateway.http.post(url).bearer_auth(&gateway.secret);
            tokio::spawn(request.json(&json!({})).send())
        };
        while simulator.state().ledger.len() == charged {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let told = simulator.of_charge("AUTHORISATION", true);
        for _ in 0..2 {
            accepted(&gateway, &simulator, &told).await;
        }
        assert_eq!(view(&gateway, &payment).await["state"], "submitting");
        if dies {
            gateway.kill();
            gateway.restart().await;
        }
        let view = until(&gateway, &payment, |view| view["state"] == "approved").await;
        assert_eq!(
            view["outcome"]["processor_reference"],
            told.own.as_str(),
            "{view}"
        );
        let tenant = log(&gateway, Some("default"));
        assert_eq!(lines(&tenant, &["charge-result", &payment]), 1, "{tenant}");
        complete.abort();
    }
    assert_eq!(simulator.state().violations, Vec::<String>::new());
}

/// What Stripe and Checkout.com tell is looked up too, so it is known already, or against what is known.
async fn is_believed_and_changes_nothing_that_has_ended(
    kind: Kind,
    approved: &'static str,
    declined: &'static str,
) {
    let simulator = Simulator::start(kind).await;
    let gateway = start(&simulator).await;
    let ends = play(&gateway, "paid").await;
    let payment = keyed(&gateway, &ends, "paid").await;
    let ended = complete(&gateway, &payment).await;
    assert_eq!(ended["state"], "approved", "{ended}");
    let told = simulator.of_charge(approved, true);
    let forged = simulator.sign(&told, other_key(kind));
    assert_eq!(send(&gateway, kind, &forged).await.0, 401);
    accepted(&gateway, &simulator, &told).await;
    accepted(&gateway, &simulator, &simulator.of_charge(declined, false)).await;
    for result in ["forged", "known", "contradicts"] {
        assert_eq!(counted(&gateway, kind, result).await, 1, "{result}");
    }
    assert_eq!(view(&gateway, &payment).await["outcome"], ended["outcome"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_tells_is_believed_and_changes_nothing_that_has_ended() {
    let (approved, declined) = ("payment_intent.succeeded", "payment_intent.payment_failed");
    is_believed_and_changes_nothing_that_has_ended(Kind::Stripe, approved, declined).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_checkout_com_tells_is_believed_and_changes_nothing_that_has_ended() {
    let (approved, declined) = ("payment_approved", "payment_declined");
    is_believed_and_changes_nothing_that_has_ended(Kind::Checkout, approved, declined).await;
}

/// What the gateway's reader makes of it.
fn read(simulator: &Simulator, told: &Telling) -> Notification {
    let keys = [Secret::new(notification_key(simulator.kind)).unwrap()];
    let reader: Box<dyn ReadNotifications> = match simulator.kind {
        Kind::Adyen => {
            let account = ADYEN_ACCOUNT.to_owned();
            Box::new(
                AdyenNotifications::new(&keys, account, Mode::Test).unwrap_or_else(|_| panic!()),
            )
        }
        Kind::Stripe => {
            Box::new(StripeNotifications::new(&keys, Mode::Test).unwrap_or_else(|_| panic!()))
        }
        _ => Box::new(CheckoutNotifications::new(&keys).unwrap_or_else(|_| panic!())),
    };
    let signed = simulator.signed(told);
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = signed.header {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    let read = reader.read(&headers, signed.body.as_bytes(), jiff::Timestamp::now());
    read.unwrap().pop().unwrap().unwrap()
}

/// Journal, log, view, what merchants are told and the processor's books agree, and nothing is told twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_and_look_ups_beside_them_conclude_a_charge_once() {
    for (kind, stage, event) in [
        (Kind::Adyen, Stage::Card, "AUTHORISATION"),
        (Kind::Stripe, Stage::Token, "payment_intent.succeeded"),
        (Kind::Checkout, Stage::Token, "payment_approved"),
    ] {
        let shop = Shop::new(kind).await;
        for round in 0..4_u64 {
            shop.simulator.will(stage, Fault::ResetAfter);
            let paid = shop.pay(&format!("c{round}")).await;
            assert_eq!(paid.state, PaymentState::Unknown, "{kind:?}");
            let told = read(&shop.simulator, &shop.simulator.of_charge(event, true));
            // The first look-up comes after a second: before it, and in its moment.
            tokio::time::sleep(Duration::from_millis(round * 330)).await;
            let sent = (0..8).map(|_| shop.payments.notified(told.clone()));
            let taken = shop::join_all(sent).await;
            let taken: Vec<_> = taken.into_iter().map(Result::unwrap).collect();
            let concluded = taken.iter().filter(|one| **one == Taken::Concluded);
            assert!(concluded.count() <= 1, "{kind:?}: {taken:?}");
            let known = |one: &Taken| matches!(one, Taken::Concluded | Taken::Known);
            assert!(taken.iter().all(known), "{kind:?}: {taken:?}");
            assert_eq!(shop.view(&paid.id).await.state, PaymentState::Approved);
            shop.agree(&paid.id).await;
            let log = shop::log(shop.data.path());
            assert_eq!(
                lines(&log, &["charge-result", &paid.id.to_string()]),
                1,
                "{log}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_none_stops_the_start_and_without_one_nothing_is_expected() {
    let simulator = Simulator::start(Kind::Adyen).await;
    let mut gateway = start(&simulator).await;
    gateway.kill();
    fs::write(gateway.folder.path().join("new"), "whsec_of_another_kind").unwrap();
    let config = gateway.config();
    let check = ["check", "--config", config.to_str().unwrap()];
    let (fine, said) = gateway.command(&check);
    assert!(
        !fine && said.contains("processor.notifications.key_files"),
        "{said}"
    );
    assert!(
        said.contains("64 hexadecimal") && !said.contains("another_kind"),
        "{said}"
    );
    gateway.edit_config(|text| {
        let (before, _) = text.split_once("[processor.notifications]").unwrap();
        before.to_owned()
    });
    let (fine, said) = gateway.command(&check);
    assert!(
        !fine && said.contains("[processor.notifications]"),
        "{said}"
    );
    gateway.edit_config(|text| text.replace("mode = ", "manual_reconcile = true\nmode = "));
    gateway.restart().await;
    let nothing = Signed {
        header: None,
        body: String::new(),
    };
    assert_eq!(send(&gateway, Kind::Adyen, &nothing).await.0, 404);
}
