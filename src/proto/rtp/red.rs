//! Redundant audio data (RFC 2198): one packet that carries several instants, each in an encoding
//! of its own.

use thiserror::Error;

/// Most blocks of a packet that is read. Senders of audio repeat up to nine earlier instants, those
/// of events up to five.
const MAX_BLOCKS: usize = 16;
/// Header of a redundant block.
const REDUNDANT_HEADER: usize = 4;

/// Why a payload is not redundant audio data. Nothing of such a packet is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RedError {
    /// The last header, that of the primary block, is missing.
    #[error("malformed RED: {0} bytes that end within the headers of their blocks")]
    Headers(usize),
    /// The redundant blocks are longer than what follows their headers.
    #[error("malformed RED: its redundant blocks announce {announced} bytes; found {found}")]
    Blocks {
        /// Sum of the lengths that the headers announce.
        announced: usize,
        /// Bytes after the headers.
        found: usize,
    },
    /// More blocks than any sender makes.
    #[error("malformed RED: more than {MAX_BLOCKS} blocks; a sender repeats at most nine instants")]
    TooMany,
}

/// One block of a packet.
///
/// Deliberately absent: `Debug`, since the payload may be a key.
#[derive(Clone, Copy, Default)]
pub struct RedBlock<'a> {
    /// Payload type of the block, 0 to 127.
    pub payload_type: u8,
    /// How much earlier than the packet's timestamp the block was sampled, in the packet's clock
    /// (0 to 16,383). 0 for the primary.
    pub offset: u16,
    /// Its payload, as a packet of its own would carry it.
    pub payload: &'a [u8],
}

/// The blocks of one RED payload, all lengths checked.
pub struct Red<'a> {
    /// Redundant blocks, the earliest instant first, then the primary.
    blocks: [RedBlock<'a>; MAX_BLOCKS],
    count: usize,
}

impl<'a> Red<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`RedError`] when it does not hold the blocks that it announces.
    pub fn parse(payload: &'a [u8]) -> Result<Self, RedError> {
        let headers_end = headers_end(payload)?;
        let (headers, mut rest) = payload.split_at(headers_end);
        let (redundant, _) = headers.as_chunks::<REDUNDANT_HEADER>();
        let announced = redundant.iter().map(|header| length_of(*header)).sum();
        if announced > rest.len() {
            return Err(RedError::Blocks {
                announced,
                found: rest.len(),
            });
        }
        let mut red = Self {
            blocks: [RedBlock::default(); MAX_BLOCKS],
            count: 0,
        };
        for header in redundant {
            let (block, later) = rest.split_at(length_of(*header));
            red.insert(RedBlock {
                payload_type: header[0] & 0x7f,
                offset: u16::from_be_bytes([header[1], header[2]]) >> 2,
                payload: block,
            });
            rest = later;
        }
        // The primary's header is the last byte of the headers.
        red.blocks[red.count] = RedBlock {
            payload_type: headers.last().copied().unwrap_or_default() & 0x7f,
            offset: 0,
            payload: rest,
        };
        red.count += 1;
        Ok(red)
    }

    /// Keeps the earliest instant first, and blocks of one instant in the order of the packet.
    fn insert(&mut self, block: RedBlock<'a>) {
        let known = &self.blocks[..self.count];
        let at = known
            .iter()
            .position(|other| other.offset < block.offset)
            .unwrap_or(self.count);
        self.blocks[at..=self.count].rotate_right(1);
        self.blocks[at] = block;
        self.count += 1;
    }

    /// All blocks: the redundant ones, the earliest instant first, and last the primary.
    pub fn blocks(&self) -> impl Iterator<Item = RedBlock<'a>> + '_ {
        self.blocks.iter().take(self.count).copied()
    }
}

/// Where the headers end: after the one without the F bit.
fn headers_end(payload: &[u8]) -> Result<usize, RedError> {
    let mut at = 0;
    for _ in 0..MAX_BLOCKS {
        match payload.get(at) {
            Some(first) if first & 0x80 == 0 => return Ok(at + 1),
            Some(_) => at += REDUNDANT_HEADER,
            None => return Err(RedError::Headers(payload.len())),
        }
    }
    Err(RedError::TooMany)
}

/// The 10 bits of a redundant block's length.
fn length_of([_, _, high, low]: [u8; REDUNDANT_HEADER]) -> usize {
    usize::from(u16::from_be_bytes([high, low]) & 0x3ff)
}

/// A RED payload of redundant blocks (payload type, offset, payload) and a primary one.
#[cfg(test)]
pub(crate) fn write_red(redundant: &[(u8, u16, &[u8])], primary: (u8, &[u8])) -> Vec<u8> {
    let mut payload = Vec::new();
    for (payload_type, offset, block) in redundant {
        let word = (1 << 31)
            | (u32::from(*payload_type) << 24)
            | (u32::from(*offset) << 10)
            | block.len() as u32;
        payload.extend(word.to_be_bytes());
    }
    payload.push(primary.0);
    for (_, _, block) in redundant {
        payload.extend(*block);
    }
    payload.extend(primary.1);
    payload
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(payload: &[u8]) -> Result<Vec<(u8, u16, Vec<u8>)>, RedError> {
        let tell = |block: RedBlock<'_>| (block.payload_type, block.offset, block.payload.to_vec());
        Red::parse(payload).map(|red| red.blocks().map(tell).collect())
    }

    #[test]
    fn every_block_is_read_the_earliest_instant_first_and_the_primary_last() {
        let payload = write_red(
            &[(0, 160, &[1; 160]), (101, 16_383, &[2; 4]), (5, 320, &[])],
            (127, &[3; 7]),
        );
        let expected = [
            (101, 16_383, vec![2; 4]),
            (5, 320, vec![]),
            (0, 160, vec![1; 160]),
            (127, 0, vec![3; 7]),
        ];
        assert_eq!(read(&payload).unwrap(), expected);
        // A primary alone, and one of no bytes (RFC 2198 section 4).
        assert_eq!(read(&[8, 9, 9]).unwrap(), [(8, 0, vec![9, 9])]);
        assert_eq!(read(&[8]).unwrap(), [(8, 0, vec![])]);
    }

    #[test]
    fn what_does_not_hold_the_blocks_it_announces_is_refused_as_a_whole() {
        assert_eq!(read(&[]), Err(RedError::Headers(0)));
        assert_eq!(read(&[0x80, 0, 0]), Err(RedError::Headers(3)));
        assert_eq!(read(&[0x80, 0, 0, 0]), Err(RedError::Headers(4)));
        let mut cut = write_red(&[(0, 160, &[1; 160])], (0, &[]));
        cut.pop();
        let blocks = RedError::Blocks {
            announced: 160,
            found: 159,
        };
        assert_eq!(read(&cut), Err(blocks));
        let block = (0, 1, &[][..]);
        assert_eq!(read(&write_red(&[block; 15], (0, &[]))).unwrap().len(), 16);
        let many = write_red(&[block; 16], (0, &[]));
        assert_eq!(read(&many), Err(RedError::TooMany));
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_no_byte_stands_in_two_blocks(
            payload in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            if let Ok(red) = Red::parse(&payload) {
                let bytes: usize = red.blocks().map(|block| block.payload.len()).sum();
                prop_assert!(bytes < payload.len());
                let offsets: Vec<u16> = red.blocks().map(|block| block.offset).collect();
                prop_assert!(offsets.is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
