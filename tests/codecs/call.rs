//! A call in simulated time between two ends that speak G.729, in packets of 20 ms.

use std::{
    f64::consts::TAU,
    time::{Duration, Instant},
};

use tonewall::proto::{
    call::{Call, Channel, Command, Holder, LegMedia, Output, SourcePolicy},
    encoding::{AudioCodec, Encoding},
    leg::Leg,
    mask::Outbox,
    rtp::{RtpHeader, write_header},
    time::Now,
};

const G729: u8 = 18;

fn leg(port: u16) -> LegMedia {
    let address = ([127, 0, 0, 1], port).into();
    LegMedia {
        rtp: address,
        rtcp: address,
        source: SourcePolicy::Exact,
        payload_types: vec![(G729, Encoding::Audio(AudioCodec::G729))],
        packet_time: Duration::from_millis(20),
    }
}

/// Sends these frames of 10 ms through a call that is armed from its second packet on; the frames
/// that reach the agent, and how many keys were heard.
pub(crate) fn through_armed_call(frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, u32) {
    let mut call = Call::default();
    let mut out = Outbox::default();
    let begin = Now {
        instant: Instant::now(),
        utc: jiff::Timestamp::UNIX_EPOCH,
    };
    call.handle_command(Command::SetLeg(Leg::Caller, leg(4_000)), begin);
    call.handle_command(Command::SetLeg(Leg::Agent, leg(4_002)), begin);
    let mut left = Vec::new();
    for (number, pair) in (0_u16..).zip(frames.chunks_exact(2)) {
        let now = begin.after(Duration::from_millis(20) * u32::from(number));
        if number == 1 {
            call.handle_command(Command::Arm(Holder::Ng), now);
            assert!(call.is_armed());
        }
        let header = write_header(G729, false, number, u32::from(number) * 160, 7);
        let mut datagram = [&header[..], &pair.concat()].concat();
        call.handle_media(Leg::Caller, Channel::Rtp, &mut datagram, now, &mut out)
            .expect("the caller is who signalling named");
        for cleared in out.cleared() {
            let header = RtpHeader::parse(cleared.datagram()).expect("RTP leaves");
            let payload = &cleared.datagram()[header.payload];
            assert_eq!((header.payload_type, payload.len()), (G729, 20));
            left.extend(payload.chunks_exact(10).map(<[u8]>::to_vec));
        }
    }
    call.handle_command(Command::HangUp, begin.after(Duration::from_secs(60)));
    let mut keys = 0;
    while let Some(output) = call.poll_output() {
        match output {
            Output::Ended(proof) => keys = proof.keys_heard,
            Output::Incident => panic!("the output check heard a key"),
            _ => {}
        }
    }
    (left, keys)
}

/// Largest amplitude of a sine of `hz` in any 16 ms.
pub(crate) fn largest(samples: &[i16], hz: f64) -> f64 {
    const WINDOW: usize = 128;
    let amplitude = |piece: &[i16]| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in piece.iter().enumerate() {
            let shape = 1.0 - (TAU * n as f64 / WINDOW as f64).cos();
            let (sin, cos) = (TAU * hz * n as f64 / 8_000.0).sin_cos();
            re += f64::from(*sample) * shape * cos;
            im += f64::from(*sample) * shape * sin;
        }
        2.0 * re.hypot(im) / WINDOW as f64
    };
    samples
        .windows(WINDOW)
        .step_by(16)
        .map(amplitude)
        .fold(0.0, f64::max)
}
