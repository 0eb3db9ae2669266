//! Audio of the caller: decoded, put into its place on the caller's time, and heard.

use zeroize::Zeroize;

use crate::proto::{
    codec::{Audio, Form, Law, StreamDecoder},
    dtmf::Order,
    encoding::AudioCodec,
    rtp::difference,
};

use super::{Hearing, Keys, MAX_GAP, PIECE, Packet, Sink};

impl Hearing {
    pub(super) fn hear_audio(
        &mut self,
        packet: &Packet<'_>,
        codec: AudioCodec,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) -> Order {
        let (payload, timestamp) = (packet.payload, packet.timestamp);
        if codec.law().is_none() && codec.length_of(payload).is_err() {
            return self.refuse(packet, sink);
        }
        self.follow_codec(timestamp, codec, sink);
        let step = self.samples_until(timestamp);
        let skip = if !(-MAX_GAP..=MAX_GAP).contains(&step) {
            self.restart(timestamp, sink);
            0
        } else if step > 0 {
            self.gap(step, sink);
            0
        } else {
            // An event covered the beginning of this packet already.
            usize::try_from(-step).unwrap_or(usize::MAX)
        };
        match codec.law() {
            Some(law) => self.hear_codes(payload, skip, law, keys, sink),
            None => self.hear_stream(packet, skip, keys, sink),
        }
        self.last_audio = Some(keys.now.instant);
        Order::Kept
    }

    fn hear_codes(
        &mut self,
        payload: &[u8],
        skip: usize,
        law: Law,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) {
        let codes = payload.get(skip..).unwrap_or_default();
        if codes.is_empty() {
            return;
        }
        sink.packet_time(payload.len());
        let mut samples = [0i16; PIECE];
        for codes in codes.chunks(PIECE) {
            let samples = &mut samples[..codes.len()];
            for (code, sample) in codes.iter().zip(&mut *samples) {
                *sample = law.decode(*code);
            }
            let audio = Audio {
                samples,
                form: Form::Codewords(law, codes),
            };
            let verdict = keys.hear(|slot, pressed| self.ear.hear_audio(&audio, slot, pressed));
            sink.audio(&audio, &verdict);
        }
        self.expected = self.expected.wrapping_add(codes.len() as u32);
        samples.zeroize();
    }

    fn hear_stream(
        &mut self,
        packet: &Packet<'_>,
        skip: usize,
        keys: &mut Keys<'_>,
        sink: &mut impl Sink,
    ) {
        let (payload, start) = (packet.payload, self.position_of(packet.timestamp));
        let Some(decoder) = decoder_of(&mut self.decoders, self.codec) else {
            return;
        };
        let Ok(length) = decoder.decode(payload) else {
            // Its time passes all the same: as a loss, when the next one comes.
            self.refused += 1;
            return;
        };
        if !self.codec.describes_silence(payload) {
            sink.packet_time(length);
        }
        self.recent.keep(payload, start, length);
        for from in (skip..length).step_by(PIECE) {
            let audio = decoder.piece(from, from + PIECE);
            let verdict = keys.hear(|slot, pressed| self.ear.hear_audio(&audio, slot, pressed));
            sink.audio(&audio, &verdict);
        }
        decoder.finish();
        let heard = length.saturating_sub(skip) as u32;
        self.expected = self
            .expected
            .wrapping_add(heard.wrapping_mul(self.codec.ticks()));
    }

    /// The caller goes on in another codec. Decoders keep nothing of what was before, and what was
    /// not heard to its end is not to be heard; numbers in another clock begin anew.
    fn follow_codec(&mut self, timestamp: u32, codec: AudioCodec, sink: &mut impl Sink) {
        let before = std::mem::replace(&mut self.codec, codec);
        if before == codec {
            return;
        }
        self.ear.set_straying(codec.straying());
        self.recent.forget();
        if before.clock_hz() != codec.clock_hz() {
            self.expected = timestamp;
        }
        if before.law().is_none() || codec.law().is_none() {
            self.gap(0, sink);
        }
    }

    /// Samples of 8 kHz from what was heard to `timestamp`.
    pub(super) const fn samples_until(&self, timestamp: u32) -> i32 {
        difference(timestamp, self.expected) / self.codec.ticks().cast_signed()
    }

    /// Where on the scale of the samples heard a timestamp lies.
    pub(super) fn position_of(&self, timestamp: u32) -> i64 {
        let heard = i64::try_from(self.ear.heard()).unwrap_or(i64::MAX);
        heard.saturating_add(i64::from(self.samples_until(timestamp)))
    }

    /// `samples` of the caller's time without audio.
    pub(super) fn gap(&mut self, samples: i32, sink: &mut impl Sink) {
        let samples = usize::try_from(samples).unwrap_or(0);
        self.lose(samples);
        let verdict = self.ear.hear_gap(samples);
        sink.gap(samples, &verdict);
        let ticks = (samples as u32).wrapping_mul(self.codec.ticks());
        self.expected = self.expected.wrapping_add(ticks);
    }

    /// The caller's timeline jumps to `timestamp`.
    pub(super) fn restart(&mut self, timestamp: u32, sink: &mut impl Sink) {
        let step = self.samples_until(timestamp);
        self.expected = timestamp;
        let passed = usize::try_from(step.clamp(0, 8_000)).unwrap_or(0);
        self.lose(passed);
        self.ear.hear_jump(passed);
        sink.restart(step, passed);
    }

    /// What comes next does not follow what was decoded last.
    fn lose(&mut self, samples: usize) {
        for decoder in &mut self.decoders {
            decoder.lose(samples);
        }
    }
}

/// The decoder of a codec with a memory, made where there is none.
fn decoder_of(all: &mut Vec<StreamDecoder>, codec: AudioCodec) -> Option<&mut StreamDecoder> {
    if !all.iter().any(|decoder| decoder.codec() == codec) {
        all.extend(StreamDecoder::new(codec));
    }
    all.iter_mut().find(|decoder| decoder.codec() == codec)
}
