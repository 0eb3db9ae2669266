//! A stream of 16 kHz, decoded for two at once: whoever listens at 16 kHz, and the ear at 8 kHz.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    Audio, AudioCodec, Decimator, Decoder, Form, MAX_LENGTH, MAX_SAMPLES, RESAMPLING_DELAY,
    Undecodable,
};

/// Decodes one stream of a codec of 16 kHz. Both forms of a piece are of the same instants: the
/// wide one waits for what the filter of the other takes, [`RESAMPLING_DELAY`]. Wiped on drop.
pub struct Wideband {
    decoder: Decoder,
    decimator: Decimator,
    buffers: Box<Buffers>,
    /// Samples of 8 kHz that were decoded last.
    length: usize,
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Buffers {
    /// What still waits of the packet before, then the packet.
    wide: [i16; RESAMPLING_DELAY + MAX_SAMPLES],
    narrow: [i16; MAX_LENGTH],
}

impl Wideband {
    /// For a stream that begins; nothing for a codec of 8 kHz.
    #[must_use]
    pub fn new(codec: AudioCodec) -> Option<Self> {
        codec.law().is_none().then(|| Self {
            decoder: Decoder::new(codec),
            decimator: Decimator::default(),
            buffers: Box::new(Buffers {
                wide: [0; RESAMPLING_DELAY + MAX_SAMPLES],
                narrow: [0; MAX_LENGTH],
            }),
            length: 0,
        })
    }

    /// What it decodes.
    #[must_use]
    pub const fn codec(&self) -> AudioCodec {
        self.decoder.codec()
    }

    /// Decodes a packet; how long it lasts, in samples of 8 kHz. [`Wideband::piece`] has it until
    /// [`Wideband::finish`].
    pub fn decode(&mut self, payload: &[u8]) -> Result<usize, Undecodable> {
        self.finish();
        let fresh = &mut self.buffers.wide[RESAMPLING_DELAY..];
        let samples = self.decoder.decode(payload, fresh)?;
        self.length = samples / 2;
        let narrow = &mut self.buffers.narrow[..self.length];
        self.decimator.decimate(&fresh[..samples], narrow);
        Ok(self.length)
    }

    /// A piece of the packet decoded last, by its samples of 8 kHz.
    #[must_use]
    pub fn piece(&self, from: usize, until: usize) -> Audio<'_> {
        let until = until.min(self.length);
        let from = from.min(until);
        Audio {
            samples: &self.buffers.narrow[from..until],
            form: Form::Wide(&self.buffers.wide[2 * from..2 * until]),
        }
    }

    /// Overwrites the packet decoded last, but for its end, which the next one begins with.
    pub fn finish(&mut self) {
        let samples = 2 * std::mem::take(&mut self.length);
        let wide = &mut self.buffers.wide;
        wide.copy_within(samples..samples + RESAMPLING_DELAY, 0);
        wide[RESAMPLING_DELAY..][..samples].zeroize();
        self.buffers.narrow[..samples / 2].zeroize();
    }

    /// So many samples of 8 kHz never came, or were of another codec: nothing of what went before
    /// is heard any more.
    pub fn lose(&mut self, length: usize) {
        self.buffers.zeroize();
        self.length = 0;
        self.decimator.forget();
        self.decoder.lose(length);
    }
}
