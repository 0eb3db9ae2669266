//! The calls of one daemon: what each end sends, and what of it comes out at the other.

use tonewall::proto::rtp::write_header;

use crate::{
    common::tones::{Dice, KEYS},
    histogram::Histogram,
    ng::{Ports, Ways},
    speech::{FRAME, KEY_FRAMES, Speech},
};

pub(crate) const HEADER: usize = 12;
pub(crate) const LONGEST: usize = HEADER + FRAME;
const AUDIO: u8 = 0;
const EVENT: u8 = 101;
/// Packets from one key of a caller to the next: 2 s.
const KEY_PERIOD: u32 = 100;
/// Packets without a known place after which a stream is looked for anew at the latest.
const SEARCH_AFTER: u32 = 8;
/// How far back: samples.
const SEARCH: usize = 16_000;
/// Codewords that are looked for.
const NEEDLE: usize = 16;
/// Codewords of a packet that have to be the sender's.
const SAME: usize = 150;
const NS_OF_SAMPLE: i64 = 125_000;

/// Nanoseconds of a unit of [`Sent`].
const UNIT_NS: u64 = 32;
const DISTURBED: u32 = 1 << 31;
const ARRIVED: u32 = 1 << 30;
const TIME: u32 = ARRIVED - 1;

/// When a packet was sent and whether it has arrived; 0 before it was.
#[derive(Clone, Copy, Default)]
struct Sent(u32);

/// What a caller's packet is.
enum Packet {
    Speech,
    /// Of a key: which packet of it, and how many keys were before.
    Key(u32, u32),
}

/// One direction of a call.
struct Stream {
    voice: u16,
    from: u32,
    /// Packets into [`KEY_PERIOD`]; `None` of an agent, who presses no keys.
    key_phase: Option<u32>,
    /// Keys are tones, or else events.
    in_band: bool,
    ssrc: u32,
    first_sequence: u16,
    first_timestamp: u32,
    /// Whether what the daemon does to it is masking.
    masked: bool,
    /// Where the daemon takes it.
    to: u16,
    /// Of what comes out masked: what its timestamps lack of the sender's.
    lag: Option<u32>,
    /// Packets since the last one whose place was known.
    unplaced: u32,
    numbers: Numbers,
}

/// Of what came of a masked stream in a slice: how many, and their sequence numbers.
#[derive(Default)]
struct Numbers {
    count: u32,
    first: u16,
    /// From the first on.
    lowest: i16,
    highest: i16,
}

impl Numbers {
    fn add(&mut self, number: u16) {
        if self.count == 0 {
            self.first = number;
        }
        // A slice has far fewer than 32,768.
        let at = number.wrapping_sub(self.first) as i16;
        self.lowest = self.lowest.min(at);
        self.highest = self.highest.max(at);
        self.count += 1;
    }

    /// Numbers between the lowest and the highest that did not come.
    fn missing(&self) -> u64 {
        let span = i32::from(self.highest) - i32::from(self.lowest) + 1;
        u64::try_from(span - self.count as i32).unwrap_or(0)
    }
}

/// What came of a slice.
#[derive(Default, Clone)]
pub(crate) struct Arrivals {
    /// Added delay of what was relayed.
    pub(crate) relayed: Histogram,
    /// Of what came through masking: of the voice, wherever in a packet it comes.
    pub(crate) masked: Histogram,
    /// Datagrams, whatever they are.
    pub(crate) all: u64,
    /// Datagrams of the measured time that were to come.
    pub(crate) expected: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// Relayed, but not bit for bit.
    pub(crate) altered: u64,
    /// From nowhere, or of no stream.
    pub(crate) strange: u64,
    /// Packets left out of the delays, for the load was late with them.
    pub(crate) disturbed: u64,
    /// Masked streams of which no word was recognised.
    pub(crate) unrecognised: u64,
    pub(crate) masked_streams: u64,
}

/// All calls of a daemon. Stream 2n is what the caller of call n sends, 2n + 1 what its agent does.
pub(crate) struct Calls<'a> {
    speech: &'a Speech,
    streams: Vec<Stream>,
    /// Stream that comes from each port of the daemon, plus one.
    by_port: Vec<u32>,
    sent: Vec<Sent>,
    /// Packets of a slice.
    frames: u32,
    warm: u32,
    /// Packets of each stream before this slice.
    before: u32,
    /// Samples that passed between slices.
    shift: u32,
    began_ns: u64,
    pub(crate) arrivals: Arrivals,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(
        speech: &'a Speech,
        dice: &mut Dice,
        ports: &[Ports],
        armed: impl Fn(usize) -> Option<Ways>,
    ) -> Self {
        let mut by_port = vec![0; 1 << 16];
        let mut streams = Vec::with_capacity(2 * ports.len());
        for (call, ports) in ports.iter().enumerate() {
            for (caller, to, out) in [
                (true, ports.caller, ports.agent),
                (false, ports.agent, ports.caller),
            ] {
                let ways = armed(call);
                streams.push(Stream {
                    voice: dice.below(speech.voices()) as u16,
                    from: dice.next() as u32,
                    key_phase: caller.then(|| dice.below(KEY_PERIOD as usize) as u32),
                    in_band: call % 2 == 0,
                    ssrc: dice.next() as u32,
                    first_sequence: dice.next() as u16,
                    first_timestamp: dice.next() as u32,
                    masked: ways == Some(Ways::Both) || caller && ways == Some(Ways::One),
                    to,
                    lag: None,
                    unplaced: 0,
                    numbers: Numbers::default(),
                });
                by_port[usize::from(out)] = streams.len() as u32;
            }
        }
        Self {
            speech,
            streams,
            by_port,
            sent: Vec::new(),
            frames: 0,
            warm: 0,
            before: 0,
            shift: 0,
            began_ns: 0,
            arrivals: Arrivals::default(),
        }
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Where the daemon takes a stream.
    pub(crate) fn to(&self, stream: u32) -> u16 {
        self.streams[stream as usize].to
    }

    /// A slice of `frames` packets a stream begins, after a pause; the first `warm` do not count.
    pub(crate) fn begin(&mut self, frames: u32, warm: u32, now_ns: u64) {
        self.before += self.frames;
        if self.frames > 0 {
            let passed = (now_ns - self.began_ns) / NS_OF_SAMPLE as u64;
            // Whole packets, as where a sender was silent.
            let sent = u64::from(self.frames) * FRAME as u64;
            let pause = passed.saturating_sub(sent) / FRAME as u64 * FRAME as u64;
            self.shift = self.shift.wrapping_add(pause as u32);
        }
        self.frames = frames;
        self.warm = warm;
        self.began_ns = now_ns;
        self.sent.clear();
        self.sent
            .resize(self.streams.len() * frames as usize, Sent::default());
        self.arrivals = Arrivals::default();
        for stream in &mut self.streams {
            stream.unplaced = 0;
            stream.numbers = Numbers::default();
        }
    }

    /// Writes packet `frame` of the slice; returns its length.
    pub(crate) fn write(&self, stream: u32, frame: u32, datagram: &mut [u8; LONGEST]) -> usize {
        let stream = &self.streams[stream as usize];
        let (count, first) = (self.before + frame, self.first_timestamp(stream));
        let sequence = stream.first_sequence.wrapping_add(count as u16);
        let timestamp = first.wrapping_add(FRAME as u32 * frame);
        let (payload_type, marker, timestamp, length) = match stream.packet(count) {
            Packet::Key(step, _) if !stream.in_band => {
                let start = timestamp.wrapping_sub(FRAME as u32 * step);
                (EVENT, step == 0, start, HEADER + 4)
            }
            Packet::Speech | Packet::Key(..) => (AUDIO, frame == 0, timestamp, LONGEST),
        };
        let header = write_header(payload_type, marker, sequence, timestamp, stream.ssrc);
        datagram[..HEADER].copy_from_slice(&header);
        self.payload(stream, count, &mut datagram[HEADER..length]);
        length
    }

    fn payload(&self, stream: &Stream, count: u32, payload: &mut [u8]) {
        match stream.packet(count) {
            Packet::Speech => payload.copy_from_slice(self.voice(stream, count, FRAME)),
            Packet::Key(step, number) => {
                let key = (number as usize + stream.from as usize) % KEYS.len();
                if stream.in_band {
                    payload.copy_from_slice(self.speech.tone(key, step));
                } else {
                    payload.copy_from_slice(&event(key, step));
                }
            }
        }
    }

    /// What a stream says from packet `count` on.
    fn voice(&self, stream: &Stream, count: u32, length: usize) -> &'a [u8] {
        let from = u64::from(stream.from) + FRAME as u64 * u64::from(count);
        self.speech.voice(stream.voice.into(), from, length)
    }

    /// Timestamp of the slice's first packet.
    fn first_timestamp(&self, stream: &Stream) -> u32 {
        stream
            .first_timestamp
            .wrapping_add(self.shift)
            .wrapping_add((FRAME as u32).wrapping_mul(self.before))
    }

    /// Packet `frame` was sent at a time; `disturbed` when that is not known well, or was late.
    pub(crate) fn sent(&mut self, stream: u32, frame: u32, at_ns: u64, disturbed: bool) {
        let units = ((at_ns.saturating_sub(self.began_ns)) / UNIT_NS) as u32 & TIME;
        let place = stream as usize * self.frames as usize + frame as usize;
        self.sent[place].0 |= units.max(1) | if disturbed { DISTURBED } else { 0 };
    }

    /// A datagram came from a port of the daemon.
    pub(crate) fn arrived(&mut self, port: u16, datagram: &[u8], at_ns: u64) {
        self.arrivals.all += 1;
        let Some(number) = self.by_port[usize::from(port)].checked_sub(1) else {
            self.arrivals.strange += 1;
            return;
        };
        if datagram.len() < HEADER {
            self.arrivals.strange += 1;
        } else if self.streams[number as usize].masked {
            self.masked(number as usize, datagram, at_ns);
        } else {
            self.relayed(number, datagram, at_ns);
        }
    }

    fn relayed(&mut self, number: u32, datagram: &[u8], at_ns: u64) {
        let stream = &self.streams[number as usize];
        let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
        let first = stream.first_sequence.wrapping_add(self.before as u16);
        let frame = u32::from(sequence.wrapping_sub(first));
        if frame >= self.frames {
            // Of the slice before: it was late by seconds, and counted as lost there.
            return;
        }
        let mut own = [0; LONGEST];
        let length = self.write(number, frame, &mut own);
        if datagram != &own[..length] {
            self.arrivals.altered += 1;
        }
        if let Some(since) = self.take(number as usize, frame, at_ns) {
            self.arrivals.relayed.add(since.max(0).unsigned_abs());
        }
    }

    /// Marks a packet as arrived; how long it took, where that counts.
    fn take(&mut self, stream: usize, frame: u32, at_ns: u64) -> Option<i64> {
        let place = &mut self.sent[stream * self.frames as usize + frame as usize];
        if place.0 & ARRIVED != 0 {
            self.arrivals.twice += 1;
            return None;
        }
        place.0 |= ARRIVED;
        if frame < self.warm {
            return None;
        }
        if place.0 & DISTURBED != 0 {
            self.arrivals.disturbed += 1;
            return None;
        }
        Some(since(self.began_ns, *place, at_ns))
    }

    /// What comes out of masking has new headers and maybe new packets: its place is found by what
    /// it says.
    fn masked(&mut self, number: usize, datagram: &[u8], at_ns: u64) {
        let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
        self.streams[number].numbers.add(sequence);
        let Some(audio) = datagram.get(HEADER..LONGEST) else {
            return;
        };
        let timestamp = [datagram[4], datagram[5], datagram[6], datagram[7]];
        let timestamp = u32::from_be_bytes(timestamp);
        let stream = &self.streams[number];
        let first = self.first_timestamp(stream);
        let place = |lag: u32| timestamp.wrapping_add(lag).wrapping_sub(first) as i32;
        let known = stream.lag.map(place);
        let says = known.is_some_and(|sample| self.says(stream, sample, audio));
        let sample = if says {
            known
        } else if stream.unplaced.is_multiple_of(SEARCH_AFTER)
            || stream.unplaced < SEARCH_AFTER && stream.unplaced.is_power_of_two()
        {
            self.search(number, audio)
        } else {
            None
        };
        let stream = &mut self.streams[number];
        stream.unplaced = if sample.is_some() {
            0
        } else {
            stream.unplaced + 1
        };
        if let Some(sample) = sample {
            stream.lag = Some(first.wrapping_add_signed(sample).wrapping_sub(timestamp));
        }
        // Replaced audio has its place from the packets around it.
        let Some(at) = sample.or(known).and_then(|at| u32::try_from(at).ok()) else {
            return;
        };
        let (frame, offset) = (at / FRAME as u32, at % FRAME as u32);
        let nearest = (at + FRAME as u32 / 2) / FRAME as u32;
        if nearest < self.frames {
            let mark = &mut self.sent[number * self.frames as usize + nearest as usize];
            mark.0 |= ARRIVED;
        }
        // What is late itself makes the packet late that ends with it.
        let last = frame + u32::from(offset > 0);
        if sample.is_none() || frame < self.warm || last >= self.frames {
            return;
        }
        let sent = |frame: u32| self.sent[number * self.frames as usize + frame as usize];
        if (sent(frame).0 | sent(last).0) & DISTURBED != 0 {
            self.arrivals.disturbed += 1;
            return;
        }
        let since = since(self.began_ns, sent(frame), at_ns) - i64::from(offset) * NS_OF_SAMPLE;
        self.arrivals.masked.add(since.max(0).unsigned_abs());
    }

    /// Whether audio is what the sender said from a sample of the slice on.
    fn says(&self, stream: &Stream, sample: i32, audio: &[u8]) -> bool {
        let own = i64::from(sample) + FRAME as i64 * i64::from(self.before);
        let Ok(own) = u64::try_from(own) else {
            return false;
        };
        let said = u64::from(stream.from) + own;
        let said = self.speech.voice(stream.voice.into(), said, FRAME);
        said.iter().zip(audio).filter(|(a, b)| a == b).count() >= SAME
    }

    /// The sample of the slice at which the sender said this, among the last two seconds of it.
    fn search(&self, number: usize, audio: &[u8]) -> Option<i32> {
        let stream = &self.streams[number];
        let of_stream = &self.sent[number * self.frames as usize..][..self.frames as usize];
        let sent = of_stream.iter().take_while(|sent| sent.0 != 0).count();
        let end = FRAME * (self.before as usize + sent);
        let from = end.saturating_sub(SEARCH);
        let begin = u64::from(stream.from) + from as u64;
        let said = self.speech.voice(stream.voice.into(), begin, end - from);
        let middle = (FRAME - NEEDLE) / 2;
        let needle = &audio[middle..middle + NEEDLE];
        let mut places = said.windows(NEEDLE).enumerate();
        places.find_map(|(at, found)| {
            let sample = (from + at) as i64 - middle as i64 - FRAME as i64 * i64::from(self.before);
            let sample = i32::try_from(sample).ok()?;
            (found == needle && self.says(stream, sample, audio)).then_some(sample)
        })
    }

    /// Counts what has not come.
    pub(crate) fn end(&mut self) {
        for number in 0..self.streams.len() {
            let stream = &self.streams[number];
            let (expected, missing) = if stream.masked {
                self.arrivals.masked_streams += 1;
                self.arrivals.unrecognised += u64::from(stream.lag.is_none());
                self.missing_of_masked(number)
            } else {
                let missing = |frame: &u32| !self.has_arrived(number, *frame);
                let counted = self.warm..self.frames;
                (counted.len() as u64, counted.filter(missing).count() as u64)
            };
            self.arrivals.expected += expected;
            self.arrivals.lost += missing;
        }
    }

    /// Packets that were to come of a masked stream, and those that did not.
    ///
    /// Keys are not counted, nor what is beside them: what stands in their place need not have their
    /// number of packets. Where a mask has moved what follows it, places are known only a few packets
    /// later; so nothing is lost where as many packets came as were sent, in unbroken numbers.
    fn missing_of_masked(&self, number: usize) -> (u64, u64) {
        let stream = &self.streams[number];
        let is_key = |frame| matches!(stream.packet(self.before + frame), Packet::Key(..));
        let near_key = |frame: u32| (frame.saturating_sub(1)..=frame + 1).any(is_key);
        // The end may still wait for what follows it.
        let counted = (self.warm..self.frames - 2).filter(|frame| !near_key(*frame));
        let (expected, places) = counted.fold((0, 0), |(expected, places), frame| {
            let missing = !self.has_arrived(number, frame);
            (expected + 1, places + u64::from(missing))
        });
        let of_events = match stream.in_band {
            true => 0,
            false => (0..self.frames).filter(|frame| is_key(*frame)).count(),
        };
        let fewer = (self.frames - 2)
            .saturating_sub(stream.numbers.count)
            .saturating_sub(of_events as u32);
        let lost = places.min(fewer.into()).max(stream.numbers.missing());
        (expected, lost.min(expected))
    }

    fn has_arrived(&self, stream: usize, frame: u32) -> bool {
        self.sent[stream * self.frames as usize + frame as usize].0 & ARRIVED != 0
    }
}

impl Stream {
    fn packet(&self, count: u32) -> Packet {
        let Some(phase) = self.key_phase else {
            return Packet::Speech;
        };
        let at = count + phase;
        match at % KEY_PERIOD {
            step if step < KEY_FRAMES => Packet::Key(step, at / KEY_PERIOD),
            _ => Packet::Speech,
        }
    }
}

fn since(began_ns: u64, sent: Sent, at_ns: u64) -> i64 {
    at_ns as i64 - (began_ns + u64::from(sent.0 & TIME) * UNIT_NS) as i64
}

/// Payload of a telephone-event (RFC 4733 section 2.3): 60 ms, its end sent three times.
fn event(key: usize, step: u32) -> [u8; 4] {
    const EVENTS: &[u8; 16] = b"0123456789*#ABCD";
    let code = EVENTS.iter().position(|event| *event == KEYS[key]);
    let duration = (FRAME as u32 * (step + 1).min(3)) as u16;
    let [high, low] = duration.to_be_bytes();
    let end = if step >= 2 { 0x80 } else { 0 };
    [code.unwrap_or(0) as u8, end | 10, high, low]
}
