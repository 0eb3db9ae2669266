//! A call over loopback UDP: signalling by NG, media from here, in real time.

use std::{
    f64::consts::TAU,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    net::UdpSocket,
    sync::{Mutex, mpsc},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tonewall::proto::{codec::Law, rtp::write_header};

use super::{Gateway, gateway::PATIENCE};

const PACKET: usize = 160;

/// How keys travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// RFC 4733, beside audio that goes on.
    Event,
    /// In-band.
    Tone,
}

/// One press, 80 ms, then 80 ms of pause.
pub(crate) struct Key(pub(crate) char, pub(crate) How);

/// The caller's stream, in samples, and what is keyed into it.
#[derive(Default)]
struct Clock {
    /// Of the next packet.
    at: AtomicUsize,
    /// The next key goes down no earlier.
    not_before: AtomicUsize,
    /// Keys that were asked for.
    asked: AtomicUsize,
    /// Keys that are up again, their pause included.
    keyed: AtomicUsize,
}

/// Both ends of a call.
pub(crate) struct Ends {
    pub(crate) signalling_id: String,
    pub(crate) id: String,
    /// Where the caller and the agent have their media.
    pub(crate) ports: (u16, u16),
    keys: mpsc::UnboundedSender<Key>,
    dialled: mpsc::UnboundedSender<Key>,
    clock: Arc<Clock>,
    /// What the agent's end got, in order.
    pub(crate) agent_got: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(crate) caller_got: Arc<Mutex<Vec<Vec<u8>>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

pub(crate) fn call_sdp(port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
    )
}

fn media_port(answer: &Value) -> u16 {
    let sdp = answer["sdp"]
        .as_str()
        .unwrap_or_else(|| panic!("no SDP: {answer}"));
    let line = sdp
        .lines()
        .find(|line| line.starts_with("m=audio"))
        .expect("m=audio");
    let port = line.split_whitespace().nth(1).expect("a port");
    port.parse().expect("a number")
}

/// Sets up a call and starts its media.
pub(crate) async fn play(gateway: &Gateway, signalling_id: &str) -> Ends {
    play_of(gateway, signalling_id, "offerer").await
}

/// The same, with what signalling tells of who is the caller (`tonewall-caller`).
pub(crate) async fn play_of(gateway: &Gateway, signalling_id: &str, who: &str) -> Ends {
    play_with(gateway, signalling_id, who, json!({})).await
}

/// The same, whose answer says this besides.
pub(crate) async fn play_with(
    gateway: &Gateway,
    signalling_id: &str,
    who: &str,
    more: Value,
) -> Ends {
    let caller = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let agent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = |socket: &UdpSocket| socket.local_addr().expect("its address").port();
    let offer = gateway
        .ng(
            &json!({"command": "offer", "call-id": signalling_id, "from-tag": "caller",
            "tonewall-caller": who, "replace": ["origin", "session-connection"], "sdp": call_sdp(port(&caller))}),
        )
        .await;
    let to_agent_side = media_port(&offer);
    let mut answer = json!({"command": "answer", "call-id": signalling_id, "from-tag": "caller",
        "to-tag": "agent", "replace": ["origin", "session-connection"], "sdp": call_sdp(port(&agent))});
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
    let answer = gateway.ng(&answer).await;
    let to_caller_side = media_port(&answer);
    let address = |port: u16| -> SocketAddr { ([127, 0, 0, 1], port).into() };
    caller
        .connect(address(to_caller_side))
        .await
        .expect("connected");
    agent
        .connect(address(to_agent_side))
        .await
        .expect("connected");
    let ports = (port(&caller), port(&agent));
    let (caller, agent) = (Arc::new(caller), Arc::new(agent));
    let (keys, queue) = mpsc::unbounded_channel();
    let (dialled, by_agent) = mpsc::unbounded_channel();
    let clock = Arc::<Clock>::default();
    let agent_got = Arc::default();
    let caller_got = Arc::default();
    let tasks = vec![
        tokio::spawn(speak(Arc::clone(&caller), queue, Arc::clone(&clock))),
        tokio::spawn(answer_back(Arc::clone(&agent), by_agent)),
        tokio::spawn(record(agent, Arc::clone(&agent_got))),
        tokio::spawn(record(caller, Arc::clone(&caller_got))),
    ];
    let (_, call) = gateway
        .request("GET", &format!("/v1/calls/{signalling_id}"), None)
        .await;
    Ends {
        signalling_id: signalling_id.to_owned(),
        id: call["id"].as_str().unwrap_or_default().to_owned(),
        ports,
        keys,
        dialled,
        clock,
        agent_got,
        caller_got,
        tasks,
    }
}

impl Ends {
    /// Keys a text and returns when the last key is up and all of it has passed the gateway.
    pub(crate) async fn key(&self, text: &str, how: impl Fn(usize) -> How) {
        self.press(text, how);
        self.until_keyed().await;
        self.settle().await;
    }

    /// Keys a text from sample `start` of the caller's stream on, a multiple of 160, so that two
    /// calls can be keyed alike; panics when that sample has gone by.
    pub(crate) async fn key_at(&self, start: usize, text: &str, how: impl Fn(usize) -> How) {
        self.clock.not_before.store(start, Ordering::SeqCst);
        // One packet that is being made may have read the old value.
        assert!(
            self.position() + PACKET < start,
            "sample {start} went by: this host is too slow"
        );
        self.press(text, how);
        self.until_keyed().await;
    }

    fn press(&self, text: &str, how: impl Fn(usize) -> How) {
        for (number, key) in text.chars().enumerate() {
            self.clock.asked.fetch_add(1, Ordering::SeqCst);
            let key = Key(key, how(number));
            self.keys.send(key).expect("the caller is there");
        }
    }

    async fn until_keyed(&self) {
        let asked = self.clock.asked.load(Ordering::SeqCst);
        let until = Instant::now() + PATIENCE;
        while self.clock.keyed.load(Ordering::SeqCst) < asked {
            assert!(Instant::now() < until, "the caller does not key");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Keys a text on the agent's own telephone, as events.
    pub(crate) fn dial(&self, text: &str) {
        self.dial_by(text, How::Event);
    }

    pub(crate) fn dial_by(&self, text: &str, how: How) {
        for key in text.chars() {
            let key = Key(key, how);
            self.dialled.send(key).expect("the agent is there");
        }
    }

    /// Waits until the agent has got what the caller has sent so far. Datagrams stay in order, so
    /// one that was sent later tells it; numbers may be shifted by some packets after an arming.
    pub(crate) async fn settle(&self) {
        const SHIFT: usize = 10 * PACKET;
        let sent = self.position() + SHIFT;
        let until = Instant::now() + PATIENCE;
        loop {
            let newest = self.agent_got.lock().await.last().map(|packet| {
                let stamp = [packet[4], packet[5], packet[6], packet[7]];
                u32::from_be_bytes(stamp) as usize
            });
            if newest.is_some_and(|newest| newest >= sent) {
                return;
            }
            assert!(
                Instant::now() < until,
                "the agent gets nothing more: {newest:?} of {sent}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until both ends have got so many packets more.
    pub(crate) async fn until_heard(&self, packets: usize) {
        let until = Instant::now() + PATIENCE;
        for (end, got) in [("agent", &self.agent_got), ("caller", &self.caller_got)] {
            let before = got.lock().await.len();
            while got.lock().await.len() < before + packets {
                assert!(Instant::now() < until, "the {end} hears nothing");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Samples that the caller has sent.
    pub(crate) fn position(&self) -> usize {
        self.clock.at.load(Ordering::SeqCst)
    }

    pub(crate) async fn hang_up(self, gateway: &Gateway) {
        for task in &self.tasks {
            task.abort();
        }
        gateway
            .ng(&json!({"command": "delete", "call-id": self.signalling_id, "from-tag": "caller"}))
            .await;
    }
}

/// The same line noise for every caller of every run.
fn noise(n: usize) -> f64 {
    let x = (n as u32).wrapping_mul(2_654_435_761) >> 16;
    f64::from(x % 41) - 20.0
}

fn tone(key: char, n: usize) -> f64 {
    let place = "123A456B789C*0#D".find(key).expect("a key");
    let (row, column) = (
        [697.0, 770.0, 852.0, 941.0][place / 4],
        [1209.0, 1336.0, 1477.0, 1633.0][place % 4],
    );
    let t = n as f64 / 8_000.0;
    7_000.0 * ((TAU * row * t).sin() + (TAU * column * t).sin())
}

/// The caller: line noise, and keys in it, a packet every 20 ms.
async fn speak(socket: Arc<UdpSocket>, mut keys: mpsc::UnboundedReceiver<Key>, clock: Arc<Clock>) {
    let mut ticks = interval_at(Instant::now(), Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sequence, mut at) = (100u16, 0usize);
    let mut down: Option<(Key, usize, usize)> = None;
    let mut pauses = false;
    let mut pause_until = 0;
    loop {
        ticks.tick().await;
        clock.at.store(at, Ordering::SeqCst);
        if pauses && at >= pause_until {
            pauses = false;
            clock.keyed.fetch_add(1, Ordering::SeqCst);
        }
        let earliest = pause_until.max(clock.not_before.load(Ordering::SeqCst));
        if down.is_none() && at >= earliest {
            down = keys.try_recv().ok().map(|key| (key, at, at + 4 * PACKET));
        }
        let mut payload = [0u8; PACKET];
        for (offset, code) in payload.iter_mut().enumerate() {
            let mut sample = noise(at + offset);
            if let Some((Key(key, How::Tone), from, _)) = &down {
                sample += tone(*key, at + offset - from);
            }
            *code = Law::Mu.encode(sample as i16);
        }
        let mut packets = vec![(0, at, payload.to_vec())];
        if let Some((Key(key, How::Event), from, until)) = &down {
            let code = "0123456789*#".find(*key).expect("a key") as u8;
            let last = at + PACKET >= *until;
            let [high, low] = ((at + PACKET - from) as u16).to_be_bytes();
            let flags = if last { 0x8a } else { 0x0a };
            for _ in 0..if last { 3 } else { 1 } {
                packets.push((101, *from, vec![code, flags, high, low]));
            }
        }
        for (kind, stamp, payload) in packets {
            let header = write_header(kind, false, sequence, stamp as u32, 0x0ca1_1e4d);
            sequence = sequence.wrapping_add(1);
            // A port that is gone already ends with the call.
            let _ = socket.send(&[&header[..], &payload].concat()).await;
        }
        at += PACKET;
        if down.as_ref().is_some_and(|(_, _, until)| at >= *until) {
            down = None;
            pauses = true;
            pause_until = at + 4 * PACKET;
        }
    }
}

/// The agent: a constant voice, and in its place what is dialled: 80 ms a key, and 80 ms after it.
async fn answer_back(socket: Arc<UdpSocket>, mut dialled: mpsc::UnboundedReceiver<Key>) {
    let mut ticks = interval_at(Instant::now(), Duration::from_millis(20));
    let mut down: Option<(Key, u16)> = None;
    for sequence in 0u16.. {
        ticks.tick().await;
        if down.is_none() {
            down = dialled.try_recv().ok().map(|key| (key, sequence));
        }
        let (kind, began, payload) = match &down {
            Some((Key(key, How::Tone), began)) if sequence - began < 4 => {
                let first = usize::from(sequence - began) * PACKET;
                let codes = (first..first + PACKET).map(|n| Law::Mu.encode(tone(*key, n) as i16));
                (0, sequence, codes.collect())
            }
            Some((Key(key, How::Event), began)) if sequence - began < 4 => {
                let (key, began) = (*key, *began);
                let code = "0123456789*#".find(key).expect("a key") as u8;
                let lasted = (sequence - began + 1) * 160;
                let [high, low] = lasted.to_be_bytes();
                let flags = if lasted == 640 { 0x8a } else { 0x0a };
                (101, began, vec![code, flags, high, low])
            }
            _ => (0, sequence, vec![0xd5; PACKET]),
        };
        if down
            .as_ref()
            .is_some_and(|(_, began)| sequence - began == 7)
        {
            down = None;
        }
        let header = write_header(kind, false, sequence, u32::from(began) * 160, 0xa6e7);
        let _ = socket.send(&[&header[..], &payload].concat()).await;
    }
}

async fn record(socket: Arc<UdpSocket>, got: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut buffer = [0; 2_048];
    loop {
        if let Ok(length) = socket.recv(&mut buffer).await {
            got.lock().await.push(buffer[..length].to_vec());
        }
    }
}
