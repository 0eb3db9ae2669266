//! Listens to a stream that is not armed and counts what an armed one would do.
//!
//! It is handed packets that have been relayed, and has no way to what leaves: a shadowed call's
//! packets are the same bytes at the same times. It listens with the ear of an armed stream, without
//! a slot: a key is told to nobody and wiped with the ear. What it counts tells no key.

mod arrivals;
mod ledger;

use self::{arrivals::Arrivals, ledger::Ledger};
use super::{
    hearing::{Hearing, Sink},
    stream::PayloadTypes,
};
use crate::proto::{
    codec::Audio,
    digit::Key,
    dtmf::{PressesTold, Verdict},
    encoding::{AudioCodec, Encoding},
    rtp::RtpHeader,
    shadow::{Carried, Presses, Tally, ToneSums},
    sip::read_key,
    time::Now,
};

/// Longest body of an INFO that is read.
const MAX_INFO: usize = 256;

/// What shadow mode counts on one call.
#[derive(Default)]
pub(super) struct Shadow {
    listener: Option<(Hearing, Ledger)>,
    arrivals: Arrivals,
    tones: ToneSums,
    tally: Tally,
    /// Whether the next packet is not to be listened to.
    spared: bool,
}

impl Shadow {
    /// A packet of the caller that was relayed.
    pub(super) fn hear(
        &mut self,
        datagram: &[u8],
        header: &RtpHeader,
        types: &PayloadTypes,
        now: Now,
    ) {
        let encoding = types.get(header.payload_type);
        self.tally.packets.count(carried(encoding));
        if std::mem::take(&mut self.spared) {
            self.rest();
            self.tally.packets.came += 1;
            self.tally.packets.unheard += 1;
            return;
        }
        self.arrivals.count(header, &mut self.tally.packets);
        let (hearing, ledger) = self.listener.get_or_insert_with(|| {
            let preferred = types.preferred().map(|(_, codec)| codec);
            let codec = encoding.and_then(Encoding::audio).or(preferred);
            let (ssrc, sequence) = (header.ssrc, header.sequence);
            let codec = codec.unwrap_or(AudioCodec::Pcmu);
            let mut hearing = Hearing::new(ssrc, sequence, header.timestamp, codec, now);
            hearing.seek_tones();
            (hearing, Ledger::default())
        });
        // Nothing hangs on the order of keys that nobody keeps.
        let _ = hearing.handle(datagram, header, types, &mut None, now, ledger);
        count(
            &hearing.take_told(),
            ledger,
            &mut self.tally.presses,
            &mut self.tones,
        );
        // What waits for a packet before it is heard with a later one: nobody waits for it here.
        while hearing.hear_held(types, &mut None, now, ledger).is_some() {
            count(
                &hearing.take_told(),
                ledger,
                &mut self.tally.presses,
                &mut self.tones,
            );
        }
    }

    /// The body of a SIP INFO that goes on as it is.
    pub(super) fn hear_info(&mut self, body: &[u8], now: Now) {
        let mut copy = [0; MAX_INFO];
        let Some(copy) = copy.get_mut(..body.len()) else {
            return;
        };
        copy.copy_from_slice(body);
        // Reading overwrites it.
        if let Ok(key) = read_key(copy) {
            self.hear_press(key, now);
        }
    }

    /// See [`super::Call::handle_press`].
    pub(super) fn hear_press(&mut self, key: Key, now: Now) {
        if let Some((hearing, ledger)) = &mut self.listener {
            hearing.hear_info(key, &mut None, now);
            let told = hearing.take_told();
            count(&told, ledger, &mut self.tally.presses, &mut self.tones);
        } else {
            self.tally.presses.by_info += 1;
        }
    }

    /// See [`super::Call::spare_shadow`].
    pub(super) const fn spare(&mut self) {
        self.spared = true;
    }

    /// Stops listening until the next packet, which follows nothing that came before.
    pub(super) fn rest(&mut self) {
        if let Some((_, mut ledger)) = self.listener.take() {
            ledger.finish();
            self.tally.listening.add(ledger.sums());
        }
        self.arrivals.forget();
    }

    /// What was counted, if anything came.
    pub(super) fn end(mut self) -> Option<Tally> {
        self.rest();
        self.tally.calls = 1;
        self.tally.keyed_calls = u64::from(self.tally.presses.total() > 0);
        self.tally.measures = self.tones.means();
        (self.tally.packets.came > 0).then_some(self.tally)
    }
}

fn count(told: &PressesTold, ledger: &mut Ledger, presses: &mut Presses, tones: &mut ToneSums) {
    if told.by_tone > 0 {
        ledger.key();
    }
    if told.tones {
        ledger.tones();
    }
    presses.by_event += u64::from(told.by_event);
    presses.by_tone += u64::from(told.by_tone);
    presses.by_info += u64::from(told.by_info);
    presses.doubles += u64::from(told.doubles);
    if let Some(measure) = told.measure {
        tones.add(measure.level_dbm0, measure.twist_db, measure.snr_db);
    }
}

impl Sink for Ledger {
    fn audio(&mut self, audio: &Audio<'_>, verdict: &Verdict) {
        Self::audio(self, audio.samples, verdict.suspect());
    }

    fn gap(&mut self, samples: usize, verdict: &Verdict) {
        Self::gap(self, samples as u64, verdict.suspect());
    }

    fn mark(&mut self, verdict: &Verdict) {
        self.event(verdict.suspect());
    }

    fn pressed(&mut self) {}

    fn packet_time(&mut self, _samples: usize) {}

    fn restart(&mut self, _step: i32, passed: usize) {
        self.pass_over(passed as u64);
    }

    fn source_changed(&mut self, _ssrc: u32) {
        self.begin_anew();
    }
}

const fn carried(encoding: Option<Encoding>) -> Carried {
    match encoding {
        Some(Encoding::Audio(AudioCodec::Pcmu)) => Carried::Pcmu,
        Some(Encoding::Audio(AudioCodec::Pcma)) => Carried::Pcma,
        Some(Encoding::Audio(AudioCodec::G722)) => Carried::G722,
        Some(Encoding::Audio(AudioCodec::Opus)) => Carried::Opus,
        Some(Encoding::Audio(AudioCodec::G729)) => Carried::G729,
        Some(Encoding::TelephoneEvent(_)) => Carried::TelephoneEvent,
        Some(Encoding::Tone(_)) => Carried::Tone,
        Some(Encoding::Red) => Carried::Red,
        Some(Encoding::Other) => Carried::Other,
        None => Carried::Undeclared,
    }
}
