//! The end of the story: figures, the picture, and whether all was as promised.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{
    Stage,
    call::{self, Played},
    measure::{self, Voice},
    picture::Picture,
    story::Mark,
    wav,
};
use crate::proto::field::Field;

/// What a run is judged by.
#[derive(Debug, Clone, PartialEq)]
struct Figures {
    pressed: usize,
    counted: usize,
    /// Keys that the two listeners found on what the caller sent: all, or they are deaf.
    control: (usize, usize),
    /// Keys that they found on the agent's leg, and events that came there.
    recovered: (usize, usize, usize),
    /// Packets at the agent that were neither the caller's audio nor events.
    strange: u64,
    approved: bool,
    same_card: bool,
    voice: Voice,
}

impl Figures {
    fn of(played: &Played, voice: Voice) -> Self {
        Self {
            pressed: played.caller.keys.total(),
            counted: played.counted,
            control: (played.caller.strict.found, played.caller.greedy.found),
            recovered: (
                played.agent.strict.stray,
                played.agent.greedy.stray,
                played.agent.events_received,
            ),
            strange: played.agent.strange_packets,
            approved: played.payment.state == "approved",
            same_card: same_card(played),
            voice,
        }
    }

    fn nothing_recovered(&self) -> bool {
        self.recovered == (0, 0, 0) && self.strange == 0
    }

    fn control_holds(&self) -> bool {
        self.pressed > 0 && self.control == (self.pressed, self.pressed)
    }

    /// A mute leg carries no key either: the voice must have come through.
    fn voice_holds(&self) -> bool {
        let came = |(all, came): (usize, usize)| all > 0 && came * 10 >= all * 8;
        came(self.voice.plain) && came(self.voice.armed)
    }

    fn good(&self) -> bool {
        self.approved
            && self.same_card
            && self.nothing_recovered()
            && self.control_holds()
            && self.voice_holds()
    }

    /// The last line.
    fn line(&self) -> String {
        let (strict, greedy, events) = self.recovered;
        format!(
            "demo {}: payment {}; card at the sandbox equals what was keyed: {}; keys recovered on \
             the agent's leg: {} (strict {strict}, greedy {greedy}, events {events}; control {} and \
             {} of {}); voice that came through: {} of {} pieces",
            if self.good() { "passed" } else { "FAILED" },
            if self.approved {
                "approved"
            } else {
                "not approved"
            },
            yes(self.same_card),
            strict.max(greedy).max(events),
            self.control.0,
            self.control.1,
            self.pressed,
            self.voice.plain.1 + self.voice.armed.1,
            self.voice.plain.0 + self.voice.armed.0,
        )
    }
}

/// Draws the picture, tells the figures, and says whether all was as promised, and the line that
/// says so.
pub(super) fn tell(stage: &mut Stage, played: &Played) -> Result<(bool, String)> {
    let caller = read(&stage.out.join("caller.wav"))?;
    let agent = read(&stage.out.join("agent.wav"))?;
    let since_start = |us: i64| (us - played.caller.first_sent_us) as f64 / 1e6;
    let armed = (
        since_start(played.armed_us.0),
        since_start(played.armed_us.1),
    );
    let ends = (&played.caller, &played.agent);
    let voice = measure::voice(&caller, &agent, ends, Some(armed));
    let figures = Figures::of(played, voice);

    let picture = stage.out.join("call.png");
    let times = &played.caller.key_times;
    let closer = match (times.first(), times.get(15).or(times.last())) {
        (Some(first), Some(last)) => (first.0 - 0.4, last.1 + 0.4),
        _ => (0.0, 1.0),
    };
    let (strict, greedy, _) = figures.recovered;
    Picture {
        caller: &caller,
        agent: &agent,
        agent_starts: voice.agent_starts,
        keys: times,
        armed: Some(armed),
        closer,
        subtitle: &format!("The caller pressed {}", call::ways(played.caller.keys)),
        finding: &format!("keys recovered from this leg: {}", strict.max(greedy)),
    }
    .draw(&picture)?;

    print(stage, played, &figures);
    stage.story.plain("");
    for (what, file) in [
        ("what the caller sent", "caller.wav"),
        ("what the agent got", "agent.wav"),
        ("both, to look at", "call.png"),
    ] {
        let path = stage.out.join(file);
        let path = fs::canonicalize(&path).unwrap_or(path);
        stage
            .story
            .plain(&format!("    {what:<40}{}", path.display()));
    }
    Ok((figures.good(), figures.line()))
}

fn print(stage: &mut Stage, played: &Played, figures: &Figures) {
    let mark = |good: bool| if good { Mark::Good } else { Mark::Bad };
    let story = &mut stage.story;
    let voice = &figures.voice;
    story.title(
        "What came of it",
        "each figure is measured by the ends, not told by the gateway",
    );
    let keys = played.caller.keys;
    story.figure("keys pressed", &call::ways(keys), Mark::Plain);
    story.figure(
        "digits that the gateway took",
        &figures.counted.to_string(),
        mark(figures.counted == figures.pressed),
    );
    story.figure(
        "control: keys on the caller's leg",
        &format!(
            "{} found by the strict listener, {} by the greedy one",
            figures.control.0, figures.control.1
        ),
        mark(figures.control_holds()),
    );
    let (strict, greedy, events) = figures.recovered;
    story.figure(
        "keys on the agent's leg",
        &format!("{strict} by the strict listener, {greedy} by the greedy one, {events} as events"),
        mark(figures.nothing_recovered()),
    );
    if figures.strange > 0 {
        let value = format!("{} at the agent", figures.strange);
        story.figure("packets of neither voice nor events", &value, Mark::Bad);
    }
    story.figure(
        "voice that came through",
        &format!(
            "{} of {} pieces before and after, {} of {} while masked",
            voice.plain.1, voice.plain.0, voice.armed.1, voice.armed.0
        ),
        mark(figures.voice_holds()),
    );
    story.figure(
        "packets lost on the way",
        &format!(
            "{} of {} to the agent, {} of {} to the caller",
            played.agent.packets_lost,
            played.agent.packets_received + played.agent.packets_lost,
            played.caller.packets_lost,
            played.caller.packets_received + played.caller.packets_lost,
        ),
        Mark::Plain,
    );
    story.figure(
        "delay through the gateway",
        &format!(
            "{:.1} ms; {:.1} ms while masked",
            voice.plain_ms.max(0.0),
            voice.armed_ms.max(0.0)
        ),
        Mark::Plain,
    );
    story.figure(
        "from request to masking in place",
        &format!("{:.0} ms", played.arming.as_secs_f64() * 1000.0),
        Mark::Plain,
    );
    story.figure("payment", &played.payment.state, mark(figures.approved));
    story.figure(
        "card at the sandbox is what was keyed",
        yes(figures.same_card),
        mark(figures.same_card),
    );
}

/// Whether one charge at the sandbox has the HMACs of all that the caller keyed.
fn same_card(played: &Played) -> bool {
    let keyed = |field| {
        let found = played.keyed.iter().find(|(known, _)| *known == field);
        found
            .map(|(_, hmac)| hmac.as_str())
            .filter(|hmac| hmac.len() == 64)
    };
    played.received.iter().any(|charge| {
        keyed(Field::PaymentCardNumber) == Some(charge.pan_hmac.as_str())
            && keyed(Field::ExpirationDate) == Some(charge.expiry_hmac.as_str())
            && keyed(Field::SecurityCode) == Some(charge.code_hmac.as_str())
    })
}

fn read(path: &Path) -> Result<Vec<i16>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    wav::read(&bytes)
}

fn yes(good: bool) -> &'static str {
    if good { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Figures {
        Figures {
            pressed: 23,
            counted: 23,
            control: (23, 23),
            recovered: (0, 0, 0),
            strange: 0,
            approved: true,
            same_card: true,
            voice: Voice {
                plain: (10, 10),
                armed: (6, 5),
                ..Voice::default()
            },
        }
    }

    #[test]
    fn a_run_passes_only_if_every_promise_and_every_control_holds() {
        assert!(good().good());
        let spoilt: [fn(&mut Figures); 9] = [
            |f| f.approved = false,
            |f| f.same_card = false,
            |f| f.recovered.0 = 1,
            |f| f.recovered.1 = 1,
            |f| f.recovered.2 = 1,
            |f| f.strange = 1,
            |f| f.control.1 = 22,
            |f| (f.pressed, f.control) = (0, (0, 0)),
            |f| f.voice.armed = (6, 0),
        ];
        for (n, spoil) in spoilt.iter().enumerate() {
            let mut figures = good();
            spoil(&mut figures);
            assert!(!figures.good(), "case {n}");
            assert!(figures.line().starts_with("demo FAILED"));
        }
    }

    #[test]
    fn the_last_line_tells_the_figures() {
        let line = good().line();
        assert!(line.starts_with("demo passed: payment approved;"), "{line}");
        assert!(
            line.contains("agent's leg: 0 (strict 0, greedy 0, events 0; control 23 and 23 of 23)")
        );
    }
}
