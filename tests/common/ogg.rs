//! Ogg pages (RFC 3533) around one mono Opus stream (RFC 7845).

const SERIAL: u32 = 1;

/// A file of these packets, each of so many samples of 48 kHz.
pub(crate) fn written(packets: &[Vec<u8>], samples: u64) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend_from_slice(&[0, 0]);
    head.extend_from_slice(&16_000_u32.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]);
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&4_u32.to_le_bytes());
    tags.extend_from_slice(b"test");
    tags.extend_from_slice(&0_u32.to_le_bytes());
    let mut file = page(2, 0, 0, &head);
    file.extend(page(0, 0, 1, &tags));
    for (number, packet) in packets.iter().enumerate() {
        let last = number + 1 == packets.len();
        let position = (number as u64 + 1) * samples;
        file.extend(page(
            if last { 4 } else { 0 },
            position,
            number as u32 + 2,
            packet,
        ));
    }
    file
}

/// A page of one packet.
fn page(flags: u8, position: u64, number: u32, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend_from_slice(&position.to_le_bytes());
    page.extend_from_slice(&SERIAL.to_le_bytes());
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(&[0; 4]);
    let segments = packet.len() / 255 + 1;
    page.push(segments as u8);
    page.extend(std::iter::repeat_n(255, segments - 1));
    page.push((packet.len() % 255) as u8);
    page.extend_from_slice(packet);
    let checksum = checksum(&page).to_le_bytes();
    page[22..26].copy_from_slice(&checksum);
    page
}

fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |mut crc: u32, byte| {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = (crc << 1) ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
        }
        crc
    })
}

/// The packets of a file, without the two headers.
pub(crate) fn read(mut file: &[u8]) -> Vec<Vec<u8>> {
    let (mut packets, mut packet) = (Vec::new(), Vec::new());
    while file.starts_with(b"OggS") {
        let segments = usize::from(file[26]);
        let (lengths, mut body) = file[27..].split_at(segments);
        for length in lengths {
            let (now, later) = body.split_at(usize::from(*length));
            packet.extend_from_slice(now);
            body = later;
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        file = body;
    }
    packets.drain(..2);
    packets
}
