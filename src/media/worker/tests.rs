//! A worker without its thread: each step of a wake-up by hand.

use std::{net::UdpSocket, sync::mpsc::sync_channel};

use super::*;
use crate::{
    media::{CardPlaneBusy, MediaPlane, MediaSettings, sockets::Sockets},
    proto::{
        call::{LegMedia, SourcePolicy},
        card::CapturedField,
        encoding::{AudioCodec, Encoding},
        rtp::write_header,
        secret::KeySlot,
    },
};

struct Nothing;

impl SlotSource for Nothing {
    fn acquire(&self) -> Option<KeySlot> {
        None
    }
}

impl CardSink for Nothing {
    fn store(&self, _: &PaymentId, _: CapturedField) -> Result<(), CardPlaneBusy> {
        Err(CardPlaneBusy)
    }

    fn wipe(&self, _: &PaymentId) {}
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Both far ends of a call, and where the caller's end sends to.
struct Ends {
    id: CallId,
    caller: UdpSocket,
    agent: UdpSocket,
}

fn call(worker: &mut Worker<Sockets>, serial: usize, now: Now) -> Ends {
    let id: CallId = format!("call_default_sim_01ARZ3NDEKTSV4RRFFQ69G5F{serial:02}")
        .parse()
        .unwrap();
    let ends = Ends {
        id: id.clone(),
        caller: socket(),
        agent: socket(),
    };
    let legs = [(); 2].map(|()| LegSockets {
        rtp: socket(),
        rtcp: socket(),
    });
    let [caller, agent] = legs;
    ends.caller
        .connect(caller.rtp.local_addr().unwrap())
        .unwrap();
    let new = NewCall {
        call: id.clone(),
        caller,
        agent,
        media: None,
        counts: Arc::new(CallCounts::new(now.instant)),
    };
    worker.add(new, now);
    for (leg, end) in [(Leg::Caller, &ends.caller), (Leg::Agent, &ends.agent)] {
        let address = end.local_addr().unwrap();
        let media = LegMedia {
            rtp: address,
            rtcp: address,
            source: SourcePolicy::Exact,
            payload_types: vec![(0, Encoding::Audio(AudioCodec::Pcmu))],
            packet_time: Duration::from_millis(20),
        };
        worker.command(&id, MediaCommand::SetLeg(leg, media), now);
    }
    ends
}

#[test]
fn a_worker_that_fell_behind_relays_everything_and_leaves_shadow_mode_out() {
    const CALLS: usize = 8;
    const EACH: usize = 64;
    let (orders, taken) = sync_channel(1);
    let (events, mut told) = mpsc::channel(100);
    let shared = Shared {
        masking: Masking::default(),
        nap: Duration::ZERO,
        events,
        slots: Arc::new(Nothing),
        cards: Arc::new(Nothing),
        counters: Arc::default(),
    };
    let load = Arc::new(Load::default());
    load.calls.store(CALLS, Ordering::Relaxed);
    let bell = Arc::new(Doorbell::new().unwrap());
    let wire = Sockets::new(&bell).unwrap();
    let mut worker = Worker::new(wire, (taken, bell, load), shared);
    let now = read_clocks();
    let calls: Vec<_> = (0..CALLS).map(|n| call(&mut worker, n, now)).collect();
    let trunk: TrunkName = "t".parse().unwrap();
    for ends in &calls {
        worker.command(&ends.id, MediaCommand::Shadow(trunk.clone()), now);
        for n in 0..EACH {
            let header = write_header(0, false, n as u16, 160 * n as u32, 7);
            ends.caller
                .send(&[&header[..], &[0xff; 160]].concat())
                .unwrap();
        }
    }
    // No time passes while all of it is worked off.
    for _ in 0..EACH {
        worker.wire.wait(Duration::ZERO).unwrap();
        assert!(worker.wake_up(now).is_some());
    }
    let mut buffer = [0; 200];
    for ends in &calls {
        let left = (0..).take_while(|_| ends.agent.recv(&mut buffer).is_ok());
        assert_eq!(left.count(), EACH, "nothing is relayed later or less");
        worker.command(&ends.id, MediaCommand::HangUp, now);
    }
    let (mut came, mut unheard) = (0, 0);
    while let Ok(event) = told.try_recv() {
        if let MediaEventKind::Shadowed(of, tally) = event.kind {
            assert_eq!(of, trunk);
            came += tally.packets.came;
            unheard += tally.packets.unheard;
        }
    }
    assert_eq!(came, (CALLS * EACH) as u64);
    assert_eq!(came - unheard, u64::from(SHADOWED));
    drop(orders);
}

#[test]
fn a_sleeping_worker_is_woken_for_an_order_and_once_for_many_that_were_gathered() {
    const ROUNDS: u32 = 50;
    let (slots, cards): (Arc<dyn SlotSource>, Arc<dyn CardSink>) =
        (Arc::new(Nothing), Arc::new(Nothing));
    let (plane, mut told) = MediaPlane::start(MediaSettings::default(), &slots, &cards).unwrap();
    let [caller, agent] = [(); 2].map(|()| LegSockets {
        rtp: socket(),
        rtcp: socket(),
    });
    let id: CallId = "call_default_sim_01ARZ3NDEKTSV4RRFFQ69G5F00"
        .parse()
        .unwrap();
    plane.add_call(id.clone(), caller, agent, None).unwrap();
    for gathers in [false, true] {
        let since = Instant::now();
        for _ in 0..ROUNDS {
            if gathers {
                plane.gather();
            }
            for _ in 0..2 {
                plane.send(&id, MediaCommand::Arm(Holder::Ng)).unwrap();
            }
            if gathers {
                plane.hand_over();
            }
            for _ in 0..2 {
                // Refused, for nothing is agreed on yet.
                told.blocking_recv().unwrap();
            }
        }
        // Unwoken, it looks at the end of its longest sleep.
        let took = since.elapsed();
        assert!(took < LONGEST_SLEEP * ROUNDS / 2, "{took:?}, {gathers}");
    }
}
