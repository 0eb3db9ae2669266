//! What the two recordings tell together: whether the voice came through, and how late.

use super::{end::Finding, wav::RATE};

/// Samples of caller's speech that are looked for in the agent's recording at a time.
const PIECE: usize = 4000;
/// Likeness (1 is equal) from which a piece counts as heard. Comfort noise or a false alarm of the
/// masker may cost a little of a piece.
const LIKENESS: f64 = 0.7;

/// What was found of the voice.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Voice {
    /// Pieces of the caller's speech while masking was not in place, and those that came through.
    pub(super) plain: (usize, usize),
    /// The same while it was.
    pub(super) armed: (usize, usize),
    /// Median way through the gateway while masking was not in place.
    pub(super) plain_ms: f64,
    /// The same while it was.
    pub(super) armed_ms: f64,
    /// When the agent's recording begins, in seconds of the caller's.
    pub(super) agent_starts: f64,
}

/// Looks for each piece of the caller's speech in what the agent got. `armed` is when masking was
/// in place, in seconds since the caller's first packet.
pub(super) fn voice(
    caller: &[i16],
    agent: &[i16],
    ends: (&Finding, &Finding),
    armed: Option<(f64, f64)>,
) -> Voice {
    let (sent, got) = ends;
    let seconds = |samples: usize| samples as f64 / f64::from(RATE);
    let mut voice = Voice::default();
    let (mut plain_ms, mut armed_ms, mut lags) = (Vec::new(), Vec::new(), Vec::new());
    let mut lag: Option<i64> = None;
    for start in (0..caller.len().saturating_sub(PIECE)).step_by(PIECE) {
        let piece = &caller[start..start + PIECE];
        let span = (seconds(start), seconds(start + PIECE));
        let has_key = sent
            .key_times
            .iter()
            .any(|key| key.0 < span.1 && key.1 > span.0);
        if has_key || level(piece) < 400.0 {
            continue;
        }
        let armed_now = match armed {
            Some((from, to)) if span.1 < from || span.0 > to => false,
            Some((from, to)) if span.0 > from && span.1 < to => true,
            // Half in, half out.
            Some(_) => continue,
            None => false,
        };
        // The first piece may be anywhere within a second, the next ones near it.
        let (centre, reach) = lag.map_or((0, i64::from(RATE)), |lag| (lag, 800));
        let found = best_lag(piece, start as i64, agent, centre, reach);
        let (counts, delays) = if armed_now {
            (&mut voice.armed, &mut armed_ms)
        } else {
            (&mut voice.plain, &mut plain_ms)
        };
        counts.0 += 1;
        let Some((here, _)) = found.filter(|(_, likeness)| *likeness >= LIKENESS) else {
            continue;
        };
        counts.1 += 1;
        lag = Some(here);
        let at = start as i64 + here;
        let second = usize::try_from(at).unwrap_or(0) / RATE as usize;
        if let Some(Some(arrival)) = got.arrivals_us.get(second) {
            let lag_ms = here as f64 * 1000.0 / f64::from(RATE);
            delays.push((arrival - sent.first_sent_us) as f64 / 1000.0 + lag_ms);
        }
        lags.push(-(here as f64) / f64::from(RATE));
    }
    voice.plain_ms = median(&mut plain_ms);
    voice.armed_ms = median(&mut armed_ms);
    voice.agent_starts = median(&mut lags);
    voice
}

/// How many samples later `piece` is found in `agent` than at `start`, and how alike it is there.
fn best_lag(
    piece: &[i16],
    start: i64,
    agent: &[i16],
    centre: i64,
    reach: i64,
) -> Option<(i64, f64)> {
    let own: f64 = piece.iter().map(|s| f64::from(*s).powi(2)).sum();
    (centre - reach..=centre + reach)
        .filter_map(|lag| {
            let from = usize::try_from(start + lag).ok()?;
            let there = agent.get(from..from + piece.len())?;
            let (mut dot, mut other) = (0.0, 0.0);
            for (a, b) in piece.iter().zip(there) {
                let (a, b) = (f64::from(*a), f64::from(*b));
                dot += a * b;
                other += b * b;
            }
            Some((lag, dot / (own * other).sqrt().max(1.0)))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn level(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    (power / samples.len() as f64).sqrt()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::script;

    #[test]
    fn the_delay_of_each_stretch_is_found_to_the_sample() {
        let speech = script::samples("caller-request").unwrap();
        let mut caller = vec![0; 8000];
        caller.extend(&speech);
        caller.extend([0; 8000]);
        let armed_from = caller.len();
        caller.extend(&speech);
        caller.extend([0; 8000]);
        // The agent misses the first 400 samples; from arming on all comes 96 samples later.
        let mut agent = caller[400..armed_from].to_vec();
        agent.extend([0; 96]);
        agent.extend(&caller[armed_from..]);
        let sent = Finding {
            first_sent_us: 1_000_000,
            ..Finding::default()
        };
        let got = Finding {
            // 50 ms (400 samples) later, and 0.3 ms on the way.
            arrivals_us: vec![Some(1_050_300); 30],
            ..Finding::default()
        };
        let armed = (armed_from as f64 / 8000.0, caller.len() as f64 / 8000.0);

        let voice = voice(&caller, &agent, (&sent, &got), Some(armed));

        assert_eq!(voice.plain.0, voice.plain.1, "{voice:?}");
        assert!(voice.plain.0 > 2 && voice.armed.0 > 2 && voice.armed.0 == voice.armed.1);
        assert!((voice.plain_ms - 0.3).abs() < 0.01, "{voice:?}");
        assert!((voice.armed_ms - 12.3).abs() < 0.01, "{voice:?}");
    }

    #[test]
    fn a_voice_that_does_not_come_is_not_taken_as_heard() {
        let caller = script::samples("caller-request").unwrap();
        let agent = script::samples("agent-card").unwrap();
        let none = Finding::default();
        let voice = voice(&caller, &agent, (&none, &none), None);
        assert!(voice.plain.0 > 2 && voice.plain.1 == 0, "{voice:?}");
    }
}
