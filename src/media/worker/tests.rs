//! A worker without its thread: each step of a wake-up by hand.

use std::{
    net::UdpSocket,
    sync::mpsc::{SyncSender, sync_channel},
};

use super::*;
use crate::{
    media::{
        CardPlaneBusy, LegSockets, MediaCommand, MediaError, MediaPlane, MediaSettings,
        arrival::{Arrivals, histogram, tests::measured},
        counts::CallCounts,
        sockets::Sockets,
        voice,
    },
    proto::{
        call::{AgentCode, AgentKey, Dialled, LegMedia, SourcePolicy},
        card::CapturedField,
        encoding::{AudioCodec, Encoding},
        id::PaymentId,
        rtp::write_header,
        secret::{KeySlot, SealedPress, plain},
        shadow::TrunkName,
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
    counts: Arc<CallCounts>,
}

fn call(worker: &mut Worker<Sockets>, serial: usize, now: Now) -> Ends {
    let id: CallId = format!("call_default_sim_01ARZ3NDEKTSV4RRFFQ69G5F{serial:02}")
        .parse()
        .unwrap();
    let ends = Ends {
        id: id.clone(),
        caller: socket(),
        agent: socket(),
        counts: Arc::new(CallCounts::new(now.instant)),
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
        mask_both: false,
        counts: Arc::clone(&ends.counts),
    };
    worker.add(new, now);
    for (leg, end) in [(Leg::Caller, &ends.caller), (Leg::Agent, &ends.agent)] {
        let address = end.local_addr().unwrap();
        let media = LegMedia {
            rtp: address,
            rtcp: address,
            source: SourcePolicy::Exact,
            payload_types: vec![
                (0, Encoding::Audio(AudioCodec::Pcmu)),
                (9, Encoding::Audio(AudioCodec::G722)),
                (101, Encoding::TelephoneEvent(8000)),
            ],
            packet_time: Duration::from_millis(20),
        };
        worker.command(&id, MediaCommand::SetLeg(leg, media), now);
    }
    ends
}

/// A worker, what would give it orders, and what it tells.
fn worker(
    calls: usize,
) -> (
    Worker<Sockets>,
    SyncSender<Order>,
    mpsc::Receiver<MediaEvent>,
) {
    worker_with(calls, None)
}

fn worker_with(
    calls: usize,
    arrivals: Option<Arrivals>,
) -> (
    Worker<Sockets>,
    SyncSender<Order>,
    mpsc::Receiver<MediaEvent>,
) {
    let (sender, orders) = sync_channel(1);
    let (events, told) = mpsc::channel(100);
    let shared = Shared {
        masking: Masking::default(),
        key_code: None,
        awaits_code: false,
        voice: Arc::new(voice::built_in()),
        nap: Duration::ZERO,
        events,
        slots: Arc::new(Nothing),
        cards: Arc::new(Nothing),
        waits: histogram().unwrap(),
    };
    let load = Arc::new(Load::default());
    load.calls.store(calls, Ordering::Relaxed);
    let bell = Arc::new(Doorbell::new().unwrap());
    let wire = Sockets::new(&bell, arrivals).unwrap();
    let link = Link {
        orders,
        bell,
        load,
        counters: Arc::default(),
    };
    let worker = Worker::new(wire, link, shared);
    (worker, sender, told)
}

#[test]
fn blocked_media_is_counted_and_kept_back_until_it_may_pass() {
    let (mut worker, _orders, _told) = worker(1);
    let mut now = read_clocks();
    let ends = call(&mut worker, 0, now);
    let mut buffer = [0; 200];
    let mut number = 0;
    let mut passes = |worker: &mut Worker<Sockets>| {
        let header = write_header(0, false, number, 160 * u32::from(number), 7);
        number += 1;
        let datagram = [&header[..], &[0xff; 160]].concat();
        ends.caller.send(&datagram).unwrap();
        worker.wire.wait(Duration::from_millis(20)).unwrap();
        assert_eq!(worker.wake_up(now), Some(1));
        now.instant += Duration::from_millis(20);
        ends.agent.recv(&mut buffer).is_ok()
    };
    assert!(passes(&mut worker));
    worker.command(
        &ends.id,
        MediaCommand::Block(Leg::Agent, true),
        read_clocks(),
    );
    assert!(passes(&mut worker), "the other leg's");
    worker.command(
        &ends.id,
        MediaCommand::Block(Leg::Caller, true),
        read_clocks(),
    );
    assert!(!passes(&mut worker) && !passes(&mut worker));
    worker.command(
        &ends.id,
        MediaCommand::Block(Leg::Caller, false),
        read_clocks(),
    );
    assert!(passes(&mut worker));
    let stats = ends.counts.read(now.instant).unwrap().caller;
    assert_eq!((stats.packets, stats.errors), (5, 0));
    let reception = stats.reception;
    assert_eq!((reception.ssrc, reception.sequence), (Some(7), 4));
    assert_eq!((reception.lost(), reception.jitter_ms()), (0, 0));
}

#[test]
fn silenced_media_is_silence_and_its_events_pass() {
    let (mut worker, _orders, _told) = worker(1);
    let now = read_clocks();
    let ends = call(&mut worker, 0, now);
    let mut buffer = [0; 200];
    let mut number = 0;
    let mut heard = |worker: &mut Worker<Sockets>, payload_type, payload: &[u8]| {
        let header = write_header(payload_type, false, number, 160 * u32::from(number), 7);
        number += 1;
        ends.caller.send(&[&header[..], payload].concat()).unwrap();
        worker.wire.wait(Duration::from_millis(20)).unwrap();
        assert_eq!(worker.wake_up(now), Some(1));
        let length = ends.agent.recv(&mut buffer).ok()?;
        Some(buffer[12..length].to_vec())
    };
    let speech = [0x31; 160];
    assert_eq!(heard(&mut worker, 0, &speech), Some(speech.to_vec()));
    worker.command(&ends.id, MediaCommand::Silence(Leg::Caller, true), now);
    assert_eq!(heard(&mut worker, 0, &speech), Some(vec![0xff; 160]));
    let event = [5, 10, 0, 160];
    assert_eq!(heard(&mut worker, 101, &event), Some(event.to_vec()));
    assert_eq!(
        heard(&mut worker, 9, &speech),
        None,
        "no silence is known of it"
    );
    worker.command(&ends.id, MediaCommand::Silence(Leg::Caller, false), now);
    assert_eq!(heard(&mut worker, 0, &speech), Some(speech.to_vec()));
}

#[test]
fn a_worker_that_fell_behind_relays_everything_and_leaves_shadow_mode_out() {
    const CALLS: usize = 8;
    const EACH: usize = 64;
    let (mut worker, _orders, mut told) = worker(CALLS);
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
}

#[test]
fn how_long_packets_wait_is_measured_of_one_call_in_sixteen() {
    const CALLS: usize = 33;
    let _on = measured();
    let (mut worker, _orders, _told) = worker_with(CALLS, Some(Arrivals::new()));
    let now = read_clocks();
    let ends: Vec<_> = (0..CALLS)
        .map(|serial| call(&mut worker, serial, now))
        .collect();
    for end in &ends {
        end.caller.send(&write_header(0, false, 1, 160, 7)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(20));
    worker.wait().unwrap();
    assert_eq!(worker.wake_up(read_clocks()), Some(CALLS as u32));
    let waits = &worker.shared.waits;
    assert_eq!(waits.get_sample_count(), 3, "the 1st, the 17th, the 33rd");
    let sum = waits.get_sample_sum();
    assert!((0.057..3.0).contains(&sum), "{sum} s of all three");
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
    plane
        .add_call(id.clone(), caller, agent, None, false)
        .unwrap();
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

#[tokio::test]
async fn keys_of_an_agents_signalling_are_read_by_the_worker_that_has_the_call() {
    let (slots, cards): (Arc<dyn SlotSource>, Arc<dyn CardSink>) =
        (Arc::new(Nothing), Arc::new(Nothing));
    let settings = MediaSettings {
        workers: 2,
        key_code: Some(Arc::new(AgentCode {
            code: "*77#".parse().unwrap(),
            pin: None,
        })),
        awaits_code: true,
        ..MediaSettings::default()
    };
    let (plane, mut told) = MediaPlane::start(settings, &slots, &cards).unwrap();
    let ids = ["0", "1"].map(|serial| {
        let id = format!("call_default_sim_01ARZ3NDEKTSV4RRFFQ69G5F0{serial}");
        id.parse::<CallId>().unwrap()
    });
    let [id, unknown] = ids;
    let [caller, agent] = [(); 2].map(|()| LegSockets {
        rtp: socket(),
        rtcp: socket(),
    });
    plane
        .add_call(id.clone(), caller, agent, None, false)
        .unwrap();
    let press = |key| SealedPress::seal(plain::slot(), plain::key(key));
    for (key, expected) in [
        ('*', AgentKey::Held(1)),
        ('7', AgentKey::Held(2)),
        ('7', AgentKey::Held(3)),
        ('#', AgentKey::Swallowed),
        ('5', AgentKey::Held(0)),
    ] {
        assert_eq!(plane.dial(&id, press(key)).await, Ok(expected), "{key}");
    }
    let event = told.recv().await.unwrap();
    assert_eq!(
        (event.call, event.kind),
        (id.clone(), MediaEventKind::Dialled(Dialled::Code))
    );
    plane.send(&id, MediaCommand::AwaitCode(false)).unwrap();
    assert_eq!(plane.dial(&id, press('*')).await, Ok(AgentKey::Held(0)));
    let answer = plane.dial(&unknown, press('*')).await;
    assert_eq!(answer, Err(MediaError::UnknownCall));
    plane.send(&id, MediaCommand::HangUp).unwrap();
    assert!(matches!(
        told.recv().await.unwrap().kind,
        MediaEventKind::Ended(_)
    ));
    let answer = plane.dial(&id, press('*')).await;
    assert_eq!(answer, Err(MediaError::UnknownCall), "it is over");
}
