//! SHA-256 of a request's body that holds a card, of which nothing stays behind.
//!
//! A hasher keeps the block that is not full yet, and a compression function the words of the block that it
//! works on. The first is wiped with the hasher (`sha2/zeroize`), which is never moved once it was fed; the
//! second stand on the stack or in registers, so the stack is overwritten as deep as the hasher went.

use std::hint::black_box;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of SHA-256.
const BYTES: usize = 32;
/// How much of the stack is overwritten: many times what a hasher takes, also where nothing is inlined.
const WASHED_BYTES: usize = 16 * 1024;

/// The SHA-256 of a body. As secret as the body: whoever has it can find the card by trying.
///
/// Deliberately absent: `Clone`, `Debug`, `Display`.
pub(super) struct BodyDigest(Zeroizing<[u8; BYTES]>);

impl BodyDigest {
    pub(super) fn of(body: &[u8]) -> Self {
        let mut digest = Self(Zeroizing::new([0; BYTES]));
        hash(body, &mut digest.0);
        wash_stack();
        digest
    }

    /// As headers have it (RFC 4648 §4).
    pub(super) fn base64(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(BYTES.div_ceil(3) * 4));
        BASE64_STANDARD.encode_string(*self.0, &mut text);
        text
    }
}

/// Into a place that the caller has: by reference throughout, for what is moved leaves a copy behind.
#[inline(never)]
fn hash(body: &[u8], digest: &mut [u8; BYTES]) {
    let mut hasher = Sha256::new();
    hasher.update(body);
    hasher.finalize_into_reset(digest.into());
}

/// Overwrites what the call before this one has left on the stack.
#[inline(never)]
fn wash_stack() {
    let mut left = [0xff_u8; WASHED_BYTES];
    black_box(&mut left).zeroize();
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;

    /// What follows is found nowhere else in memory.
    const SECRET: [u8; 16] = *b"9517536284106397";

    /// Whether a stretch of the stack below this function's caller has two words of the secret in a row, in
    /// either order of bytes: that of text, or that in which a compression function has them.
    #[inline(never)]
    fn is_on_the_stack() -> bool {
        let here = 0_u8;
        let here = std::ptr::from_ref(black_box(&here)).addr();
        let mut stack = vec![0; 3 * WASHED_BYTES / 2];
        // The stack grows downwards, and below this function nothing is in use.
        let from = here - stack.len();
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut stack, from as u64).unwrap();
        let swapped: Vec<u8> = SECRET
            .chunks(4)
            .flat_map(|word| word.iter().rev().copied())
            .collect();
        stack
            .windows(8)
            .any(|found| found == &SECRET[..8] || found == &swapped[..8])
    }

    #[inline(never)]
    fn leave_it_on_the_stack() {
        let mut left = [0_u8; 4096];
        for chunk in left.chunks_mut(SECRET.len()) {
            chunk.copy_from_slice(&SECRET);
        }
        black_box(&mut left);
    }

    #[test]
    fn a_digest_is_that_of_other_implementations() {
        // printf abc | openssl dgst -sha256 -binary | base64
        let digest = BodyDigest::of(b"abc").base64();
        assert_eq!(
            digest.as_str(),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
        let long = BodyDigest::of(&[b'a'; 1000]).base64();
        assert_eq!(
            long.as_str(),
            "Qe3s5C1j6Nm/UVqbppMuHCDLyfWl0TRkWttdsblzfqM="
        );
    }

    #[test]
    fn nothing_of_a_body_is_left_on_the_stack() {
        // A control: what was left there is found, also after a file was opened to look for it.
        leave_it_on_the_stack();
        assert!(is_on_the_stack(), "the search finds nothing at all");
        wash_stack();
        assert!(!is_on_the_stack());
        // Full blocks, one that is not full, and what is padded into another one.
        for length in [16, 64, 112, 400] {
            let body: Vec<u8> = SECRET.iter().copied().cycle().take(length).collect();
            black_box(BodyDigest::of(&body));
            assert!(!is_on_the_stack(), "{length}");
        }
    }
}
