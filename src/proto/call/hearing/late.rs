//! Audio of the caller that came too late: heard again with what surrounds it, never sent.

use zeroize::Zeroize;

use crate::proto::{
    codec::{Audio, Form, MAX_LENGTH, StreamDecoder},
    dtmf::Order,
    encoding::AudioCodec,
};

use super::{Hearing, Keys, Packet};

/// Most payload octets kept: 500 ms of 64 kbit/s.
const MAX_BYTES: usize = 4_000;
/// Most packets kept: 500 ms of 10 ms each.
const MAX_PACKETS: usize = 50;
/// A decoder that begins so many samples before what it is to decode has forgotten that it began.
const WARM_UP: i64 = 800;

impl Hearing {
    /// Audio behind which other was heard. For the agent it is too late: its place was filled.
    pub(super) fn hear_late_audio(
        &mut self,
        packet: &Packet<'_>,
        codec: AudioCodec,
        keys: &mut Keys<'_>,
    ) -> Order {
        // The clock that its timestamp is of is not counted any more.
        if codec.clock_hz() != self.codec.clock_hz() {
            return Order::Kept;
        }
        let start = self.position_of(packet.timestamp);
        let Some(law) = codec.law() else {
            return self.hear_late_stream(packet.payload, codec, start, keys);
        };
        let mut samples = [0; MAX_LENGTH];
        let codes = &packet.payload[..packet.payload.len().min(MAX_LENGTH)];
        for (sample, code) in samples.iter_mut().zip(codes) {
            *sample = law.decode(*code);
        }
        let late = Audio {
            samples: &samples[..codes.len()],
            form: Form::Codewords(law, codes),
        };
        let order = match self.ear.fill(&late, start) {
            Some(filled) => keys.hear(|slot, pressed| self.ear.hear_again(filled, slot, pressed)),
            None => Order::Kept,
        };
        samples.zeroize();
        order
    }

    /// The same of a codec with a memory. What came behind the loss was decoded by one who had missed
    /// something, so that is decoded anew too.
    fn hear_late_stream(
        &mut self,
        payload: &[u8],
        codec: AudioCodec,
        start: i64,
        keys: &mut Keys<'_>,
    ) -> Order {
        let Ok(length) = codec.length_of(payload) else {
            return Order::Kept;
        };
        // Of another codec nothing is kept to decode it among.
        if codec != self.codec || !self.ear.lacks(start, length) {
            return Order::Kept;
        }
        let Some(mut decoder) = StreamDecoder::new(codec) else {
            return Order::Kept;
        };
        self.recent.keep(payload, start, length);
        let mut decoded_until = None;
        for (place, payload) in self.recent.since(start - WARM_UP) {
            let missing = decoded_until.map_or(0, |until| place.start - until);
            if missing > 0 {
                decoder.lose(usize::try_from(missing).unwrap_or(0));
            }
            match decoder.decode(payload) {
                Ok(length) if place.start >= start => {
                    self.ear.put(&decoder.piece(0, length), place.start);
                }
                Ok(_) | Err(_) => {}
            }
            decoded_until = Some(place.until());
        }
        let Some(until) = decoded_until else {
            return Order::Kept;
        };
        keys.hear(|slot, pressed| self.ear.hear_again(start..until, slot, pressed))
    }
}

/// The latest payloads of a codec with a memory, in the order of the caller's time: what a late one has
/// to be decoded among. Overwritten as they leave, and on drop.
#[derive(Default)]
pub(super) struct Recent(Option<Box<Store>>);

struct Store {
    places: [Place; MAX_PACKETS],
    packets: usize,
    /// Their payloads, one behind the other.
    bytes: [u8; MAX_BYTES],
    filled: usize,
}

/// A packet, as it stands in [`Store::bytes`].
#[derive(Clone, Copy)]
struct Place {
    /// On the scale of the samples heard.
    start: i64,
    /// Samples of 8 kHz.
    length: usize,
    bytes: usize,
}

impl Place {
    const fn until(&self) -> i64 {
        self.start.saturating_add(self.length as i64)
    }
}

impl Recent {
    /// Keeps the payload of a packet that was decoded, or is to be.
    pub(super) fn keep(&mut self, payload: &[u8], start: i64, length: usize) {
        if payload.len() > MAX_BYTES {
            return;
        }
        let store = self.0.get_or_insert_with(Store::new);
        while store.packets == MAX_PACKETS || store.filled + payload.len() > MAX_BYTES {
            store.drop_first();
        }
        store.insert(
            Place {
                start,
                length,
                bytes: payload.len(),
            },
            payload,
        );
    }

    /// Nothing that was kept has a place any more.
    pub(super) fn forget(&mut self) {
        if let Some(store) = &mut self.0 {
            store.wipe();
        }
    }

    /// What begins there or later.
    fn since(&self, start: i64) -> impl Iterator<Item = (&Place, &[u8])> {
        let all = self.0.iter().flat_map(|store| store.all());
        all.filter(move |(place, _)| place.start >= start)
    }
}

impl Store {
    fn new() -> Box<Self> {
        let nowhere = Place {
            start: 0,
            length: 0,
            bytes: 0,
        };
        Box::new(Self {
            places: [nowhere; MAX_PACKETS],
            packets: 0,
            bytes: [0; MAX_BYTES],
            filled: 0,
        })
    }

    fn all(&self) -> impl Iterator<Item = (&Place, &[u8])> {
        let mut rest = &self.bytes[..self.filled];
        self.places[..self.packets].iter().map(move |place| {
            let (payload, behind) = rest.split_at(place.bytes);
            rest = behind;
            (place, payload)
        })
    }

    /// Puts a payload in its place, for which there is room.
    fn insert(&mut self, place: Place, payload: &[u8]) {
        let before = &self.places[..self.packets];
        let at = before.partition_point(|other| other.start < place.start);
        let bytes: usize = before[..at].iter().map(|other| other.bytes).sum();
        self.places.copy_within(at..self.packets, at + 1);
        self.places[at] = place;
        self.packets += 1;
        let end = bytes + payload.len();
        self.bytes.copy_within(bytes..self.filled, end);
        self.bytes[bytes..end].copy_from_slice(payload);
        self.filled += payload.len();
    }

    fn drop_first(&mut self) {
        let bytes = self.places[0].bytes;
        self.places.copy_within(1..self.packets, 0);
        self.packets -= 1;
        self.bytes.copy_within(bytes..self.filled, 0);
        let left = self.filled - bytes;
        self.bytes[left..self.filled].zeroize();
        self.filled = left;
    }

    fn wipe(&mut self) {
        self.bytes[..self.filled].zeroize();
        (self.packets, self.filled) = (0, 0);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(recent: &Recent) -> Vec<(i64, Vec<u8>)> {
        let all = recent.since(i64::MIN);
        all.map(|(place, payload)| (place.start, payload.to_vec()))
            .collect()
    }

    /// Bytes that are no payload's any more.
    fn rest(recent: &Recent) -> &[u8] {
        let store = recent.0.as_ref().unwrap();
        &store.bytes[store.filled..]
    }

    #[test]
    fn payloads_stand_in_the_order_of_their_time_however_they_come() {
        let mut recent = Recent::default();
        for start in [0_i64, 480, 160, 320] {
            recent.keep(&[start as u8; 160], start, 160);
        }
        let starts = [0, 160, 320, 480];
        let all = starts.map(|start| (start, vec![start as u8; 160]));
        assert_eq!(kept(&recent), all);
    }

    #[test]
    fn the_oldest_leave_first_and_what_leaves_is_overwritten() {
        let mut recent = Recent::default();
        for n in 0..200 {
            // Now and then a short one leaves less behind than it takes.
            let payload = &[n as u8 | 1; 70][..if n % 7 == 0 { 10 } else { 70 }];
            recent.keep(payload, 160 * n, 160);
            assert!(rest(&recent).iter().all(|byte| *byte == 0));
        }
        let all = kept(&recent);
        assert_eq!(all.len(), MAX_PACKETS);
        assert_eq!(all[0].0, 160 * (200 - MAX_PACKETS as i64));
        // Few that are large, and one that is too large.
        for n in 200..210 {
            recent.keep(&[255; 1_000], 160 * n, 160);
        }
        recent.keep(&[7; MAX_BYTES + 1], 0, 160);
        assert_eq!(kept(&recent).len(), 4);
        assert!(kept(&recent).iter().all(|(_, payload)| payload[0] == 255));
        recent.forget();
        assert!(kept(&recent).is_empty());
        assert!(rest(&recent).iter().all(|byte| *byte == 0));
    }
}
