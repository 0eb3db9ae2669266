//! Codes that an agent dials by messages.

use proptest::prelude::*;

use super::*;
use crate::proto::{
    call::{AgentKey, CODE_PATIENCE},
    secret::plain,
};

/// The agent's messages, as signalling keeps them.
pub(super) struct Messages {
    pub(super) world: World,
    pub(super) held: String,
    /// What was passed on to the caller.
    pub(super) passed: String,
}

impl Messages {
    fn new(code: &str) -> Self {
        Self::with_pin(code, None)
    }

    pub(super) fn with_pin(code: &str, pin: Option<&str>) -> Self {
        let mut world = World::answered();
        world.call.listen_for(code_of(code, pin));
        Self {
            world,
            held: String::new(),
            passed: String::new(),
        }
    }

    pub(super) fn press(&mut self, key: char) {
        let told = self
            .world
            .call
            .handle_agents_press(plain::key(key), self.world.now);
        self.world.drain();
        self.held.push(key);
        match told {
            AgentKey::Hidden | AgentKey::Swallowed => self.held.clear(),
            AgentKey::Held(held) => {
                let passed = self.held.len() - usize::from(held);
                self.passed.extend(self.held.drain(..passed));
            }
        }
    }

    pub(super) fn dial(&mut self, keys: &str) {
        for key in keys.chars() {
            self.press(key);
            self.world.now = self.world.now.after(Duration::from_millis(200));
        }
    }

    pub(super) fn dialled(&self) -> Vec<Dialled> {
        let dialled = self.world.said.iter().filter_map(|output| match output {
            Output::Dialled(dialled) => Some(*dialled),
            _ => None,
        });
        dialled.collect()
    }
}

#[test]
fn a_code_of_messages_starts_a_payment_and_none_of_them_passes() {
    let mut line = Messages::new("*77#");
    line.dial("*77#");
    assert_eq!(line.dialled(), [Dialled::Code]);
    line.dial("*77*1999#");
    assert_eq!(line.dialled(), [Dialled::Code, Dialled::Amount(1_999)]);
    assert_eq!((line.held.as_str(), line.passed.as_str()), ("", ""));
}

#[test]
fn messages_that_are_no_code_pass_in_their_order() {
    for (keys, passed, held) in [
        ("5", "5", ""),
        ("*", "", "*"),
        ("*78", "*78", ""),
        ("**77", "*", "*77"),
        ("*7*7", "*7", "*7"),
        ("*77*#", "*77*#", ""),
        ("*77*123456789", "*77*123456789", ""),
        ("12*3", "12*3", ""),
    ] {
        let mut line = Messages::new("*77#");
        line.dial(keys);
        assert_eq!(
            (line.passed.as_str(), line.held.as_str()),
            (passed, held),
            "{keys}"
        );
        assert_eq!(line.dialled(), []);
    }
}

#[test]
fn who_stops_dialling_has_dialled_no_code() {
    let mut line = Messages::new("*77#");
    line.dial("*77");
    line.world.now = line.world.now.after(CODE_PATIENCE);
    line.dial("#");
    assert_eq!((line.passed.as_str(), line.held.as_str()), ("*77#", ""));
    assert_eq!(line.dialled(), []);
}

#[test]
fn on_an_armed_call_and_without_a_payment_that_waits_each_message_passes() {
    let mut line = Messages::new("*77#");
    line.dial("*7");
    line.world.command(Command::Arm(Holder::Ng));
    line.dial("7#");
    assert_eq!(line.passed, "*77#");
    let mut line = Messages::new("*77#");
    line.dial("*7");
    line.world.call.listen_for(None);
    line.dial("7#*77#");
    assert_eq!((line.passed.as_str(), line.held.as_str()), ("*77#*77#", ""));
    assert_eq!(line.dialled(), []);
}

#[test]
fn the_callers_messages_start_nothing() {
    let mut line = Messages::new("*77#");
    for key in "*77#".chars() {
        let forward = line
            .world
            .call
            .handle_press(plain::key(key), line.world.now);
        assert_eq!(forward, InfoForward::Relay);
    }
    line.world.drain();
    assert_eq!(line.dialled(), []);
}

proptest! {
    /// Whatever is dialled, the caller has it in its order, but for the codes.
    #[test]
    fn nothing_is_lost_or_turned_round(keys in "[*7#15]{0,40}") {
        let mut line = Messages::new("*77#");
        line.dial(&keys);
        let codes = line.dialled().len();
        let whole = format!("{}{}", line.passed, line.held);
        let mut rest = keys.chars();
        prop_assert!(whole.chars().all(|key| rest.any(|found| found == key)), "{keys} {whole}");
        prop_assert!(keys.len() - whole.len() >= 4 * codes);
        if codes == 0 {
            prop_assert_eq!(whole, keys);
        }
    }
}
