//! A stream of a codec with a memory, decoded for two at once: whoever wants it at the codec's rate,
//! and the ear at 8 kHz.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    Audio, AudioCodec, Decimator, Decoder, Form, MAX_LENGTH, MAX_SAMPLES, RESAMPLING_DELAY,
    Undecodable,
};

/// Decodes one stream of a codec with a memory. Wiped on drop.
pub struct StreamDecoder {
    decoder: Decoder,
    buffers: Box<Narrow>,
    /// For a codec of 16 kHz.
    wide: Option<(Decimator, Box<Wide>)>,
    /// Samples of 8 kHz that were decoded last.
    length: usize,
}

/// What was decoded last, at 8 kHz.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Narrow([i16; MAX_LENGTH]);

/// The same at 16 kHz and of the same instants: it waits for what the filter of the other takes,
/// [`RESAMPLING_DELAY`]. What still waits of the packet before, then the packet.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Wide([i16; RESAMPLING_DELAY + MAX_SAMPLES]);

impl StreamDecoder {
    /// For a stream that begins; nothing for G.711, which has no memory.
    #[must_use]
    pub fn new(codec: AudioCodec) -> Option<Self> {
        let wide = || {
            let samples = Wide([0; RESAMPLING_DELAY + MAX_SAMPLES]);
            (Decimator::default(), Box::new(samples))
        };
        codec.law().is_none().then(|| Self {
            decoder: Decoder::new(codec),
            buffers: Box::new(Narrow([0; MAX_LENGTH])),
            wide: codec.is_wide().then(wide),
            length: 0,
        })
    }

    /// What it decodes.
    #[must_use]
    pub const fn codec(&self) -> AudioCodec {
        self.decoder.codec()
    }

    /// Decodes a packet; how long it lasts, in samples of 8 kHz. [`StreamDecoder::piece`] has it until
    /// [`StreamDecoder::finish`]. One that cannot be decoded is as one that never came.
    pub fn decode(&mut self, payload: &[u8]) -> Result<usize, Undecodable> {
        self.finish();
        let decoded = self.decode_into_buffers(payload);
        match decoded {
            Ok(length) => self.length = length,
            Err(_) => self.lose(0),
        }
        decoded
    }

    fn decode_into_buffers(&mut self, payload: &[u8]) -> Result<usize, Undecodable> {
        let narrow = &mut self.buffers.0;
        let Some((decimator, wide)) = &mut self.wide else {
            return self.decoder.decode(payload, narrow);
        };
        let fresh = &mut wide.0[RESAMPLING_DELAY..];
        let samples = self.decoder.decode(payload, fresh)?;
        decimator.decimate(&fresh[..samples], &mut narrow[..samples / 2]);
        Ok(samples / 2)
    }

    /// A piece of the packet decoded last, by its samples of 8 kHz.
    #[must_use]
    pub fn piece(&self, from: usize, until: usize) -> Audio<'_> {
        let until = until.min(self.length);
        let from = from.min(until);
        Audio {
            samples: &self.buffers.0[from..until],
            form: match &self.wide {
                None => Form::Narrow,
                Some((_, wide)) => Form::Wide(&wide.0[2 * from..2 * until]),
            },
        }
    }

    /// Overwrites the packet decoded last, but for its end at 16 kHz, which the next one begins with.
    pub fn finish(&mut self) {
        let length = std::mem::take(&mut self.length);
        self.buffers.0[..length].zeroize();
        if let Some((_, wide)) = &mut self.wide {
            wide.0
                .copy_within(2 * length..2 * length + RESAMPLING_DELAY, 0);
            wide.0[RESAMPLING_DELAY..][..2 * length].zeroize();
        }
    }

    /// So many samples of 8 kHz never came, or were of another codec: nothing of what went before
    /// is heard any more.
    pub fn lose(&mut self, length: usize) {
        self.buffers.zeroize();
        self.length = 0;
        if let Some((decimator, wide)) = &mut self.wide {
            wide.zeroize();
            decimator.forget();
        }
        self.decoder.lose(length);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Encoder, tests::voice};
    use super::*;

    const WITH_MEMORY: [AudioCodec; 3] = [AudioCodec::G722, AudioCodec::Opus, AudioCodec::G729];

    /// Packets of 20 ms of a voice.
    fn packets(codec: AudioCodec) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(codec);
        let voice = voice(codec.rate_hz(), 10 * codec.rate_hz() as usize / 50);
        let packets = voice.chunks_exact(voice.len() / 10);
        packets
            .map(|samples| {
                let mut payload = [0; 480];
                let bytes = encoder.encode(samples, &mut payload);
                payload[..bytes].to_vec()
            })
            .collect()
    }

    /// Whether nothing that was decoded stands in the buffers, but for what the next packet begins with.
    fn is_overwritten(decoder: &StreamDecoder, but_the_tail: bool) -> bool {
        let wide = decoder.wide.as_ref().map_or(&[][..], |(_, wide)| &wide.0);
        let tail = if but_the_tail { RESAMPLING_DELAY } else { 0 };
        let mut rest = wide.iter().skip(tail).chain(&decoder.buffers.0);
        rest.all(|sample| *sample == 0)
    }

    #[test]
    fn what_was_decoded_is_overwritten_as_soon_as_it_was_heard() {
        for codec in WITH_MEMORY {
            let mut decoder = StreamDecoder::new(codec).unwrap();
            for packet in packets(codec) {
                let length = decoder.decode(&packet).unwrap();
                assert_eq!(length, 160);
                assert!(!is_overwritten(&decoder, true), "{codec:?}: no voice");
                decoder.finish();
                assert!(is_overwritten(&decoder, true), "{codec:?}");
            }
            decoder.lose(0);
            assert!(is_overwritten(&decoder, false), "{codec:?}");
        }
    }

    #[test]
    fn nothing_from_before_a_packet_that_cannot_be_decoded_is_heard_behind_it() {
        // Too long, and one that the codec itself refuses.
        for (codec, nonsense) in [
            (AudioCodec::G722, vec![7; MAX_LENGTH + 1]),
            (AudioCodec::Opus, vec![0xFF; 300]),
            (AudioCodec::G729, vec![0; 9]),
        ] {
            let mut decoder = StreamDecoder::new(codec).unwrap();
            let packets = packets(codec);
            for packet in &packets[..5] {
                decoder.decode(packet).unwrap();
            }
            assert!(decoder.decode(&nonsense).is_err(), "{codec:?}");
            assert!(is_overwritten(&decoder, false), "{codec:?}");
            assert_eq!(decoder.piece(0, MAX_LENGTH).samples.len(), 0);
            decoder.decode(&packets[5]).unwrap();
            if let Form::Wide(wide) = decoder.piece(0, RESAMPLING_DELAY / 2).form {
                assert_eq!(wide, [0; RESAMPLING_DELAY], "{codec:?}");
            }
        }
    }
}
