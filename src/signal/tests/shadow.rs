//! Which calls shadow mode listens to, and for which trunk.

use super::*;
use crate::{media::MediaCommand, proto::shadow::TrunkName};

fn settings_of(shadow: ShadowScope) -> CallSettings {
    CallSettings {
        shadow,
        ..settings()
    }
}

fn trunks(house: &House) -> Vec<String> {
    let commands = house.media.commands().into_iter();
    let named = commands.filter_map(|command| match command {
        MediaCommand::Shadow(trunk) => Some(trunk.to_string()),
        _ => None,
    });
    named.collect()
}

#[tokio::test]
async fn a_call_belongs_to_the_trunk_that_signalling_names_else_to_its_address() {
    let house = House::with(settings_of(ShadowScope::All), 23_100..=23_179);
    let from = |message: Dict, address: &str| {
        message.with(
            "received-from",
            vec![Value::Text("IP4".into()), Value::Text(address.into())],
        )
    };
    house
        .ask(from(offer("1"), "192.0.2.9").with("tonewall-trunk", "carrier-a"))
        .await;
    house.ask(from(offer("2"), "192.0.2.9")).await;
    house.ask(offer("3")).await;
    // What is no name refuses no call.
    let odd = offer("4").with("tonewall-trunk", "4242424242424242");
    assert_eq!(result(&house.ask(odd).await), "ok");
    assert_eq!(
        trunks(&house),
        ["carrier-a", "192.0.2.9", "198.51.100.1", "198.51.100.1"]
    );
    // Once a call, whatever it is offered later.
    house.ask(answer("1")).await;
    let again = offer("1").with("to-tag", "b").with("tonewall-trunk", "x");
    house.ask(again).await;
    assert_eq!(trunks(&house).len(), 4);
}

#[tokio::test]
async fn where_the_caller_is_who_was_called_the_trunk_is_the_answers() {
    let settings = CallSettings {
        caller: CallerSide::Answerer,
        ..settings_of(ShadowScope::All)
    };
    let house = House::with(settings, 23_180..=23_219);
    let from = vec![Value::Text("IP4".into()), Value::Text("192.0.2.9".into())];
    house.ask(offer("1").with("received-from", from)).await;
    assert!(trunks(&house).is_empty(), "the caller's media is not known");
    house.ask(answer("1")).await;
    house.ask(offer("2").with("tonewall-trunk", "out")).await;
    house.ask(answer("2")).await;
    assert_eq!(trunks(&house), ["198.51.100.1", "out"]);
}

#[tokio::test]
async fn only_the_trunks_that_are_named_are_listened_to_and_by_default_none() {
    let named = ShadowScope::Trunks(vec!["carrier-a".parse::<TrunkName>().unwrap()]);
    for (scope, expected) in [(named, vec!["carrier-a"]), (ShadowScope::Off, vec![])] {
        let house = House::with(settings_of(scope), 23_220..=23_299);
        for (call, trunk) in [("1", "carrier-a"), ("2", "carrier-b")] {
            house.ask(offer(call).with("tonewall-trunk", trunk)).await;
            house.ask(answer(call)).await;
        }
        assert_eq!(trunks(&house), expected);
    }
}

#[tokio::test]
async fn a_call_whose_sides_are_not_known_is_not_listened_to() {
    let house = House::with(settings_of(ShadowScope::All), 23_300..=23_339);
    house.ask(offer("1").with("to-tag", "b")).await;
    house.ask(answer("1")).await;
    assert!(trunks(&house).is_empty());
}
