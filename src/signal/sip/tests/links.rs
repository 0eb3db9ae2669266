//! What the agent's end tells of whose call it is.

use super::*;
use crate::proto::link::Finder;

impl World {
    fn is_found_by(&self, finder: &Finder) -> bool {
        let tenant = "acme".parse().unwrap();
        !self.house.calls.candidates(&tenant, finder).is_empty()
    }

    fn agent(&self, call_id: &str) -> Option<String> {
        self.view(call_id)?.agent.map(|agent| agent.to_string())
    }
}

fn reference(text: &str) -> Finder {
    Finder::Reference(text.parse().unwrap())
}

#[tokio::test]
async fn the_agent_is_who_was_called_until_the_agents_end_asserts_another() {
    let world = World::new(26_700..=26_719).await;
    let claims = "P-Asserted-Identity: <sip:9999@evil>\r\nX-Interaction-ID: callers\r\n";
    world
        .trunk
        .send(&world.trunk.invite("named", claims, &sdp(4_000)))
        .await;
    let invite = world.pbx.hear("INVITE ").await;
    // Nothing that the caller's end says of itself finds its call.
    let called = world.agent("named").unwrap();
    assert!(!called.contains("9999"), "{called}");
    assert!(!world.is_found_by(&reference("callers")));
    let fields =
        "P-Asserted-Identity: \"Alice\" <sip:4711@pbx.example>\r\nX-Interaction-ID: i-77\r\n";
    let taken = world.pbx.answer(&invite, "200 OK", fields, &sdp(6_000));
    world.pbx.send(&taken).await;
    world.trunk.hear("SIP/2.0 200").await;
    assert_eq!(world.agent("named").as_deref(), Some("4711@pbx.example"));
    assert!(world.is_found_by(&reference("i-77")));
}

#[tokio::test]
async fn of_a_call_that_an_agent_makes_the_agent_is_who_calls_and_not_who_is_called() {
    let world = World::new(26_720..=26_739).await;
    let fields = "X-Interaction-ID: i-78\r\n";
    world
        .pbx
        .send(&world.pbx.invite("outbound", fields, &sdp(4_000)))
        .await;
    let invite = world.trunk.hear("INVITE ").await;
    let agent = world.agent("outbound").unwrap();
    assert!(agent.starts_with("4930123@"), "{agent}");
    assert!(world.is_found_by(&reference("i-78")));
    let fields = "P-Asserted-Identity: <sip:9999@evil>\r\nX-Interaction-ID: other\r\n";
    let taken = world.trunk.answer(&invite, "200 OK", fields, &sdp(6_000));
    world.trunk.send(&taken).await;
    world.pbx.hear("SIP/2.0 200").await;
    assert_eq!(world.agent("outbound"), Some(agent));
    assert!(!world.is_found_by(&reference("other")));
}
