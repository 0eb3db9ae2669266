//! RTCP across the gateway (RFC 3550 §6, translators §7.2).
//!
//! The gateway shifts the caller's sequence numbers and timestamps by constants once a call was
//! armed, and while armed it makes the packets itself. What each end reports of the other has to
//! say what really travelled.

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const REPORT_BLOCK: usize = 24;

/// What has to be told of the stream that leaves towards the agent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// Its SSRC.
    pub ssrc: u32,
    /// The same moment in the caller's timestamps and in those that leave.
    pub moment: [u32; 2],
    /// Ticks of the caller's clock and of the one that leaves in a sample of 8 kHz.
    pub ticks: [u32; 2],
    /// Packets that were sent.
    pub packets: u32,
    /// Their payload octets.
    pub octets: u32,
}

impl Outgoing {
    /// A timestamp of the caller's in the clock of what leaves.
    const fn timestamp(&self, theirs: u32) -> u32 {
        let since = theirs.wrapping_sub(self.moment[0]).cast_signed() as i64;
        let ours = since * self.ticks[1] as i64 / self.ticks[0] as i64;
        self.moment[1].wrapping_add(ours as u32)
    }
}

/// Writes into `out` the compound packet that may leave towards the agent while armed: a sender or
/// receiver report, a source description with a constant name, a goodbye. Everything else of the
/// caller's compound (APP, XR, feedback, SDES items, goodbye reasons) stays here, and so does what
/// another source than `outgoing.ssrc` says of itself. Returns its length; `None` when nothing of
/// it may leave.
#[must_use]
pub fn rebuild_for_agent(
    compound: &[u8],
    outgoing: Outgoing,
    out: &mut [u8; 256],
) -> Option<usize> {
    let mut writer = Writer { out, length: 0 };
    let mut reported = false;
    let mut goodbye = false;
    let ours = outgoing.ssrc;
    for packet in Packets(compound) {
        match packet.kind {
            SENDER_REPORT if !reported && packet.body.len() >= 24 && packet.is_from(ours) => {
                reported = true;
                writer.sender_report(&packet, outgoing)?;
            }
            RECEIVER_REPORT if !reported && packet.body.len() >= 4 => {
                reported = true;
                writer.receiver_report(&packet, outgoing.ssrc)?;
            }
            GOODBYE => goodbye |= packet.names(ours),
            _ => {}
        }
    }
    if !reported {
        return None;
    }
    writer.source_description(outgoing.ssrc)?;
    if goodbye {
        writer.packet(GOODBYE, 1, &outgoing.ssrc.to_be_bytes())?;
    }
    Some(writer.length)
}

/// Edits the agent's compound in place so that it speaks of the caller's own sequence numbers:
/// `sequence_shift` is what the gateway added to them. Only report blocks about `ssrc` change.
pub fn translate_for_caller(compound: &mut [u8], ssrc: u32, sequence_shift: u16) {
    edit_report_blocks(compound, |block| {
        if block.get(..4) == Some(&ssrc.to_be_bytes())
            && let Some(highest) = block.get_mut(8..12)
            && let Ok(bytes) = <[u8; 4]>::try_from(&*highest)
        {
            // Signed, so that the count of wraps above the 16 bits stays right.
            let shift = i32::from(sequence_shift.cast_signed());
            let shifted = u32::from_be_bytes(bytes).wrapping_add_signed(-shift);
            highest.copy_from_slice(&shifted.to_be_bytes());
        }
    });
}

/// Edits the caller's compound in place, for a call that was armed once and is not now: constant
/// timestamp shift, and counts corrected by what the gateway sent more (or less) than it was given.
pub fn translate_for_agent(
    compound: &mut [u8],
    timestamp_shift: u32,
    packets_more: u32,
    octets_more: u32,
) {
    let mut at = 0;
    while let Some(length) = packet_length(compound, at) {
        if compound.get(at + 1) == Some(&SENDER_REPORT) && length >= 28 {
            for (offset, add) in [(16, timestamp_shift), (20, packets_more), (24, octets_more)] {
                if let Some(word) = compound.get_mut(at + offset..at + offset + 4)
                    && let Ok(bytes) = <[u8; 4]>::try_from(&*word)
                {
                    let sum = u32::from_be_bytes(bytes).wrapping_add(add);
                    word.copy_from_slice(&sum.to_be_bytes());
                }
            }
        }
        at += length;
    }
}

/// Whether the datagram is a row of packets, each as long as it says, and nothing else.
#[must_use]
pub fn is_whole(compound: &[u8]) -> bool {
    let mut at = 0;
    while let Some(length) = packet_length(compound, at) {
        at += length;
    }
    at > 0 && at == compound.len()
}

/// SSRC of who sent a compound packet: of its first packet's sender, which every kind names first.
#[must_use]
pub fn sender(compound: &[u8]) -> Option<u32> {
    let bytes = compound.get(4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// Length of the RTCP packet at `at`, if one stands there whole.
fn packet_length(compound: &[u8], at: usize) -> Option<usize> {
    let &[first, _, high, low] = compound.get(at..)?.first_chunk()?;
    let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
    (first >> 6 == 2 && compound.len() >= at + length).then_some(length)
}

fn edit_report_blocks(compound: &mut [u8], mut edit: impl FnMut(&mut [u8])) {
    let mut at = 0;
    while let Some(length) = packet_length(compound, at) {
        let Some(packet) = compound.get_mut(at..at + length) else {
            return;
        };
        let count = usize::from(packet.first().map_or(0, |b| b & 0x1f));
        let blocks = match packet.get(1) {
            Some(&SENDER_REPORT) => 28,
            Some(&RECEIVER_REPORT) => 8,
            _ => length,
        };
        if let Some(blocks) = packet.get_mut(blocks..) {
            blocks
                .chunks_exact_mut(REPORT_BLOCK)
                .take(count)
                .for_each(&mut edit);
        }
        at += length;
    }
}

struct Packet<'a> {
    kind: u8,
    count: usize,
    body: &'a [u8],
}

impl Packet<'_> {
    fn is_from(&self, ssrc: u32) -> bool {
        self.body.starts_with(&ssrc.to_be_bytes())
    }

    /// Whether a goodbye is one of this source.
    fn names(&self, ssrc: u32) -> bool {
        let mut sources = self.body.chunks_exact(4).take(self.count);
        sources.any(|source| source == ssrc.to_be_bytes())
    }
}

struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let length = packet_length(self.0, 0)?;
        let (packet, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let (&[first, kind, ..], body) = packet.split_first_chunk::<4>()?;
        Some(Packet {
            kind,
            count: usize::from(first & 0x1f),
            body,
        })
    }
}

struct Writer<'a> {
    out: &'a mut [u8; 256],
    length: usize,
}

impl Writer<'_> {
    fn packet(&mut self, kind: u8, count: u8, body: &[u8]) -> Option<()> {
        let words = u16::try_from(body.len() / 4).ok()?;
        let space = self
            .out
            .get_mut(self.length..self.length + 4 + body.len())?;
        let (head, rest) = space.split_at_mut(4);
        let [high, low] = words.to_be_bytes();
        head.copy_from_slice(&[(2 << 6) | count, kind, high, low]);
        rest.copy_from_slice(body);
        self.length += 4 + body.len();
        Some(())
    }

    fn sender_report(&mut self, packet: &Packet<'_>, outgoing: Outgoing) -> Option<()> {
        let info = packet.body.get(4..24)?;
        let theirs = u32::from_be_bytes(info.get(8..12)?.try_into().ok()?);
        let timestamp = outgoing.timestamp(theirs);
        let mut body = [0; 24 + REPORT_BLOCK];
        body[..4].copy_from_slice(&outgoing.ssrc.to_be_bytes());
        body[4..12].copy_from_slice(info.get(..8)?);
        body[12..16].copy_from_slice(&timestamp.to_be_bytes());
        body[16..20].copy_from_slice(&outgoing.packets.to_be_bytes());
        body[20..24].copy_from_slice(&outgoing.octets.to_be_bytes());
        let blocks = copy_first_block(packet, 24, &mut body[24..]);
        self.packet(
            SENDER_REPORT,
            blocks,
            body.get(..24 + usize::from(blocks) * REPORT_BLOCK)?,
        )
    }

    fn receiver_report(&mut self, packet: &Packet<'_>, ssrc: u32) -> Option<()> {
        let mut body = [0; 4 + REPORT_BLOCK];
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        let blocks = copy_first_block(packet, 4, &mut body[4..]);
        self.packet(
            RECEIVER_REPORT,
            blocks,
            body.get(..4 + usize::from(blocks) * REPORT_BLOCK)?,
        )
    }

    /// A constant CNAME of 8 characters: chunk = SSRC, item, end, padding to a word (§6.5).
    fn source_description(&mut self, ssrc: u32) -> Option<()> {
        let mut body = [0; 16];
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        body[4..6].copy_from_slice(&[1, 8]);
        body[6..14].copy_from_slice(b"tonewall");
        self.packet(SOURCE_DESCRIPTION, 1, &body)
    }
}

/// A telephone reports on one source; more blocks than one do not leave.
fn copy_first_block(packet: &Packet<'_>, at: usize, to: &mut [u8]) -> u8 {
    match packet.body.get(at..at + REPORT_BLOCK) {
        Some(block) if packet.count > 0 => {
            to.copy_from_slice(block);
            1
        }
        _ => 0,
    }
}
