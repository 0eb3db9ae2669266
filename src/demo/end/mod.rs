//! The simulated ends of a call: a telephone and an agent's softphone, each a process of its own,
//! so that what they know is not in the gateway's memory, nor in the orchestrator's.
//!
//! They take commands as JSON lines on standard input, end when it closes, and report progress as
//! JSON lines on standard output. No digit is in either.

mod cards;
mod line;
mod received;

use std::{
    io::{self, BufRead, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub(crate) use self::cards::names as card_names;
use self::{
    line::{Line, Way},
    received::Received,
};
use super::{listen, script, wav};
use crate::proto::field::Field;

/// The hidden subcommand under which this binary plays an end.
pub(crate) const SUBCOMMAND: &str = "demo-end";
/// Packet time of the demo's calls.
const PACKET_TIME: Duration = Duration::from_millis(20);
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Which end to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The customer with a telephone and a test card.
    Caller,
    /// The agent, who listens closely.
    Agent,
}

/// How to play a simulated end of a call; the demo starts two of these.
#[derive(Debug, Clone, clap::Args)]
pub struct EndArgs {
    /// Which end to play.
    pub role: Role,
    /// The test card that the caller holds, by name.
    #[arg(long, default_value = "approved")]
    pub card: String,
    /// Key of the HMAC-SHA256 by which keyed fields are compared without being told, in hex.
    #[arg(long, default_value = "")]
    pub digest_key: String,
    /// Where to write the recording when told to finish.
    #[arg(long)]
    pub record: Option<PathBuf>,
}

/// What an end is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Send media there and take it from there only.
    Connect {
        /// The gateway's address for this leg.
        to: SocketAddr,
    },
    /// Say a sentence of the script.
    Say {
        /// Its name.
        sentence: String,
    },
    /// Key a field of the card.
    Key {
        /// Which.
        field: Field,
    },
    /// Take another card out of the wallet.
    TakeCard {
        /// Its name.
        card: String,
    },
    /// Stop sending, write the recording, examine it and end.
    Finish,
}

/// What an end tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The sockets are open.
    Ready {
        /// RTP port; RTCP is the next.
        rtp: u16,
    },
    /// The first packet of the other end came.
    Hears,
    /// A sentence was said to its end.
    Said {
        /// Its name.
        sentence: String,
    },
    /// A field was keyed to its end.
    Keyed {
        /// Which.
        field: Field,
        /// Keys by the way they took.
        keys: Keys,
        /// HMAC-SHA256 of the digits, in hex.
        hmac: String,
    },
    /// An order could not be carried out.
    Refused {
        /// Why.
        reason: String,
    },
    /// The last report.
    Finished(Box<Finding>),
}

/// Keys by the way they took through the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// As tones in the audio.
    pub(crate) tone: usize,
    /// As RFC 4733 events.
    pub(crate) event: usize,
    /// As both.
    pub(crate) both: usize,
}

impl Keys {
    pub(crate) fn total(self) -> usize {
        self.tone + self.event + self.both
    }

    fn count(&mut self, way: Way) {
        match way {
            Way::Tone => self.tone += 1,
            Way::Event => self.event += 1,
            Way::Both => self.both += 1,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.tone += other.tone;
        self.event += other.event;
        self.both += other.both;
    }
}

/// What an end knows when the call is over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Keys that this end pressed.
    pub(crate) keys: Keys,
    /// When each went down and came up, seconds since the first packet sent.
    pub(crate) key_times: Vec<(f64, f64)>,
    /// When the first packet was sent, microseconds since 1970.
    pub(crate) first_sent_us: i64,
    /// RTP packets sent.
    pub(crate) packets_sent: u64,
    /// RTP packets of audio received.
    pub(crate) packets_received: u64,
    /// Sequence numbers that never came.
    pub(crate) packets_lost: u64,
    /// Packets that came after a later one.
    pub(crate) packets_late: u64,
    /// When sample 0 of the recording of what was received came, microseconds since 1970; one
    /// median for each second of it.
    pub(crate) arrivals_us: Vec<Option<i64>>,
    /// The examination of the recording: for the caller of what was sent (a control: all keys must
    /// be found), for the agent of what was received (none may be).
    pub(crate) strict: Examination,
    /// The same by the greedy listener.
    pub(crate) greedy: Examination,
    /// RFC 4733 events received, DTMF or not.
    pub(crate) events_received: usize,
    /// Packets received of neither audio nor events.
    pub(crate) strange_packets: u64,
}

/// What one listener found in a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Examination {
    /// Keys of this end that it found, each where it was pressed.
    pub(crate) found: usize,
    /// Readings where this end pressed no key.
    pub(crate) stray: usize,
}

/// Plays an end until standard input closes or it is told to finish.
///
/// # Errors
/// When a socket cannot be opened, the card is unknown or the recording cannot be written.
pub fn run(args: &EndArgs) -> Result<ExitCode> {
    let (orders, receiver) = mpsc::channel();
    thread::spawn(move || {
        for text in io::stdin().lock().lines().map_while(Result::ok) {
            let order = serde_json::from_str::<Order>(&text).map_err(|error| error.to_string());
            if orders.send(order).is_err() {
                return;
            }
        }
    });
    let mut out = io::stdout();
    let report = move |report: Report| -> Result<()> {
        serde_json::to_writer(&mut out, &report)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    };
    End::new(args)?.play(&receiver, report)?;
    Ok(ExitCode::SUCCESS)
}

/// An end and its call.
struct End {
    role: Role,
    card: cards::Card,
    digest_key: Vec<u8>,
    record: Option<PathBuf>,
    rtp: UdpSocket,
    // Held so that RTCP has somewhere to go; the demo does not read it.
    _rtcp: UdpSocket,
    /// Datagrams and when they came, once connected.
    incoming: Option<Receiver<(Vec<u8>, i64)>>,
    line: Line,
    received: Received,
    keys: Keys,
    first_sent_us: i64,
}

impl End {
    fn new(args: &EndArgs) -> Result<Self> {
        let (rtp, rtcp) = bind_pair()?;
        Ok(Self {
            role: args.role,
            card: cards::by_name(&args.card)?,
            digest_key: from_hex(&args.digest_key)?,
            record: args.record.clone(),
            rtp,
            _rtcp: rtcp,
            incoming: None,
            line: Line::new(),
            received: Received::default(),
            keys: Keys::default(),
            first_sent_us: 0,
        })
    }

    fn play(
        mut self,
        orders: &Receiver<Result<Order, String>>,
        mut report: impl FnMut(Report) -> Result<()>,
    ) -> Result<()> {
        let rtp = self.rtp.local_addr()?.port();
        report(Report::Ready { rtp })?;
        let mut next_tick = Instant::now();
        loop {
            loop {
                match orders.try_recv() {
                    Ok(Ok(Order::Finish)) => {
                        let finding = self.examine()?;
                        return report(Report::Finished(Box::new(finding)));
                    }
                    Ok(Ok(order)) => {
                        if let Err(error) = self.obey(order) {
                            report(Report::Refused {
                                reason: format!("{error:#}"),
                            })?;
                        }
                    }
                    Ok(Err(reason)) => report(Report::Refused { reason })?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if self.incoming.is_some() {
                if self.first_sent_us == 0 {
                    self.first_sent_us = now_us();
                }
                let rtp = &self.rtp;
                // A packet that the kernel refuses (the other end is gone) is a lost packet.
                self.line.tick(|packet| drop(rtp.send(packet)));
            }
            while let Some(done) = self.line.take_done() {
                if let Report::Keyed { keys, .. } = &done {
                    self.keys.add(*keys);
                }
                report(done)?;
            }
            next_tick += PACKET_TIME;
            if self.receive_until(next_tick) {
                report(Report::Hears)?;
            }
        }
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Connect { to } => {
                self.rtp.connect(to)?;
                self.incoming = Some(listen_to(self.rtp.try_clone()?));
            }
            Order::Say { sentence } => {
                self.line.play(&script::samples(&sentence)?);
                self.line.then(Report::Said { sentence });
            }
            Order::Key { field } => {
                let digits = self.card.digits(field)?;
                let keys = self.line.press(digits);
                let hmac = digest(&self.digest_key, digits)?;
                self.line.then(Report::Keyed { field, keys, hmac });
            }
            Order::TakeCard { card } => self.card = cards::by_name(&card)?,
            // Taken by `play`.
            Order::Finish => {}
        }
        Ok(())
    }

    /// Waits for the next tick and takes what came; true when the first packet ever did.
    fn receive_until(&mut self, tick: Instant) -> bool {
        thread::sleep(tick.saturating_duration_since(Instant::now()));
        let mut first = false;
        while let Some((datagram, came_us)) = self.incoming.as_ref().and_then(|i| i.try_recv().ok())
        {
            first |= self.received.take(&datagram, came_us);
        }
        first
    }

    /// Writes the recording and lets the listeners at it.
    fn examine(self) -> Result<Finding> {
        let presses = self.line.presses();
        let (recording, pressed) = match self.role {
            Role::Caller => (self.line.recording(), presses),
            Role::Agent => (self.received.recording(), &[][..]),
        };
        if let Some(path) = &self.record {
            write_recording(path, recording)?;
        }
        let examine = |heard: &[listen::Heard]| {
            let (found, stray) = listen::compare(heard, pressed);
            Examination { found, stray }
        };
        let seconds = |samples: usize| samples as f64 / f64::from(wav::RATE);
        Ok(Finding {
            keys: self.keys,
            key_times: presses
                .iter()
                .map(|p| (seconds(p.1), seconds(p.2)))
                .collect(),
            first_sent_us: self.first_sent_us,
            packets_sent: self.line.packets_sent(),
            packets_received: self.received.packets,
            packets_lost: self.received.lost(),
            packets_late: self.received.late,
            arrivals_us: self.received.arrivals_us(),
            strict: examine(&listen::strict(recording)),
            greedy: examine(&listen::greedy(recording)),
            events_received: self.received.events(),
            strange_packets: self.received.strange,
        })
    }
}

/// Receives on a thread of its own, so that the time of arrival is the true one and sending keeps
/// its pace.
fn listen_to(socket: UdpSocket) -> Receiver<(Vec<u8>, i64)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        loop {
            // Refused by the other end (it is not there yet, or gone): nothing came.
            let Ok(length) = socket.recv(&mut datagram) else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            if sender
                .send((datagram[..length].to_vec(), now_us()))
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn write_recording(path: &Path, samples: &[i16]) -> Result<()> {
    if samples.is_empty() {
        bail!("nothing was recorded for {}: no media came", path.display());
    }
    wav::write(path, samples)
}

/// Two sockets on an even port and the next (RFC 3550 §11).
fn bind_pair() -> Result<(UdpSocket, UdpSocket)> {
    for _ in 0..64 {
        let any = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = any.local_addr()?.port();
        if port % 2 != 0 || port == u16::MAX - 1 {
            continue;
        }
        if let Ok(next) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1)) {
            return Ok((any, next));
        }
    }
    bail!("found no even UDP port with a free one after it in 64 tries")
}

/// HMAC-SHA256 of the digits as ASCII, in hex.
fn digest(key: &[u8], digits: &[u8]) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).context("no key for the digest")?;
    mac.update(digits);
    let bytes = mac.finalize().into_bytes();
    Ok(to_hex(&bytes))
}

/// Bytes as lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(HEX[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let nibble = |letter: u8| HEX.iter().position(|known| *known == letter);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [a, b] => match (nibble(*a), nibble(*b)) {
                (Some(a), Some(b)) => Ok((a * 16 + b) as u8),
                _ => bail!("found a letter that is no hex digit in the digest key"),
            },
            _ => bail!("found an odd number of hex digits in the digest key"),
        })
        .collect()
}

/// Microseconds since 1970: the clock that both ends, on one machine, share.
fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
