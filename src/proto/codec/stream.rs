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
    /// [`StreamDecoder::finish`].
    pub fn decode(&mut self, payload: &[u8]) -> Result<usize, Undecodable> {
        self.finish();
        let narrow = &mut self.buffers.0;
        self.length = match &mut self.wide {
            None => self.decoder.decode(payload, narrow)?,
            Some((decimator, wide)) => {
                let fresh = &mut wide.0[RESAMPLING_DELAY..];
                let samples = self.decoder.decode(payload, fresh)?;
                decimator.decimate(&fresh[..samples], &mut narrow[..samples / 2]);
                samples / 2
            }
        };
        Ok(self.length)
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
