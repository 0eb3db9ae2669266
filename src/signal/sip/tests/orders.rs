//! Payments that the agent's end starts with a header field.

use std::sync::Mutex;

use tokio::sync::watch;

use super::*;
use crate::{
    proto::{
        audit::{Event as Recorded, Success},
        id::{CallId, PaymentId},
        ng::{Dict, PaymentOrder},
    },
    signal::{BoxFuture, Known, PaymentPort},
};

const ORDER: &str = "Tonewall-Payment: start;amount=1999;currency=EUR;reference=INV-7\r\n";
const ID: &str = "pay_acme_node-1_01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// Takes every payment, or refuses each for one reason.
pub(super) struct FakePayments {
    begun: Mutex<Vec<(CallId, PaymentOrder, SocketAddr)>>,
    refuses: Mutex<Option<&'static str>>,
    state: watch::Sender<&'static str>,
}

impl Default for FakePayments {
    fn default() -> Self {
        Self {
            begun: Mutex::default(),
            refuses: Mutex::default(),
            state: watch::Sender::new("open"),
        }
    }
}

fn standing(payment: &PaymentId, state: &str) -> Dict {
    Dict::new()
        .with("id", payment.to_string())
        .with("state", state)
        .with("reference", "INV-7")
        .with("last4", "4242")
}

impl PaymentPort for FakePayments {
    fn begin(
        &self,
        call: CallId,
        order: PaymentOrder,
        peer: SocketAddr,
    ) -> BoxFuture<'_, Result<PaymentId, String>> {
        let refused = *self.refuses.lock().unwrap();
        let begun = refused.map_or_else(|| Ok(ID.parse().unwrap()), |why| Err(why.to_owned()));
        if begun.is_ok() {
            self.begun.lock().unwrap().push((call, order, peer));
        }
        Box::pin(std::future::ready(begun))
    }

    fn result(&self, payment: PaymentId) -> BoxFuture<'_, Option<Dict>> {
        let state = *self.state.borrow();
        Box::pin(std::future::ready(Some(standing(&payment, state))))
    }

    fn outcome(
        &self,
        payment: PaymentId,
        known: Option<Known>,
    ) -> BoxFuture<'_, Option<(Known, Dict)>> {
        let mut state = self.state.subscribe();
        Box::pin(async move {
            let known_state = known.map(|known| known.state);
            let is_news = |state: &&'static str| *state != "open" && known_state != Some(*state);
            let state = *state.wait_for(is_news).await.ok()?;
            Some((Known { state, attempts: 1 }, standing(&payment, state)))
        })
    }
}

impl World {
    fn begun(&self) -> usize {
        self.payments.begun.lock().unwrap().len()
    }

    /// What the agent's end is answered on an INFO with these fields.
    async fn order(&self, agent: &Dialog2, number: u32, fields: &str) -> String {
        let info = self.pbx.within("INFO", number, agent, fields, ("", ""));
        self.pbx.send(&info).await;
        self.pbx.hear("SIP/2.0 ").await
    }

    fn refusals(&self) -> Vec<String> {
        let records = self.house.audit.0.lock().unwrap();
        let refused = records.iter().filter_map(|record| match &record.event {
            Recorded::AccessRefused { action, reason } if action.starts_with("sip payment") => {
                assert_eq!(record.success, Success::Failure);
                Some(reason.clone())
            }
            _ => None,
        });
        refused.collect()
    }
}

#[tokio::test]
async fn an_info_of_the_agents_end_starts_one_payment_and_goes_no_further() {
    let world = World::new(27_000..=27_019).await;
    let (_, agent) = world.call("info").await;
    let info = world
        .pbx
        .within("INFO", 1, &agent, ORDER, ("text/plain", "x"));
    for _ in 0..3 {
        // The network may repeat it.
        world.pbx.send(&info).await;
        let answer = world.pbx.hear("SIP/2.0 200").await;
        let result = header(&answer, "Tonewall-Result");
        assert_eq!(result, format!("started;payment={ID}"));
    }
    world.trunk.hears_nothing().await;
    let begun = world.payments.begun.lock().unwrap().clone();
    let [(call, order, peer)] = &begun[..] else {
        panic!("{begun:?}");
    };
    assert_eq!(*call, world.view("info").unwrap().id);
    assert_eq!(*peer, world.pbx.address);
    assert_eq!((order.amount_minor, &*order.currency), (1_999, "EUR"));
    assert_eq!((&*order.reference, &order.description), ("INV-7", &None));

    let asked = world.order(&agent, 2, "tonewall-PAYMENT: status\r\n").await;
    let result = header(&asked, "Tonewall-Result").to_owned();
    assert_eq!(result, format!("open;payment={ID};last4=4242"));
    // An old number is none of this dialog's turn, whatever it asks for.
    let late = world.order(&agent, 1, ORDER).await;
    assert!(
        late.starts_with("SIP/2.0 200"),
        "its transaction answers: {late}"
    );
    let late = world.pbx.within("INFO", 1, &agent, ORDER, ("", ""));
    let late = late.replace("z9hG4bK-INFO1", "z9hG4bK-another");
    world.pbx.send(&late).await;
    assert!(!has(
        &world.pbx.hear("SIP/2.0 500").await,
        "Tonewall-Result"
    ));
    assert_eq!(world.begun(), 1);
}

#[tokio::test]
async fn what_becomes_of_the_payment_is_told_within_the_dialog_and_as_it_ends() {
    let world = World::new(27_020..=27_039).await;
    let (caller, agent) = world.call("told").await;
    world.order(&agent, 1, ORDER).await;
    for state in ["declined", "approved"] {
        world.payments.state.send_replace(state);
        let info = world.pbx.hear("INFO ").await;
        let told = header(&info, "Tonewall-Result");
        assert_eq!(told, format!("{state};payment={ID};last4=4242"));
        assert!(
            !has(&info, "Info-Package") && body(&info).is_empty(),
            "{info}"
        );
        assert_eq!(header(&info, "Call-ID"), agent.call_id);
        // An end that cannot do anything with it has told so, and that is all.
        world.pbx.answers(&info, "501 Not Implemented", "").await;
    }
    world.trunk.hears_nothing().await;
    let bye = world.trunk.within("BYE", 2, &caller, "", ("", ""));
    world.trunk.send(&bye).await;
    world.trunk.hear("SIP/2.0 200").await;
    let bye = world.pbx.hear("BYE ").await;
    let told = header(&bye, "Tonewall-Result");
    assert_eq!(told, format!("approved;payment={ID};last4=4242"));
    world.pbx.answers(&bye, "200 OK", "").await;
    world.is_empty().await;
    world.payments.state.send_replace("failed");
    world.pbx.hears_nothing().await;
}

#[tokio::test]
async fn an_invite_of_the_agents_end_starts_a_payment_once_it_is_taken() {
    let world = World::new(27_040..=27_059).await;
    // The agent calls out.
    world
        .pbx
        .send(&world.pbx.invite("out", ORDER, &sdp(4_000)))
        .await;
    let invite = world.trunk.hear("INVITE ").await;
    assert!(!has(&invite, "Tonewall-Payment"), "{invite}");
    world.trunk.answers(&invite, "180 Ringing", "").await;
    assert!(!has(
        &world.pbx.hear("SIP/2.0 180").await,
        "Tonewall-Result"
    ));
    assert_eq!(world.begun(), 0);
    world.trunk.answers(&invite, "200 OK", &sdp(6_000)).await;
    let taken = world.pbx.hear("SIP/2.0 200").await;
    assert_eq!(
        header(&taken, "Tonewall-Result"),
        format!("started;payment={ID}")
    );
    assert_eq!(world.begun(), 1);
    // A second answer of a fork starts no second one.
    let other = world.trunk.answer(&invite, "200 OK", "", &sdp(6_002));
    world
        .trunk
        .send(&other.replace(";tag=answered", ";tag=other"))
        .await;
    world.trunk.hear("ACK ").await;
    let agent = Dialog2::of_answer(&taken);
    world
        .pbx
        .send(&world.pbx.within("ACK", 1, &agent, "", ("", "")))
        .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(world.begun(), 1);
}

#[tokio::test]
async fn an_offer_within_the_call_starts_a_payment_where_it_is_taken_and_only_there() {
    let world = World::new(27_060..=27_079).await;
    let (_, agent) = world.call("again").await;
    for (number, status, result) in [
        (1, "488 Not Acceptable Here", "refused;reason="),
        (2, "200 OK", "started;payment="),
    ] {
        let description = sdp(6_010);
        let body_of = ("application/sdp", &*description);
        let again = world.pbx.within("INVITE", number, &agent, ORDER, body_of);
        world.pbx.send(&again).await;
        let ours = world.trunk.hear("INVITE ").await;
        assert!(!has(&ours, "Tonewall-Payment"), "{ours}");
        let description = if number == 1 {
            String::new()
        } else {
            sdp(4_000)
        };
        world.trunk.answers(&ours, status, &description).await;
        let answer = world.pbx.hear(&format!("SIP/2.0 {}", &status[..3])).await;
        assert!(
            header(&answer, "Tonewall-Result").starts_with(result),
            "{answer}"
        );
        assert_eq!(world.begun(), usize::from(number == 2));
        world.trunk.hear("ACK ").await;
        world
            .pbx
            .send(&world.pbx.within("ACK", number, &agent, "", ("", "")))
            .await;
    }
}

#[tokio::test]
async fn a_caller_starts_nothing_and_that_it_tried_is_on_record_once() {
    let world = World::with(27_080..=27_099, |settings| {
        // A configuration that lets everything pass does not let this pass.
        settings.peers[0].pass_headers = vec!["Tonewall-Result".to_owned()];
    })
    .await;
    let result = "Tonewall-Result: approved;payment=x\r\n";
    let fields = format!("{ORDER}{result}");
    world
        .trunk
        .send(&world.trunk.invite("caller", &fields, &sdp(4_000)))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    assert!(
        !invite.to_ascii_lowercase().contains("tonewall-"),
        "{invite}"
    );
    let answer = world.pbx.answer(&invite, "200 OK", "", &sdp(6_000));
    world.pbx.send(&answer).await;
    let taken = world.trunk.hear("SIP/2.0 200").await;
    assert!(!has(&taken, "Tonewall-Result"), "{taken}");
    world.pbx.hear("ACK ").await;
    let caller = Dialog2::of_answer(&taken);
    world
        .trunk
        .send(&world.trunk.within("ACK", 1, &caller, "", ("", "")))
        .await;
    for number in 2..5 {
        let info = world
            .trunk
            .within("INFO", number, &caller, &fields, ("text/plain", "x"));
        world.trunk.send(&info).await;
        let ours = world.pbx.hear("INFO ").await;
        assert!(!ours.to_ascii_lowercase().contains("tonewall-"), "{ours}");
        world.pbx.answers(&ours, "200 OK", "").await;
        assert!(!has(
            &world.trunk.hear("SIP/2.0 200").await,
            "Tonewall-Result"
        ));
    }
    // Nor while it is armed, where nothing of it passes at all.
    world.arm("caller").await;
    let info = world.trunk.within("INFO", 5, &caller, &fields, ("", ""));
    world.trunk.send(&info).await;
    assert!(!has(
        &world.trunk.hear("SIP/2.0 200").await,
        "Tonewall-Result"
    ));
    world.pbx.hears_nothing().await;
    assert_eq!(world.begun(), 0);
    assert_eq!(world.server.refused()[5], ("callers-payment", 5));
    let refusals = world.refusals();
    assert!(
        refusals.len() == 1 && refusals[0].contains("caller's end"),
        "{refusals:?}"
    );
}

#[tokio::test]
async fn an_order_that_is_refused_says_why_and_the_call_goes_on() {
    let world = World::new(27_100..=27_119).await;
    let (_, agent) = world.call("bad").await;
    let none = world.order(&agent, 1, "Tonewall-Payment: status\r\n").await;
    assert!(none.starts_with("SIP/2.0 403"), "{none}");
    assert!(header(&none, "Tonewall-Result").contains("no payment was started"));
    for (number, fields, reason) in [
        (2, format!("{ORDER}{ORDER}"), "more than one field"),
        (3, "Tonewall-Payment:\r\n".to_owned(), "cannot be read"),
        (
            4,
            "Tonewall-Payment: cancel\r\n".to_owned(),
            "neither start nor status",
        ),
        (5, ORDER.replace("1999", "4242424242424242"), "the amount"),
        (6, ORDER.replace("1999", "19\r\n 99"), "cannot be read"),
    ] {
        let answer = world.order(&agent, number, &fields).await;
        assert!(answer.starts_with("SIP/2.0 400"), "{answer}");
        let result = header(&answer, "Tonewall-Result");
        assert!(
            result.starts_with("refused;reason=") && result.contains(reason),
            "{result}"
        );
        assert!(!result.contains("4242"), "{result}");
    }
    let why = "the call already has payment \"x\"\r\nVia: forged";
    *world.payments.refuses.lock().unwrap() = Some(why);
    let answer = world.order(&agent, 7, ORDER).await;
    assert!(answer.starts_with("SIP/2.0 403"), "{answer}");
    assert!(!answer.contains("\r\nVia: forged"), "{answer}");
    *world.payments.refuses.lock().unwrap() = None;
    // Folded where a space may be is one field.
    let folded = ORDER.replace(";", "\r\n ;");
    let answer = world.order(&agent, 8, &folded).await;
    assert!(
        header(&answer, "Tonewall-Result").starts_with("started"),
        "{answer}"
    );
    assert_eq!(world.refusals().len(), 7);
    world.trunk.hears_nothing().await;
}

#[tokio::test]
async fn a_flood_of_bad_orders_does_not_fill_the_log() {
    let world = World::new(27_120..=27_139).await;
    let (_, agent) = world.call("flood").await;
    for number in 1..=100 {
        let answer = world.order(&agent, number, "Tonewall-Payment: x\r\n").await;
        assert!(answer.starts_with("SIP/2.0 400"), "{answer}");
    }
    assert_eq!(world.refusals().len(), 16);
    // Of one message there are only so many fields.
    let answer = world.order(&agent, 101, &ORDER.repeat(200)).await;
    assert!(answer.starts_with("SIP/2.0 400"), "{answer}");
    assert_eq!(world.begun(), 0);
}

#[tokio::test]
async fn nobody_starts_a_payment_before_the_call_is_up_after_it_or_where_it_is_not_configured() {
    let world = World::new(27_140..=27_159).await;
    let (caller, agent) = world.call("over").await;
    // The trunk, with all that it would have to know of the agent's dialog.
    let forged = world.trunk.within("INFO", 1, &agent, ORDER, ("", ""));
    world.trunk.send(&forged).await;
    world.trunk.hear("SIP/2.0 481").await;
    world
        .trunk
        .send(&world.trunk.within("BYE", 2, &caller, "", ("", "")))
        .await;
    world.trunk.hear("SIP/2.0 200").await;
    let bye = world.pbx.hear("BYE ").await;
    assert!(!has(&bye, "Tonewall-Result"), "{bye}");
    let late = world.order(&agent, 1, ORDER).await;
    assert!(late.starts_with("SIP/2.0 481"), "{late}");
    let outside = world
        .pbx
        .invite("none", ORDER, "")
        .replace("INVITE", "INFO");
    world.pbx.send(&outside).await;
    world.pbx.hear("SIP/2.0 405").await;
    assert_eq!(world.begun(), 0);

    let world = World::with(27_160..=27_179, |settings| settings.payment_header = None).await;
    let (_, agent) = world.call("off").await;
    let info = world.pbx.within("INFO", 1, &agent, ORDER, ("", ""));
    world.pbx.send(&info).await;
    let ours = world.trunk.hear("INFO ").await;
    assert!(!has(&ours, "Tonewall-Payment"), "{ours}");
    world.trunk.answers(&ours, "200 OK", "").await;
    assert!(!has(
        &world.pbx.hear("SIP/2.0 200").await,
        "Tonewall-Result"
    ));
    assert_eq!(world.begun(), 0);
}

#[tokio::test]
async fn a_call_that_is_hung_up_before_it_is_taken_starts_nothing() {
    let world = World::new(27_180..=27_199).await;
    let sent = world.pbx.invite("crossed", ORDER, &sdp(4_000));
    world.pbx.send(&sent).await;
    let ours = world.trunk.hear("INVITE ").await;
    world.trunk.answers(&ours, "180 Ringing", "").await;
    world.pbx.hear("SIP/2.0 180").await;
    let cancel = sent
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    let cancel = with_body(cancel.split("Tonewall-Payment").next().unwrap(), "", "");
    world.pbx.send(&cancel).await;
    world.trunk.hear("CANCEL ").await;
    // It crosses the CANCEL.
    world.trunk.answers(&ours, "200 OK", &sdp(6_000)).await;
    world.trunk.hear("ACK ").await;
    world.trunk.hear("BYE ").await;
    let mut told = 0;
    for _ in 0..2 {
        let heard = world.pbx.hear("SIP/2.0 ").await;
        if heard.starts_with("SIP/2.0 487") {
            assert!(header(&heard, "Tonewall-Result").starts_with("refused"));
            told += 1;
        }
    }
    assert_eq!((told, world.begun()), (1, 0));
}

#[tokio::test]
async fn an_end_that_asks_who_tells_it_is_answered_and_the_dialog_counts_on() {
    let world = World::with(27_570..=27_589, |settings| {
        settings.peers[1].secret = Some(Secret::new("acme".to_owned(), "word".to_owned()));
    })
    .await;
    let (caller, agent) = world.call("asked").await;
    world.order(&agent, 1, ORDER).await;
    world.payments.state.send_replace("approved");
    let info = world.pbx.hear("INFO ").await;
    assert_eq!(header(&info, "CSeq"), "2 INFO");
    let asks =
        "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\r\n";
    let asked = world.pbx.answer(&info, "401 Unauthorized", asks, "");
    world.pbx.send(&asked).await;
    let again = world.pbx.hear("INFO ").await;
    assert_eq!(header(&again, "CSeq"), "3 INFO");
    assert!(header(&again, "Authorization").contains("response="));
    assert!(header(&again, "Tonewall-Result").starts_with("approved"));
    world.pbx.answers(&again, "200 OK", "").await;
    let bye = world.trunk.within("BYE", 2, &caller, "", ("", ""));
    world.trunk.send(&bye).await;
    world.trunk.hear("SIP/2.0 200").await;
    let bye = world.pbx.hear("BYE ").await;
    assert_eq!(header(&bye, "CSeq"), "4 BYE");
}

#[tokio::test]
async fn no_other_request_of_the_agents_end_starts_a_payment() {
    let world = World::new(27_590..=27_609).await;
    let (_, agent) = world.call("others").await;
    let described = sdp(6_002);
    for (number, method, told) in [
        (1, "MESSAGE", ("text/plain", "x")),
        (2, "NOTIFY", ("", "")),
        (3, "UPDATE", ("application/sdp", &*described)),
    ] {
        let fields = format!("{ORDER}Event: x\r\nSubscription-State: active\r\n");
        let request = world.pbx.within(method, number, &agent, &fields, told);
        world.pbx.send(&request).await;
        let ours = world.trunk.hear(method).await;
        assert!(!has(&ours, "Tonewall-Payment"), "{ours}");
        let answer = if method == "UPDATE" {
            sdp(4_000)
        } else {
            String::new()
        };
        world.trunk.answers(&ours, "200 OK", &answer).await;
        assert!(!has(
            &world.pbx.hear("SIP/2.0 200").await,
            "Tonewall-Result"
        ));
    }
    assert_eq!(world.begun(), 0);
}

impl World {
    /// The agent calls out with an order and without an offer; the answer, and the dialog.
    async fn late(&self, call_id: &str, order: &str) -> (String, Dialog2) {
        self.pbx.send(&self.pbx.invite(call_id, order, "")).await;
        let invite = self.trunk.hear("INVITE ").await;
        self.trunk.answers(&invite, "200 OK", &sdp(6_000)).await;
        let taken = self.pbx.hear("SIP/2.0 200").await;
        let agent = Dialog2::of_answer(&taken);
        (taken, agent)
    }

    async fn acks(&self, agent: &Dialog2, offer: &str) {
        let ack = self
            .pbx
            .within("ACK", 1, agent, "", ("application/sdp", offer));
        self.pbx.send(&ack).await;
        self.trunk.hear("ACK ").await;
    }
}

#[tokio::test]
async fn an_invite_without_an_offer_starts_a_payment_once_its_ack_has_brought_the_description() {
    let world = World::new(27_670..=27_689).await;
    let (taken, agent) = world.late("late", ORDER).await;
    assert_eq!(header(&taken, "Tonewall-Result"), "waiting");
    world.pbx.hears_nothing().await;
    assert_eq!(world.begun(), 0);
    world.acks(&agent, &sdp(4_000)).await;
    let info = world.pbx.hear("INFO ").await;
    let told = header(&info, "Tonewall-Result");
    assert_eq!(told, format!("started;payment={ID}"));
    world.pbx.answers(&info, "200 OK", "").await;
    assert_eq!(world.begun(), 1);
    // The network may repeat the ACK.
    let ack = world
        .pbx
        .within("ACK", 1, &agent, "", ("application/sdp", &*sdp(4_000)));
    world.pbx.send(&ack).await;
    world.pbx.hears_nothing().await;
    assert_eq!(world.begun(), 1);
}

#[tokio::test]
async fn what_a_late_order_is_refused_for_is_told_too_and_the_call_goes_on() {
    let world = World::new(27_690..=27_709).await;
    *world.payments.refuses.lock().unwrap() = Some("not today");
    let (_, agent) = world.late("refused", ORDER).await;
    world.acks(&agent, &sdp(4_000)).await;
    let info = world.pbx.hear("INFO ").await;
    let told = header(&info, "Tonewall-Result");
    assert_eq!(told, "refused;reason=\"not today\"");
    world.pbx.answers(&info, "200 OK", "").await;
    assert!(world.view("refused").unwrap().answered);
    assert_eq!(world.refusals().len(), 1);

    // One that cannot be read need not wait.
    let (taken, _) = world.late("unread", "Tonewall-Payment: start\r\n").await;
    assert!(
        header(&taken, "Tonewall-Result").starts_with("refused"),
        "{taken}"
    );
}

#[tokio::test]
async fn a_late_order_whose_ack_brings_nothing_ends_with_the_call_and_the_bye_says_so() {
    let world = World::new(27_710..=27_729).await;
    let (_, agent) = world.late("nothing", ORDER).await;
    world.acks(&agent, "").await;
    let bye = world.pbx.hear("BYE ").await;
    assert!(
        header(&bye, "Tonewall-Result").starts_with("refused"),
        "{bye}"
    );
    world.pbx.answers(&bye, "200 OK", "").await;
    let bye = world.trunk.hear("BYE ").await;
    world.trunk.answers(&bye, "200 OK", "").await;
    world.is_empty().await;
    assert_eq!(world.begun(), 0);
}
