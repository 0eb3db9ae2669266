//! A stranger on the signalling's network, against a real media plane: what he floods costs him
//! refusals, and nobody else a packet.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::net::UdpSocket as Client;

use super::{fakes::*, settle};
use crate::{
    media::{
        CardPlaneBusy, CardSink, MediaPlane, MediaSettings, SlotSource,
        ports::{PortPool, SocketOptions},
    },
    proto::{
        card::CapturedField,
        id::PaymentId,
        ng::{Dict, Encoding, decode, encode},
        rtp::write_header,
        secret::KeySlot,
    },
    signal::{Calls, Interface, Interfaces, Networks, ng::NgServer},
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

/// Packets of the call that is up all the while.
const PACKETS: u16 = 1_000;
/// How many requests are sent before a reply is waited for.
const AT_ONCE: usize = 64;

/// A registry over a media plane, served over UDP, and a stranger at the other end.
struct Street {
    calls: Calls,
    ports: PortPool,
    stranger: Client,
    sent: u64,
}

impl Street {
    async fn new(range: RangeInclusive<u16>) -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ports = PortPool::new(address, range, Duration::ZERO, SocketOptions::default());
        let ports = ports.unwrap();
        let (slots, cards): (Arc<dyn SlotSource>, Arc<dyn CardSink>) =
            (Arc::new(Nothing), Arc::new(Nothing));
        let (media, mut events) =
            MediaPlane::start(MediaSettings::default(), &slots, &cards).unwrap();
        let (store, audit) = (
            Arc::new(FakeStore::default()),
            Arc::new(FakeAudit::default()),
        );
        let interface = Interface {
            name: "outside".to_owned(),
            ports: ports.clone(),
            advertise: address,
        };
        let interfaces = Interfaces::new(interface, Vec::new());
        let calls = Calls::new(settings(), Arc::new(media), interfaces, store, audit);
        let told = calls.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                told.handle_media(&event);
            }
        });
        let socket = Client::bind("127.0.0.1:0").await.unwrap();
        let stranger = Client::bind("127.0.0.1:0").await.unwrap();
        stranger
            .connect(socket.local_addr().unwrap())
            .await
            .unwrap();
        let server = NgServer::new(calls.clone(), Networks::loopback());
        tokio::spawn(async move { server.serve_udp(socket).await });
        Self {
            calls,
            ports,
            stranger,
            sent: 0,
        }
    }

    /// Sends all of these, some at a time; the results.
    async fn storm(&mut self, bodies: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
        let bodies: Vec<_> = bodies.collect();
        let mut results = Vec::new();
        let mut buffer = vec![0; 65_535];
        for some in bodies.chunks(AT_ONCE) {
            for body in some {
                self.sent += 1;
                let cookie = format!("s_{} ", self.sent);
                let datagram = [cookie.as_bytes(), body].concat();
                self.stranger.send(&datagram).await.unwrap();
            }
            for _ in some {
                let reply =
                    tokio::time::timeout(Duration::from_secs(20), self.stranger.recv(&mut buffer));
                let length = reply.await.expect("every request is answered").unwrap();
                let body = buffer[..length].splitn(2, |byte| *byte == b' ').nth(1);
                let (_, reply) = decode(body.unwrap()).unwrap();
                results.push(reply.text("result").unwrap());
            }
        }
        results
    }

    async fn ask(&mut self, message: Dict) -> Dict {
        self.sent += 1;
        let cookie = format!("a_{} ", self.sent);
        let body = encode(&message, Encoding::Bencode);
        self.stranger
            .send(&[cookie.as_bytes(), &body].concat())
            .await
            .unwrap();
        let mut buffer = vec![0; 65_535];
        let length = self.stranger.recv(&mut buffer).await.unwrap();
        decode(&buffer[cookie.len()..length]).unwrap().1
    }

    /// A call with both ends, whose caller talks from here on.
    async fn talk(&mut self) -> Talk {
        let [caller, agent] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let local = |end: &UdpSocket| {
            let port = end.local_addr().unwrap().port();
            sdp(port, "0").replace("198.51.100.1", "127.0.0.1")
        };
        let offered = self
            .ask(
                message("offer", "live")
                    .with("from-tag", "a")
                    .with("sdp", local(&caller)),
            )
            .await;
        let answered = self
            .ask(
                message("answer", "live")
                    .with("from-tag", "a")
                    .with("to-tag", "b")
                    .with("sdp", local(&agent)),
            )
            .await;
        let to: SocketAddr = ([127, 0, 0, 1], port_of(&answered)).into();
        assert_ne!(port_of(&offered), 0);
        let over = Arc::new(AtomicBool::new(false));
        let talker = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut sequence = 0_u16;
                while sequence < PACKETS || !over.load(Ordering::Relaxed) {
                    let header = write_header(0, false, sequence, 160 * u32::from(sequence), 7);
                    caller
                        .send_to(&[&header[..], &[0xff; 160]].concat(), to)
                        .unwrap();
                    sequence += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                sequence
            }
        });
        let listener = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let wait = Some(Duration::from_millis(500));
                agent.set_read_timeout(wait).unwrap();
                let (mut heard, mut buffer) = (0, [0; 2_000]);
                // Half a second of silence behind the last word.
                loop {
                    match agent.recv(&mut buffer) {
                        Ok(_) => heard += 1,
                        Err(_) if over.load(Ordering::Relaxed) => return heard,
                        Err(_) => {}
                    }
                }
            }
        });
        Talk {
            listener,
            talker,
            over,
        }
    }

    /// Once the media plane has closed what was deleted.
    async fn free_ports(&self) -> usize {
        let until = Instant::now() + Duration::from_secs(10);
        while self.calls.ending() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        settle().await;
        self.ports.free()
    }
}

/// A caller who talks.
struct Talk {
    listener: JoinHandle<u16>,
    talker: JoinHandle<u16>,
    over: Arc<AtomicBool>,
}

impl Talk {
    /// Packets that were said, and that the agent heard.
    fn end(self) -> (u16, u16) {
        self.over.store(true, Ordering::Relaxed);
        (self.talker.join().unwrap(), self.listener.join().unwrap())
    }
}

fn bencode(message: &Dict) -> Vec<u8> {
    encode(message, Encoding::Bencode)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_offers_is_refused_and_costs_a_live_call_no_packet_and_the_pool_no_port() {
    // 100 pairs, two a call: 49 calls beside the one that is up.
    let mut street = Street::new(23_400..=23_599).await;
    let talk = street.talk().await;
    let offers = (0..10_000).map(|n| bencode(&offer(&format!("flood-{n}"))));
    let results = street.storm(offers).await;
    let taken = results.iter().filter(|result| *result == "ok").count();
    assert_eq!((taken, results.len()), (49, 10_000));
    assert_eq!(street.calls.count(), 50);
    // A storm of deletes, of calls that are there and many more that are not, each more than once.
    let deletes = (0..10_000).map(|n| bencode(&message("delete", &format!("flood-{}", n / 2))));
    let results = street.storm(deletes).await;
    assert!(results.iter().all(|result| result == "ok"));
    assert_eq!(street.calls.count(), 1);
    assert_eq!(street.free_ports().await, 98);
    let (said, heard) = talk.end();
    assert_eq!(heard, said, "packets of the call that was up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_half_way_or_says_nothing_leaves_no_call_and_takes_no_port() {
    let mut street = Street::new(23_600..=23_619).await;
    let whole = bencode(&offer("torn"));
    // All but the last byte is all that it says.
    let torn = (0..whole.len() - 1).map(|length| whole[..length].to_vec());
    let results = street.storm(torn).await;
    let taken: Vec<_> = (0..).zip(&results).filter(|(_, r)| *r != "error").collect();
    assert!(taken.is_empty(), "{taken:?} of {}", whole.len());
    let nonsense = [
        "",
        "v=0",
        "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n",
        "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 99999 RTP/AVP 0\r\n",
        "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=video 4000 RTP/AVP 96\r\nc=IN IP4 1.2.3.4\r\n",
        "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 host\r\n",
        "\u{0}\u{0}\u{0}",
    ];
    let offers = (0..700).map(|n| {
        let sdp = nonsense[n % nonsense.len()];
        let offer = message("offer", &format!("mad-{n}")).with("from-tag", "a");
        bencode(&offer.with("sdp", sdp))
    });
    let results = street.storm(offers).await;
    assert!(results.iter().all(|result| result == "error"));
    assert_eq!(street.calls.count(), 0);
    assert_eq!(street.free_ports().await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_come_and_go_ten_thousand_times_and_every_port_comes_back() {
    let mut street = Street::new(23_620..=23_659).await;
    for round in 0..1_000 {
        let id = |n: usize| format!("c-{}", round * 10 + n);
        let offers = (0..10).map(|n| bencode(&offer(&id(n))));
        let offered = street.storm(offers.collect::<Vec<_>>().into_iter()).await;
        assert!(offered.iter().all(|result| result == "ok"), "{round}");
        let deletes = (0..10).map(|n| bencode(&message("delete", &id(n))));
        let deleted = street.storm(deletes.collect::<Vec<_>>().into_iter()).await;
        assert!(deleted.iter().all(|result| result == "ok"), "{round}");
        assert_eq!(street.free_ports().await, 20, "{round}");
    }
    assert_eq!(street.calls.count(), 0);
}
