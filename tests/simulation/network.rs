//! A seeded bad network: loss, jitter with reordering, duplicates, and things nobody asked for.

use rand::{RngExt, rngs::StdRng};
use tonewall::proto::rtp::write_header;

use super::caller::Sent;

/// How bad.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Impairment {
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) swap: f64,
    /// Most that a packet is delayed, in samples; order is kept.
    pub(crate) jitter: usize,
    /// Most that a packet is delayed beside that, each by itself: they overtake each other.
    pub(crate) scatter: usize,
    /// Packets that are no part of the call: other payload types, RTCP extensions, rubbish.
    pub(crate) strangers: f64,
}

impl Impairment {
    pub(crate) const NONE: Self = Self {
        loss: 0.0,
        duplicate: 0.0,
        swap: 0.0,
        jitter: 0,
        scatter: 0,
        strangers: 0.0,
    };
}

/// What arrives, in order of arrival: time in samples, datagram.
pub(crate) fn carry(sent: Vec<Sent>, how: Impairment, rng: &mut StdRng) -> Vec<(usize, Vec<u8>)> {
    let mut arrived = Vec::with_capacity(sent.len());
    let mut clock = 0;
    for mut packet in sent {
        clock = clock.max(packet.at + rng.random_range(0..=how.jitter));
        packet.at = clock;
        if rng.random_bool(how.strangers) {
            arrived.push((packet.at, stranger(&packet.datagram, rng)));
        }
        if rng.random_bool(how.loss) {
            continue;
        }
        // Overtaken by the next one.
        let swapped = if rng.random_bool(how.swap) { 170 } else { 0 };
        let late = swapped + rng.random_range(0..=how.scatter);
        if rng.random_bool(how.duplicate) {
            arrived.push((packet.at + late + 1, packet.datagram.clone()));
        }
        arrived.push((packet.at + late, packet.datagram));
    }
    arrived.sort_by_key(|(at, _)| *at);
    arrived
}

/// A packet that default-deny has to stop: each carries something that must not reach the agent.
fn stranger(model: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut ssrc = [0; 4];
    ssrc.copy_from_slice(&model[8..12]);
    let ssrc = u32::from_be_bytes(ssrc);
    let sequence = u16::from_be_bytes([model[2], model[3]]).wrapping_sub(1);
    let timestamp = u32::from_be_bytes([model[4], model[5], model[6], model[7]]);
    match rng.random_range(0..5) {
        // An event on a payload type that nobody declared.
        0 => [
            &write_header(113, true, sequence, timestamp, ssrc)[..],
            &[7, 0x8a, 3, 0x20],
        ]
        .concat(),
        // RED around the same packet.
        1 => [
            &write_header(121, false, sequence, timestamp, ssrc)[..],
            &model[12..],
        ]
        .concat(),
        // Another source altogether.
        2 => [
            &write_header(model[1] & 0x7f, false, sequence, timestamp, !ssrc)[..],
            &model[12..],
        ]
        .concat(),
        // Rubbish.
        3 => (0..rng.random_range(0..200))
            .map(|_| rng.random())
            .collect(),
        // A header that announces more than there is.
        _ => vec![0xbf, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    }
}
