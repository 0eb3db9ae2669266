//! SHA-256 of a request's body that holds a card, and HMACs of what is made of it, of which nothing stays
//! behind.
//!
//! A hasher keeps the block that is not full yet, and a compression function the words of the block that it
//! works on. The first is wiped with the hasher (`sha2/zeroize`), which is never moved once it was fed; the
//! second stand on the stack or in registers, so the stack is overwritten as deep as the hasher went.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{HmacReset, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::{Zeroizing, zeroize_stack};

/// Bytes of SHA-256.
pub(super) const BYTES: usize = 32;
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
        zeroize_stack::<WASHED_BYTES>();
        digest
    }

    /// As headers have it (RFC 4648 §4).
    pub(super) fn base64(&self) -> Zeroizing<String> {
        let mut digits = Zeroizing::new([0; BYTES.div_ceil(3) * 4]);
        // Into a slice: what makes a text writes it to a buffer of its own first.
        BASE64_STANDARD
            .encode_slice(self.0.as_slice(), digits.as_mut_slice())
            .expect("there is room for it");
        let mut text = Zeroizing::new(String::with_capacity(digits.len()));
        text.push_str(std::str::from_utf8(digits.as_slice()).expect("Base64 is ASCII"));
        text
    }
}

/// HMAC-SHA256 of a text that names such a digest.
pub(super) fn mac(key: &[u8], text: &str) -> [u8; BYTES] {
    let mut mac = [0; BYTES];
    mac_into(key, text.as_bytes(), &mut mac);
    mac
}

/// HMAC-SHA256 of a text that may be a card.
pub(super) fn mac_into(key: &[u8], text: &[u8], mac: &mut [u8; BYTES]) {
    authenticate(key, text, mac);
    zeroize_stack::<WASHED_BYTES>();
}

#[inline(never)]
fn authenticate(key: &[u8], text: &[u8], mac: &mut [u8; BYTES]) {
    let hmac = HmacReset::<Sha256>::new_from_slice(key);
    let mut hmac = hmac.expect("HMAC takes a key of any length");
    Mac::update(&mut hmac, text);
    *mac = hmac.finalize_reset().into_bytes().into();
}

/// Into a place that the caller has: by reference throughout, for what is moved leaves a copy behind.
#[inline(never)]
fn hash(body: &[u8], digest: &mut [u8; BYTES]) {
    let mut hasher = Sha256::new();
    hasher.update(body);
    hasher.finalize_into_reset(digest.into());
}

#[cfg(test)]
mod tests {
    use std::{fs::File, hint::black_box, os::unix::fs::FileExt};

    use super::*;

    /// What follows is found nowhere else in memory.
    const SECRET: [u8; 16] = *b"9517536284106397";

    /// The stack of the test's thread, below whoever asks. What it needs it has at hand, so that looking
    /// overwrites as little as can be.
    struct Stack {
        memory: File,
        below: Vec<u8>,
    }

    impl Stack {
        fn of_this_thread() -> Self {
            Self {
                memory: File::open("/proc/self/mem").unwrap(),
                below: vec![0; 3 * WASHED_BYTES / 2],
            }
        }

        /// Whether two words of a text stand there in a row, in either order of bytes: that of text, or that in
        /// which a compression function has them.
        #[inline(never)]
        fn has(&mut self, text: &[u8]) -> bool {
            let here = 0_u8;
            let here = std::ptr::from_ref(black_box(&here)).addr();
            // It grows downwards, and below this function nothing is in use.
            let from = here - self.below.len();
            self.memory
                .read_exact_at(&mut self.below, from as u64)
                .unwrap();
            let swapped: Vec<u8> = text
                .chunks(4)
                .flat_map(|word| word.iter().rev().copied())
                .collect();
            self.below
                .windows(8)
                .any(|found| found == &text[..8] || found == &swapped[..8])
        }
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
    fn nothing_of_a_body_or_its_digest_is_left_on_the_stack() {
        let mut stack = Stack::of_this_thread();
        // A control: what was left there is found.
        leave_it_on_the_stack();
        assert!(stack.has(&SECRET), "the search finds nothing at all");
        zeroize_stack::<WASHED_BYTES>();
        assert!(!stack.has(&SECRET));
        // Full blocks, one that is not full, and what is padded into another one.
        for length in [16, 64, 112, 400] {
            let body: Vec<u8> = SECRET.iter().copied().cycle().take(length).collect();
            let text = std::str::from_utf8(&body).unwrap();
            black_box(BodyDigest::of(&body));
            assert!(!stack.has(&SECRET), "{length}");
            black_box(mac(b"key", text));
            assert!(!stack.has(&SECRET), "{length}");
            let digest = BodyDigest::of(&body).base64();
            assert!(!stack.has(digest.as_bytes()), "{length}");
        }
    }
}
