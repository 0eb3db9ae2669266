use std::sync::mpsc::{Sender, channel};

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

struct Played {
    orders: Sender<Result<Order, String>>,
    reports: Receiver<Report>,
}

impl Played {
    fn start(role: Role, record: &Path) -> Self {
        let args = EndArgs {
            role,
            card: "approved".into(),
            digest_key: KEY.into(),
            record: Some(record.to_owned()),
        };
        let (orders, to_end) = channel();
        let (from_end, reports) = channel();
        thread::spawn(move || {
            End::new(&args)
                .unwrap()
                .play(&to_end, |report| Ok(from_end.send(report)?))
                .unwrap();
        });
        Self { orders, reports }
    }

    fn order(&self, order: Order) {
        self.orders.send(Ok(order)).unwrap();
    }

    fn wait<T>(&self, wanted: impl Fn(Report) -> Option<T>) -> T {
        loop {
            let report = self.reports.recv_timeout(Duration::from_secs(20)).unwrap();
            assert!(!matches!(report, Report::Refused { .. }), "{report:?}");
            if let Some(found) = wanted(report) {
                return found;
            }
        }
    }

    fn address(&self) -> SocketAddr {
        self.wait(|report| match report {
            Report::Ready { rtp } => Some((Ipv4Addr::LOCALHOST, rtp).into()),
            _ => None,
        })
    }

    fn finish(&self) -> Finding {
        self.order(Order::Finish);
        self.wait(|report| match report {
            Report::Finished(finding) => Some(*finding),
            _ => None,
        })
    }
}

#[test]
fn without_a_gateway_between_them_the_agent_recovers_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let caller = Played::start(Role::Caller, &folder.path().join("caller.wav"));
    let agent = Played::start(Role::Agent, &folder.path().join("agent.wav"));
    let (caller_at, agent_at) = (caller.address(), agent.address());
    caller.order(Order::Connect { to: agent_at });
    agent.order(Order::Connect { to: caller_at });
    agent.wait(|report| matches!(report, Report::Hears).then_some(()));

    caller.order(Order::Say {
        sentence: "caller-done".into(),
    });
    caller.order(Order::Key {
        field: Field::PaymentCardNumber,
    });
    let (keys, hmac) = caller.wait(|report| match report {
        Report::Keyed { keys, hmac, .. } => Some((keys, hmac)),
        _ => None,
    });
    // The agent tells of no packet by itself: what is on its way arrives meanwhile.
    thread::sleep(Duration::from_secs(1));
    let sent = caller.finish();
    let got = agent.finish();

    assert_eq!(keys.total(), 16);
    assert!(keys.tone > 0 && keys.event > 0 && keys.both > 0, "{keys:?}");
    assert_eq!(hmac.len(), 64);
    let all = Examination {
        found: 16,
        stray: 0,
    };
    assert_eq!((sent.strict, sent.greedy), (all, all));
    // The agent pressed none, so that every reading is a stray one.
    assert_eq!(got.strict.stray, 16);
    assert!(got.greedy.stray >= 16, "{:?}", got.greedy);
    assert_eq!(got.events_received, keys.event + keys.both);
    assert_eq!(got.packets_lost, 0);
    assert!(got.packets_received > 100);
}

#[test]
fn a_report_or_an_order_holds_no_digit_of_the_card() {
    let line = &mut Line::new();
    let card = cards::by_name("approved").unwrap();
    let digits = card.digits(Field::PaymentCardNumber).unwrap();
    let keys = line.press(digits);
    let report = Report::Keyed {
        field: Field::PaymentCardNumber,
        keys,
        hmac: digest(&from_hex(KEY).unwrap(), digits).unwrap(),
    };
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("4242"), "{text}");
}

#[test]
fn an_event_goes_out_as_rfc_4733_says() {
    let mut line = Line::new();
    line.press(b"12345");
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for _ in 0..120 {
        line.tick(|packet| packets.push(packet.to_vec()));
    }
    let events: Vec<&Vec<u8>> = packets.iter().filter(|p| p[1] & 0x7f == 101).collect();
    // Keys 1 to 4 are tones, the fifth an event of 100 ms: five packets, the last one three times.
    assert_eq!(events.len(), 7);
    assert!(
        events
            .iter()
            .all(|p| p[4..8] == events[0][4..8] && p[12] == 5)
    );
    let marks: Vec<bool> = events.iter().map(|p| p[1] & 0x80 != 0).collect();
    assert_eq!(marks, [true, false, false, false, false, false, false]);
    let ends: Vec<bool> = events.iter().map(|p| p[13] & 0x80 != 0).collect();
    assert_eq!(ends, [false, false, false, false, true, true, true]);
    let durations: Vec<u16> = events
        .iter()
        .map(|p| u16::from_be_bytes([p[14], p[15]]))
        .collect();
    assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
    for pair in packets.windows(2) {
        let sequence = |p: &Vec<u8>| u16::from_be_bytes([p[2], p[3]]);
        assert_eq!(sequence(&pair[1]), sequence(&pair[0]).wrapping_add(1));
    }
}

#[test]
fn loss_reordering_and_rubbish_are_counted() {
    let mut line = Line::new();
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for _ in 0..10 {
        line.tick(|packet| packets.push(packet.to_vec()));
    }
    let mut received = Received::default();
    for n in [0, 1, 3, 2, 4, 7, 8, 9] {
        received.take(&packets[n], 0);
    }
    received.take(b"rubbish", 0);
    received.take(&[0x80, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0);
    assert_eq!((received.lost(), received.late), (2, 1));
    assert_eq!((received.packets, received.strange), (8, 2));
    assert_eq!(received.recording().len(), 1600);
}

#[test]
fn every_card_of_the_wallet_passes_the_luhn_check() {
    for name in card_names() {
        let card = cards::by_name(name).unwrap();
        let number = card.digits(Field::PaymentCardNumber).unwrap();
        let sum: u32 = number
            .iter()
            .rev()
            .enumerate()
            .map(|(n, digit)| {
                let digit = u32::from(digit - b'0') * if n % 2 == 1 { 2 } else { 1 };
                digit / 10 + digit % 10
            })
            .sum();
        assert_eq!(sum % 10, 0, "{name}");
    }
}
