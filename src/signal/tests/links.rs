//! What a desktop finds a call by.

use super::*;
use crate::proto::link::Finder;

fn found(house: &House, finder: &Finder) -> Vec<String> {
    let mut names: Vec<_> = house
        .calls
        .candidates(&tenant(), finder)
        .into_iter()
        .map(|call| {
            let view = house.calls.find(&tenant(), &call.call.to_string());
            view.unwrap().signalling_id
        })
        .collect();
    names.sort();
    names
}

fn agent(text: &str) -> Finder {
    Finder::Agent(text.parse().unwrap())
}

fn reference(text: &str) -> Finder {
    Finder::Reference(text.parse().unwrap())
}

#[tokio::test]
async fn a_call_is_found_by_what_an_offer_or_an_answer_named() {
    let house = House::new(26_600..=26_659);
    house
        .ask(offer("1").with("tonewall-agent", "sip:4711@pbx.example"))
        .await;
    house.ask(offer("2")).await;
    let late = answer("2")
        .with("tonewall-agent", "\"Alice\" <sip:4711@PBX.example:5060>")
        .with("tonewall-reference", "00001001021373378473");
    house.ask(late).await;
    house
        .ask(offer("3").with("tonewall-reference", "x-3"))
        .await;
    assert_eq!(found(&house, &agent("4711@pbx.example")), ["1", "2"]);
    assert_eq!(found(&house, &agent("4711")), ["1", "2"]);
    assert_eq!(found(&house, &agent("4711@elsewhere")), [""; 0]);
    assert_eq!(found(&house, &reference("00001001021373378473")), ["2"]);
    assert_eq!(found(&house, &reference("x-3")), ["3"]);
    let view = house.calls.find(&tenant(), "1").unwrap();
    assert_eq!(found(&house, &Finder::Call(view.id)), ["1"]);
    assert_eq!(view.agent.unwrap().to_string(), "4711@pbx.example");
    let other = "other".parse().unwrap();
    assert!(house.calls.candidates(&other, &agent("4711")).is_empty());
    // Only what is answered has an agent.
    let answered = |call: &str| {
        let finder = Finder::Call(house.calls.find(&tenant(), call).unwrap().id);
        house.calls.candidates(&tenant(), &finder)[0].answered
    };
    assert!(!answered("1") && answered("2"));
}

#[tokio::test]
async fn what_is_no_address_refuses_no_call_and_finds_none() {
    let house = House::new(26_660..=26_679);
    let odd = offer("1")
        .with("tonewall-agent", "4242424242424242")
        .with("tonewall-reference", "a\nb");
    assert_eq!(result(&house.ask(odd).await), "ok");
    assert_eq!(house.calls.find(&tenant(), "1").unwrap().agent, None);
}

#[tokio::test]
async fn of_an_agent_who_is_replaced_nothing_is_left() {
    let house = House::new(26_680..=26_699);
    house
        .ask(offer("1").with("tonewall-agent", "4711@pbx"))
        .await;
    house.ask(answer("1")).await;
    let mut changes = house.calls.subscribe();
    // The same agent again, on hold and back.
    let again = offer("1").with("to-tag", "b");
    house.ask(again.clone()).await;
    house.ask(answer("1")).await;
    assert_eq!(found(&house, &agent("4711")), ["1"]);
    assert!(changes.try_recv().is_err(), "nothing changed");
    // Somebody else answers.
    house.ask(again).await;
    let other = Dict::new()
        .with("command", "answer")
        .with("call-id", "1")
        .with("from-tag", "a")
        .with("to-tag", "c")
        .with("sdp", sdp(6_100, "0 101"));
    assert_eq!(result(&house.ask(other).await), "ok");
    assert_eq!(found(&house, &agent("4711")), [""; 0]);
    let view = house.calls.find(&tenant(), "1").unwrap();
    assert_eq!(view.agent, None);
    assert!(matches!(
        changes.try_recv(),
        Ok(CallChange::Changed(told)) if told.agent.is_none() && told.agent_tag.as_deref() == Some("c")
    ));
}
