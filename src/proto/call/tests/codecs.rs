//! Calls in codecs with a memory: what leaves is decoded as the agent's phone would.

use super::*;
use crate::proto::{
    codec::{Decoder, Encoder, MAX_SAMPLES},
    dtmf::OutputCheck,
    rtp::write_red,
};

pub(super) const G722: (u8, AudioCodec) = (9, AudioCodec::G722);
pub(super) const OPUS: (u8, AudioCodec) = (111, AudioCodec::Opus);
pub(super) const G729: (u8, AudioCodec) = (18, AudioCodec::G729);
pub(super) const PCMU: (u8, AudioCodec) = (0, AudioCodec::Pcmu);
/// Samples of 16 kHz in 20 ms.
pub(super) const PACKET: usize = 320;
/// Of each of the two tones.
const TONE: f64 = 6_000.0;

fn wide_leg(port: u16, first: (u8, AudioCodec)) -> LegMedia {
    let mut media = leg(port);
    let all = [first, G722, OPUS, G729];
    let named = all.map(|(number, codec)| (number, Encoding::Audio(codec)));
    media.payload_types.retain(|(number, _)| *number != first.0);
    media.payload_types.splice(0..0, named);
    media
}

/// A caller in a codec, of whom an agent hears what leaves.
pub(super) struct Talk {
    pub(super) world: World,
    pub(super) codec: (u8, AudioCodec),
    pub(super) encoder: Encoder,
    pub(super) left: Vec<Vec<u8>>,
}

impl Talk {
    pub(super) fn armed(codec: (u8, AudioCodec)) -> Self {
        let mut talk = Self::open(codec);
        talk.say(&breath(10 * PACKET));
        talk.left.clear();
        talk.world.command(Command::Arm(Holder::Ng));
        talk
    }

    pub(super) fn open(codec: (u8, AudioCodec)) -> Self {
        Self::open_in(codec, World::unanswered())
    }

    pub(super) fn open_in(codec: (u8, AudioCodec), mut world: World) -> Self {
        world.command(Command::SetLeg(Leg::Caller, wide_leg(4_000, codec)));
        world.command(Command::SetLeg(Leg::Agent, wide_leg(4_002, codec)));
        Self {
            world,
            codec,
            encoder: Encoder::new(codec.1),
            left: Vec::new(),
        }
    }

    /// The caller goes on in another codec.
    pub(super) fn speaks(&mut self, codec: (u8, AudioCodec)) {
        self.codec = codec;
        self.encoder = Encoder::new(codec.1);
    }

    /// Says whole packets of 20 ms of 16 kHz.
    pub(super) fn say(&mut self, samples: &[i16]) {
        assert_eq!(samples.len() % PACKET, 0);
        for packet in samples.chunks_exact(PACKET) {
            let payload = self.encode(packet);
            self.send(&payload);
        }
    }

    pub(super) fn encode(&mut self, packet: &[i16]) -> Vec<u8> {
        let mut payload = [0; 480];
        let thinned: Vec<i16> = packet.iter().step_by(2).copied().collect();
        let samples = if self.codec.1.is_wide() {
            packet
        } else {
            &thinned[..]
        };
        let bytes = self.encoder.encode(samples, &mut payload);
        payload[..bytes].to_vec()
    }

    pub(super) fn send(&mut self, payload: &[u8]) {
        let timestamp = self.world.timestamp;
        let datagram = self.world.datagram(self.codec.0, timestamp, payload);
        self.pass(20);
        self.left.extend(self.world.give(&datagram));
        let waited = self.world.wait(20);
        self.left.extend(waited);
    }

    /// Time of the caller's clock in which nothing may be sent.
    pub(super) fn pass(&mut self, milliseconds: u32) {
        let ticks = milliseconds * self.codec.1.clock_hz() / 1_000;
        self.world.timestamp = self.world.timestamp.wrapping_add(ticks);
    }

    /// What the agent hears of what left in this codec, at the codec's rate.
    pub(super) fn heard(&self, codec: (u8, AudioCodec)) -> Vec<i16> {
        let mut decoder = Decoder::new(codec.1);
        let mut heard = Vec::new();
        for datagram in &self.left {
            let header = header_of(datagram);
            if header.payload_type != codec.0 {
                continue;
            }
            let mut samples = [0; MAX_SAMPLES];
            let count = decoder
                .decode(&datagram[header.payload], &mut samples)
                .unwrap();
            heard.extend_from_slice(&samples[..count]);
        }
        heard
    }

    fn incidents(&self) -> usize {
        self.world
            .count(|output| matches!(output, Output::Incident))
    }
}

/// Breath: noise of about -52 dBm0.
pub(super) fn breath(samples: usize) -> Vec<i16> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16 / 512
    };
    (0..samples).map(|_| next()).collect()
}

/// Breath with the two tones of a key in these samples.
pub(super) fn keyed(
    row_hz: f64,
    column_hz: f64,
    samples: usize,
    span: std::ops::Range<usize>,
) -> Vec<i16> {
    let mut said = breath(samples);
    for n in span {
        let t = n as f64 / 16_000.0;
        let tone = (TAU * row_hz * t).sin() + (TAU * column_hz * t).sin();
        said[n] += (TONE * tone) as i16;
    }
    said
}

/// Largest amplitude of a sine of `hz` in any 16 ms of what is heard, by least squares beside the
/// neutral sound's 400 Hz. What is within 40 ms of that sound's
/// beginning and end is left out: no fit is good there.
fn most_of(heard: &[i16], rate_hz: usize, hz: f64) -> f64 {
    let window = rate_hz * 16 / 1_000;
    let basis: Vec<[f64; 4]> = (0..window)
        .map(|n| {
            let angle = |hz: f64| (TAU * hz * n as f64 / rate_hz as f64).sin_cos();
            let ((a, b), (c, d)) = (angle(hz), angle(400.0));
            [a, b, c, d]
        })
        .collect();
    let mut gram = [[0.0; 4]; 4];
    for row in &basis {
        for i in 0..4 {
            for j in 0..4 {
                gram[i][j] += row[i] * row[j];
            }
        }
    }
    let fit = |samples: &[i16]| {
        let mut right = [0.0; 4];
        for (row, sample) in basis.iter().zip(samples) {
            for i in 0..4 {
                right[i] += row[i] * f64::from(*sample);
            }
        }
        let solved = solve(gram, right);
        [solved[0].hypot(solved[1]), solved[2].hypot(solved[3])]
    };
    // Every 2 ms.
    let windows = heard.windows(window).step_by(rate_hz / 500);
    let fits: Vec<[f64; 2]> = windows.map(fit).collect();
    let sounds = |fit: &[f64; 2]| fit[1] > 1_200.0;
    let first = fits.iter().position(sounds).unwrap_or(fits.len());
    let last = fits.iter().rposition(sounds).unwrap_or(0);
    let far = |at: usize| at + 20 < first || at > last + 20;
    let looked_at = fits.iter().enumerate().filter(|(at, _)| far(*at));
    looked_at.map(|(_, fit)| fit[0]).fold(0.0, f64::max)
}

/// Gauss's elimination; the matrix is positive definite.
fn solve(mut matrix: [[f64; 4]; 4], mut right: [f64; 4]) -> [f64; 4] {
    for i in 0..4 {
        for j in i + 1..4 {
            let factor = matrix[j][i] / matrix[i][i];
            let above = matrix[i];
            for (value, above) in matrix[j].iter_mut().zip(above).skip(i) {
                *value -= factor * above;
            }
            right[j] -= factor * right[i];
        }
    }
    for i in (0..4).rev() {
        for j in i + 1..4 {
            right[i] -= matrix[i][j] * right[j];
        }
        right[i] /= matrix[i][i];
    }
    right
}

/// Nothing of a key is left: neither for an independent detector, nor by a fit to its two tones.
pub(super) fn assert_nothing_of(talk: &Talk, codec: (u8, AudioCodec), row_hz: f64, column_hz: f64) {
    let heard = talk.heard(codec);
    let rate_hz = codec.1.rate_hz() as usize;
    let thinned: Vec<i16> = heard.iter().step_by(rate_hz / 8_000).copied().collect();
    assert!(!OutputCheck::default().listen(&thinned));
    for hz in [row_hz, column_hz] {
        let most = most_of(&heard, rate_hz, hz);
        assert!(
            most < TONE / 100.0,
            "{codec:?}, {row_hz} + {column_hz}: {most} of {hz} Hz"
        );
    }
    assert_eq!(talk.incidents(), 0);
}

pub(super) fn assert_seamless_in(left: &[Vec<u8>], codec: AudioCodec) {
    assert!(!left.is_empty());
    for pair in left.windows(2) {
        let (before, after) = (header_of(&pair[0]), header_of(&pair[1]));
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
        let ticks = codec.clock_hz() / 50;
        assert_eq!(after.timestamp, before.timestamp.wrapping_add(ticks));
    }
}

#[test]
fn no_key_is_left_in_any_codec_and_every_packet_has_one_size() {
    for codec in [G722, OPUS, G729] {
        for (number, (row, column)) in ROWS_HZ
            .into_iter()
            .flat_map(|row| COLUMNS_HZ.map(|column| (row, column)))
            .enumerate()
        {
            let mut talk = Talk::armed(codec);
            // Each key begins at another place of its packet.
            let from = 6 * PACKET + number * 20;
            talk.say(&keyed(row, column, 25 * PACKET, from..from + 1_280));
            assert_seamless_in(&talk.left, codec.1);
            let bytes = codec.1.bytes_of(160);
            assert!(
                talk.left
                    .iter()
                    .all(|datagram| datagram.len() == 12 + bytes)
            );
            assert!(
                talk.left
                    .iter()
                    .all(|datagram| datagram[1] & 127 == codec.0)
            );
            assert_nothing_of(&talk, codec, row, column);
            let proof = talk.world.proof();
            assert_eq!(proof.keys_heard, 1, "{codec:?}, {row} + {column}");
            assert!(proof.packets_masked < 14, "{codec:?}: {proof:?}");
            assert_eq!(proof.packets_checked, proof.packets_sent);
        }
    }
}

#[test]
fn an_unmasked_key_would_be_found_by_these_checks() {
    for codec in [G722, OPUS, G729] {
        let mut talk = Talk::open(codec);
        talk.say(&keyed(770.0, 1_336.0, 25 * PACKET, 2_000..3_280));
        let heard = talk.heard(codec);
        let rate_hz = codec.1.rate_hz() as usize;
        assert!(most_of(&heard, rate_hz, 770.0) > TONE * 0.8);
        let thinned: Vec<i16> = heard.iter().step_by(rate_hz / 8_000).copied().collect();
        assert!(OutputCheck::default().listen(&thinned), "{codec:?}");
        // Even 5 ms of it; in G.729, which smears it, 20 ms.
        let end = if codec == G729 { 2_320 } else { 2_080 };
        let mut talk = Talk::open(codec);
        talk.say(&keyed(770.0, 1_336.0, 25 * PACKET, 2_000..end));
        assert!(most_of(&talk.heard(codec), rate_hz, 770.0) > TONE / 10.0);
    }
}

#[test]
fn a_key_that_is_down_at_the_arming_does_not_leave_in_any_codec() {
    for codec in [G722, OPUS, G729] {
        let mut talk = Talk::open(codec);
        let said = keyed(852.0, 1_477.0, 30 * PACKET, 8 * PACKET..14 * PACKET);
        let (before, after) = said.split_at(10 * PACKET);
        talk.say(before);
        talk.left.clear();
        talk.world.command(Command::Arm(Holder::Ng));
        talk.say(after);
        assert_nothing_of(&talk, codec, 852.0, 1_477.0);
    }
}

#[test]
fn an_onset_in_the_first_packet_after_a_silence_that_was_not_sent_does_not_leave() {
    for codec in [G722, OPUS, G729] {
        for pause in [40, 120, 400, 2_000] {
            let mut talk = Talk::armed(codec);
            talk.say(&breath(6 * PACKET));
            talk.pass(pause);
            talk.left.extend(talk.world.wait(pause));
            talk.say(&keyed(941.0, 1_336.0, 12 * PACKET, 0..1_280));
            assert_nothing_of(&talk, codec, 941.0, 1_336.0);
            // A decoder of G.729 that has missed something needs the key's first half to hear it.
            let keys = talk.world.proof().keys_heard;
            assert!(keys == 1 || codec == G729, "{codec:?} after {pause} ms");
        }
    }
}

#[test]
fn packets_of_opus_without_content_are_silence_of_their_length() {
    let mut talk = Talk::armed(OPUS);
    talk.say(&breath(6 * PACKET));
    let before = talk.left.len();
    for _ in 0..20 {
        talk.send(&[0xB8]);
    }
    talk.say(&keyed(697.0, 1_209.0, 12 * PACKET, 0..1_280));
    assert_eq!(talk.left.len(), before + 32);
    assert_seamless_in(&talk.left, AudioCodec::Opus);
    assert_nothing_of(&talk, OPUS, 697.0, 1_209.0);
}

#[test]
fn what_cannot_be_decoded_becomes_silence() {
    for (codec, payload) in [
        (G722, vec![]),
        (OPUS, vec![0xFF; 300]),
        (OPUS, vec![0x4B, 0]),
        (G729, vec![0; 9]),
        (G729, vec![0; 11]),
        (G729, vec![0; 25]),
    ] {
        let mut talk = Talk::armed(codec);
        talk.say(&breath(6 * PACKET));
        for _ in 0..3 {
            talk.send(&payload);
        }
        talk.say(&breath(6 * PACKET));
        assert_seamless_in(&talk.left, codec.1);
        assert_eq!(talk.world.proof().packets_refused, 3, "{codec:?}");
    }
}

#[test]
fn a_caller_who_changes_codecs_in_the_middle_of_a_key_is_masked_all_the_same() {
    for first in [PCMU, G722, OPUS, G729] {
        for second in [PCMU, G722, OPUS, G729] {
            let mut talk = Talk::armed(first);
            let said = keyed(770.0, 1_209.0, 30 * PACKET, 9 * PACKET + 100..14 * PACKET);
            let (before, after) = said.split_at(11 * PACKET);
            talk.say(before);
            talk.speaks(second);
            talk.say(after);
            // What leaves stays in the codec that the agent has heard.
            assert_seamless_in(&talk.left, first.1);
            assert_nothing_of(&talk, first, 770.0, 1_209.0);
        }
    }
}

#[test]
fn an_agent_who_agrees_on_another_codec_in_the_middle_of_a_key_hears_that_and_no_key() {
    for first in [PCMU, G722, OPUS, G729] {
        for second in [PCMU, G722, OPUS, G729] {
            let mut talk = Talk::armed(first);
            let said = keyed(770.0, 1_209.0, 30 * PACKET, 9 * PACKET + 100..14 * PACKET);
            let (before, after) = said.split_at(11 * PACKET);
            talk.say(before);
            let mut agent = leg(4_002);
            agent.payload_types = vec![(second.0, Encoding::Audio(second.1))];
            talk.world.command(Command::SetLeg(Leg::Agent, agent));
            let changed = talk.left.len();
            talk.say(after);
            let types = talk.left[changed..]
                .iter()
                .map(|datagram| datagram[1] & 127);
            assert!(types.clone().count() > 17 && types.clone().all(|pt| pt == second.0));
            assert_nothing_of(&talk, first, 770.0, 1_209.0);
            assert_nothing_of(&talk, second, 770.0, 1_209.0);
        }
    }
}

#[test]
fn a_voice_passes_in_any_codec_a_little_later() {
    for (codec, least_db) in [(G722, 15.0), (OPUS, 8.0), (G729, 6.0)] {
        let mut talk = Talk::armed(codec);
        // A hum that no key resembles.
        let said: Vec<i16> = (0..100 * PACKET)
            .map(|n| {
                let t = n as f64 / 16_000.0;
                // G.729 cuts what is lower than 140 Hz, and turns what is near it.
                let [one, other, high] = if codec.1.is_wide() {
                    [180.0, 310.0, 5_200.0]
                } else {
                    [430.0, 560.0, 2_300.0]
                };
                let hum =
                    (TAU * one * t).sin() + (TAU * other * t).sin() + 0.3 * (TAU * high * t).sin();
                (1_500.0 * hum * (0.6 + 0.4 * (TAU * 3.0 * t).sin())) as i16
            })
            .collect();
        talk.say(&said);
        let heard = talk.heard(codec);
        let per_ms = codec.1.rate_hz() as usize / 1_000;
        let said: Vec<i16> = said.into_iter().step_by(16 / per_ms).collect();
        let snr_db = |delay: usize| {
            let (mut signal, mut error) = (0.0, 0.0);
            for (said, heard) in said.iter().zip(&heard[delay..]).skip(4_000) {
                signal += f64::from(*said).powi(2);
                error += (f64::from(*said) - f64::from(*heard)).powi(2);
            }
            10.0 * (signal / error).log10()
        };
        let best = (0..50 * per_ms)
            .max_by(|a, b| snr_db(*a).total_cmp(&snr_db(*b)))
            .unwrap();
        println!(
            "{codec:?}: {} dB, {} ms later",
            snr_db(best),
            best as f64 / per_ms as f64
        );
        assert!(snr_db(best) > least_db, "{codec:?}: {} dB", snr_db(best));
        // 14 ms of ours, and what two rounds of the codec take.
        assert!(best < per_ms * 26, "{codec:?}: {best} samples");
        assert_eq!(talk.world.proof().packets_masked, 0);
    }
}

#[test]
fn numbers_go_on_without_a_break_after_a_release_in_any_codec() {
    for codec in [G722, OPUS, G729] {
        let mut talk = Talk::armed(codec);
        talk.say(&keyed(770.0, 1_336.0, 25 * PACKET, 2_000..3_280));
        talk.world.command(Command::Release(Holder::Ng));
        talk.say(&breath(60 * PACKET));
        assert!(!talk.world.call.is_armed());
        let payload = talk.encode(&breath(PACKET));
        talk.send(&payload);
        assert_seamless_in(&talk.left, codec.1);
        assert_eq!(talk.left.last().unwrap()[12..], payload);
    }
}

#[test]
fn a_tone_that_left_in_a_codec_with_memory_is_an_incident() {
    for codec in [G722, OPUS, G729] {
        let mut talk = Talk::armed(codec);
        let tone = keyed(770.0, 1_336.0, 12 * PACKET, 0..12 * PACKET);
        // The ear is deaf: its verdict on silence clears a tone.
        let armed = talk.world.call.stream.armed_mut().unwrap();
        armed.let_pass(&tone);
        talk.say(&breath(20 * PACKET));
        assert_eq!(talk.incidents(), 1);
        let heard = talk.heard(codec);
        assert!(most_of(&heard, codec.1.rate_hz() as usize, 770.0) < 100.0);
    }
}

#[test]
fn an_event_in_the_clock_of_opus_masks_its_own_time() {
    let mut talk = Talk::armed(OPUS);
    talk.say(&breath(6 * PACKET));
    let begin = talk.world.timestamp;
    let said = keyed(770.0, 1_336.0, 8 * PACKET, 0..4 * PACKET);
    for (number, packet) in said.chunks_exact(PACKET).enumerate() {
        if number < 4 {
            let duration = (number as u16 + 1) * 960;
            let payload = event(5, number == 3, duration);
            let datagram = talk.world.datagram(FOREIGN_EVENT, begin, &payload);
            let left = talk.world.give(&datagram);
            talk.left.extend(left);
        }
        let payload = talk.encode(packet);
        talk.send(&payload);
    }
    assert_nothing_of(&talk, OPUS, 770.0, 1_336.0);
    assert_eq!(talk.world.proof().keys_heard, 1);
}

#[test]
fn redundancy_fills_what_was_lost_of_a_codec_with_a_memory_too() {
    for codec in [G722, OPUS, G729] {
        // The tone's packets are 10 to 13.
        let said = keyed(770.0, 1_336.0, 40 * PACKET, 10 * PACKET..14 * PACKET);
        let hear = |lost: &[usize]| {
            let mut talk = Talk::open(codec);
            let mut caller = wide_leg(4_000, codec);
            caller.payload_types.push((RED, Encoding::Red));
            talk.world.command(Command::SetLeg(Leg::Caller, caller));
            talk.say(&breath(10 * PACKET));
            talk.left.clear();
            talk.world.command(Command::Arm(Holder::Ng));
            let earlier = (codec.1.clock_hz() / 50) as u16;
            let mut before: Option<Vec<u8>> = None;
            for (n, packet) in said.chunks_exact(PACKET).enumerate() {
                let payload = talk.encode(packet);
                let block = before.iter().map(|old| (codec.0, earlier, &old[..]));
                let red = write_red(&block.collect::<Vec<_>>(), (codec.0, &payload));
                let timestamp = talk.world.timestamp;
                let datagram = talk.world.datagram(RED, timestamp, &red);
                talk.pass(20);
                if !lost.contains(&n) {
                    let left = talk.world.give(&datagram);
                    talk.left.extend(left);
                }
                let left = talk.world.wait(20);
                talk.left.extend(left);
                before = Some(payload);
            }
            assert!(
                talk.left
                    .iter()
                    .all(|d| header_of(d).payload_type == codec.0)
            );
            assert_seamless_in(&talk.left, codec.1);
            (talk.heard(codec), talk.world.proof().keys_heard)
        };
        let whole = hear(&[]);
        assert!(codec == G729 || whole.1 == 1, "{codec:?}");
        assert!(
            whole == hear(&[3, 12, 25]),
            "{codec:?}: what was lost is missing"
        );
    }
}

#[test]
fn reports_count_the_octets_that_left_in_any_codec() {
    for codec in [PCMU, G722, OPUS] {
        let mut talk = Talk::open(codec);
        talk.say(&breath(10 * PACKET));
        talk.world.command(Command::Arm(Holder::Ng));
        talk.say(&breath(20 * PACKET));
        let octets: usize = talk.left.iter().map(|datagram| datagram.len() - 12).sum();
        let mut report = sender_report(talk.world.timestamp, 1, 2);
        let told = talk.world.give_on(Leg::Caller, Channel::Rtcp, &mut report);
        let [packets, counted] =
            [20, 24].map(|at| u32::from_be_bytes(told[0][at..at + 4].try_into().unwrap()));
        let left = (talk.left.len() as u32, octets as u32);
        assert_eq!((packets, counted), left, "{:?}", codec.1);
    }
}

#[test]
fn reports_tell_the_time_of_what_leaves_also_where_the_callers_clock_is_another() {
    for (first, then) in [(PCMU, OPUS), (OPUS, PCMU), (OPUS, G722)] {
        let mut talk = Talk::armed(first);
        talk.say(&breath(20 * PACKET));
        talk.speaks(then);
        talk.say(&breath(30 * PACKET));
        // 20 ms on and back, in the clock that the caller has now.
        for milliseconds in [20, 0, -20] {
            let ticks = milliseconds * (then.1.clock_hz() / 1_000).cast_signed();
            let theirs = talk.world.timestamp.wrapping_add_signed(ticks);
            let mut report = sender_report(theirs, 1, 2);
            let told = talk.world.give_on(Leg::Caller, Channel::Rtcp, &mut report);
            let told = u32::from_be_bytes(told[0][16..20].try_into().unwrap());
            // What comes next leaves as much later as the look-ahead is long.
            let last = header_of(talk.left.last().unwrap()).timestamp;
            let later = (20 + 12 + milliseconds) * (first.1.clock_hz() / 1_000).cast_signed();
            let (first, then) = (first.1, then.1);
            assert_eq!(told, last.wrapping_add_signed(later), "{first:?}, {then:?}");
        }
    }
}
