//! What a packet costs on its whole way through a call, sockets apart: relayed, listened to in shadow
//! mode, and armed in each codec. No goal.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use tonewall::proto::{
    call::{Call, Channel, Command, Holder, LegMedia, Output, SourcePolicy},
    codec::{Encoder, Interpolator, Law},
    encoding::{AudioCodec, Encoding},
    leg::Leg,
    mask::{Masking, Outbox},
    rtp::write_header,
    time::Now,
};

use crate::{FRAME, Fastest, timed};

const PACKET_TIME: Duration = Duration::from_millis(20);

/// What a call does with the caller's packets.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Relayed,
    Shadowed,
    Armed,
}

const ROWS: [(&str, AudioCodec, Way); 6] = [
    ("relayed", AudioCodec::Pcmu, Way::Relayed),
    ("in shadow mode", AudioCodec::Pcmu, Way::Shadowed),
    ("armed", AudioCodec::Pcmu, Way::Armed),
    ("armed, G.722", AudioCodec::G722, Way::Armed),
    ("armed, Opus", AudioCodec::Opus, Way::Armed),
    ("armed, G.729", AudioCodec::G729, Way::Armed),
];
/// Calls that are more than a core's cache holds: what one of them kept has to come from further away
/// at each of its packets, as in a gateway that is busy.
const CROWD: usize = 1_000;
const CROWDED: [(&str, Way); 3] = [
    ("relayed, of 1,000", Way::Relayed),
    ("in shadow mode, of 1,000", Way::Shadowed),
    ("armed, of 1,000", Way::Armed),
];

/// A call that goes on for as long as it is fed.
struct Whole {
    call: Call,
    now: Now,
    payload_type: u8,
    /// Ticks of the codec's clock a packet.
    ticks: u32,
    sequence: u16,
    timestamp: u32,
}

/// What a worker has once for all calls.
#[derive(Default)]
struct Desk {
    out: Outbox,
    datagram: Vec<u8>,
}

impl Whole {
    fn new(codec: AudioCodec, way: Way) -> Self {
        let payload_type = match codec {
            AudioCodec::Pcmu => 0,
            AudioCodec::Pcma => 8,
            AudioCodec::G722 => 9,
            AudioCodec::G729 => 18,
            AudioCodec::Opus => 111,
        };
        let mut whole = Self {
            call: Call::new(Masking::default()),
            // Simulated time needs somewhere to begin.
            now: Now {
                instant: Instant::now(),
                utc: "2026-11-22T12:00:00Z".parse().expect("a constant time"),
            },
            payload_type,
            ticks: FRAME as u32 * codec.ticks(),
            sequence: 0,
            timestamp: 0,
        };
        for (leg, port) in [(Leg::Caller, 4_000), (Leg::Agent, 4_002)] {
            let address = ([127, 0, 0, 1], port).into();
            let media = LegMedia {
                rtp: address,
                rtcp: address,
                source: SourcePolicy::Exact,
                payload_types: vec![
                    (payload_type, Encoding::Audio(codec)),
                    (101, Encoding::TelephoneEvent(codec.clock_hz())),
                ],
                packet_time: PACKET_TIME,
            };
            whole
                .call
                .handle_command(Command::SetLeg(leg, media), whole.now);
        }
        match way {
            Way::Relayed => {}
            Way::Shadowed => whole.call.handle_command(Command::Shadow, whole.now),
            Way::Armed => whole
                .call
                .handle_command(Command::Arm(Holder::Ng), whole.now),
        }
        whole.drain();
        assert_eq!(whole.call.is_armed(), way == Way::Armed);
        whole
    }

    fn packet(&mut self, payload: &[u8], desk: &mut Desk) {
        let header = write_header(self.payload_type, false, self.sequence, self.timestamp, 1);
        let Desk { out, datagram } = desk;
        datagram.clear();
        datagram.extend_from_slice(&header);
        datagram.extend_from_slice(payload);
        let (leg, channel) = (Leg::Caller, Channel::Rtp);
        let forward = self
            .call
            .handle_media(leg, channel, datagram, self.now, out);
        black_box(forward.is_ok());
        self.drain();
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.ticks);
        self.now = self.now.after(PACKET_TIME);
    }

    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            match output {
                Output::Incident => panic!("the check heard a key behind the mask"),
                Output::ArmRefused(_, refusal) => panic!("{refusal}"),
                _ => {}
            }
        }
    }
}

/// The packets of a caller who sends this in a codec.
fn payloads(codec: AudioCodec, codes: &[u8]) -> Vec<Vec<u8>> {
    let frames = codes.chunks_exact(FRAME);
    if codec == AudioCodec::Pcmu {
        return frames.map(<[u8]>::to_vec).collect();
    }
    let (mut encoder, mut doubled) = (Encoder::new(codec), Interpolator::default());
    frames
        .map(|frame| {
            let samples: Vec<i16> = frame.iter().map(|code| Law::Mu.decode(*code)).collect();
            let mut payload = vec![0; codec.bytes_of(FRAME)];
            if codec.is_wide() {
                let mut wide = vec![0; 2 * FRAME];
                doubled.interpolate(&samples, &mut wide);
                encoder.encode(&wide, &mut payload);
            } else {
                encoder.encode(&samples, &mut payload);
            }
            payload
        })
        .collect()
}

/// Measures all rows on what a caller says.
pub(crate) fn print(codes: &[u8], passes: usize) {
    println!("\nns per packet of 20 ms, the whole call but for its sockets, no field open");
    for (name, codec, way) in ROWS {
        eprintln!("  {name} ...");
        let payloads = payloads(codec, codes);
        let frames: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let mut whole = Whole::new(codec, way);
        let mut desk = Desk::default();
        let mut fastest = Fastest::default();
        // A codec that remembers takes a hundred times as long as G.711.
        let passes = match codec {
            AudioCodec::Opus | AudioCodec::G729 => passes.div_ceil(20),
            _ => passes,
        };
        for _ in 0..passes {
            fastest.pass(timed(&frames, |payload| whole.packet(payload, &mut desk)));
        }
        row(name, fastest.per_frame(frames.len()));
    }
    let frames: Vec<&[u8]> = codes.chunks_exact(FRAME).collect();
    for (name, way) in CROWDED {
        eprintln!("  {name} ...");
        row(name, of_a_crowd(way, &frames, passes));
    }
}

fn row(name: &str, nanoseconds: f64) {
    println!("{name:<24} {nanoseconds:>8.0}");
}

/// Nanoseconds a packet where each call of a crowd has one in turn, each from another place of what
/// the caller says; of the round that was disturbed least.
fn of_a_crowd(way: Way, frames: &[&[u8]], passes: usize) -> f64 {
    let mut calls: Vec<Whole> = (0..CROWD)
        .map(|_| Whole::new(AudioCodec::Pcmu, way))
        .collect();
    let mut desk = Desk::default();
    let rounds = (0..passes).map(|round| {
        let since = Instant::now();
        for (n, call) in calls.iter_mut().enumerate() {
            call.packet(frames[(round + n * 7) % frames.len()], &mut desk);
        }
        since.elapsed().as_nanos() as f64 / CROWD as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}
