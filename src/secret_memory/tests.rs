#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    sync::Arc,
    thread,
};

use zeroize::Zeroize;

use super::*;
use crate::proto::{
    card::{Brand, Pan},
    digit::Key,
    secret::{Sealer, SecretBytes},
};

fn locked_slab(slots: usize, request_slots: usize) -> Slab {
    let bytes = Slab::bytes_for(slots, request_slots).unwrap();
    Slab::over(Mapping::locked(bytes).unwrap(), slots, request_slots).unwrap()
}

/// A slab of each kind that this machine has; it always has locked memory.
fn slabs(slots: usize, request_slots: usize) -> Vec<Slab> {
    let best = Slab::map(slots, request_slots, false).unwrap();
    vec![best, locked_slab(slots, request_slots)]
}

/// What the kernel lets a reader of `/proc/self/mem` see.
fn read_as_a_debugger(address: usize, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut found = vec![0; bytes];
    File::open("/proc/self/mem")?.read_exact_at(&mut found, address as u64)?;
    Ok(found)
}

/// The lines of `/proc/self/maps` before, at and after `address`.
fn neighbours_in_maps(address: usize) -> [String; 3] {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let lines: Vec<&str> = maps.lines().collect();
    let at = lines
        .iter()
        .position(|line| range_of(line).contains(&address))
        .unwrap();
    [at - 1, at, at + 1].map(|n| lines[n].to_owned())
}

fn range_of(line: &str) -> std::ops::Range<usize> {
    let (start, rest) = line.split_once('-').unwrap();
    let end = rest.split(' ').next().unwrap();
    usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()
}

fn has_memfd_secret() -> bool {
    Mapping::memfd_secret(mapping::page_size()).is_ok()
}

#[test]
fn memfd_secret_cannot_be_read_through_proc_while_ordinary_memory_can() {
    let mut ordinary = vec![0u8; 64];
    ordinary.copy_from_slice(&[0x5a; 64]);
    let control = read_as_a_debugger(ordinary.as_ptr().addr(), 64).unwrap();
    assert_eq!(control, ordinary, "the search itself works");

    if !has_memfd_secret() {
        eprintln!("this kernel has no memfd_secret: nothing to show");
        return;
    }
    let slab = Slab::map(4, 1, true).unwrap();
    assert_eq!(slab.kind().to_string(), "memfd_secret");
    let mut slot = slab.acquire_request().unwrap();
    slot.bytes_mut().fill(0x5a);
    assert!(read_as_a_debugger(slot.bytes().as_ptr().addr(), 64).is_err());
}

#[test]
fn a_slot_comes_back_wiped() {
    for slab in slabs(1, 1) {
        let mut slot = slab.acquire_request().unwrap();
        slot.bytes_mut().fill(0x5a);
        let address = slot.bytes().as_ptr();
        drop(slot);
        let again = slab.acquire_request().unwrap();
        assert_eq!(again.bytes().as_ptr(), address, "the same memory");
        assert_eq!(again.bytes().len(), REQUEST_SLOT_BYTES);
        assert!(again.bytes().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_slot_is_wiped_when_it_is_given_back_and_not_only_when_it_is_taken_again() {
    let slab = locked_slab(1, 1);
    let mut slot = slab.acquire_request().unwrap();
    slot.bytes_mut().fill(0x5a);
    let address = slot.bytes().as_ptr().addr();
    assert_eq!(read_as_a_debugger(address, 16).unwrap(), [0x5a; 16]);
    drop(slot);
    let left = read_as_a_debugger(address, REQUEST_SLOT_BYTES).unwrap();
    assert!(left.iter().all(|byte| *byte == 0));
}

#[test]
fn a_slab_hands_out_as_many_slots_as_it_was_asked_for_and_no_slot_twice() {
    for slab in slabs(300, 3) {
        let mut keys: Vec<_> = std::iter::from_fn(|| slab.memory.acquire(Pool::Keys)).collect();
        let requests: Vec<_> = std::iter::from_fn(|| slab.acquire_request()).collect();
        assert_eq!((keys.len(), requests.len()), (300, 3));
        assert!(slab.acquire().is_none() && slab.acquire_request().is_none());
        assert_eq!((slab.free_key_slots(), slab.free_request_slots()), (0, 0));

        let all = keys.iter().chain(&requests).chain([slab.sealer.slot()]);
        let mut ranges: Vec<_> = all.map(|slot| slot.bytes().as_ptr_range()).collect();
        ranges.sort_by_key(|range| range.start);
        let apart = ranges.windows(2).all(|two| two[0].end <= two[1].start);
        assert!(apart, "no two slots overlap, the seal key's among them");

        keys.pop();
        assert!(
            slab.acquire().is_some(),
            "what is given back can be had again"
        );
    }
}

#[test]
fn threads_that_take_and_give_back_never_hold_the_same_slot() {
    let slab = locked_slab(8, 0);
    let work = |mark: u8| {
        let memory = Arc::clone(&slab.memory);
        move || {
            for _ in 0..2000 {
                let Some(mut slot) = memory.acquire(Pool::Keys) else {
                    continue;
                };
                assert!(slot.bytes().iter().all(|byte| *byte == 0));
                slot.bytes_mut().fill(mark);
                thread::yield_now();
                assert!(slot.bytes().iter().all(|byte| *byte == mark));
            }
        }
    };
    let threads: Vec<_> = (1..=4).map(|mark| thread::spawn(work(mark))).collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(slab.free_key_slots(), 8);
}

#[test]
fn the_memory_lies_between_guard_pages_is_locked_and_stays_out_of_dumps_and_children() {
    for slab in slabs(256, 8) {
        let address = slab.memory.start().addr().get();
        let [before, own, after] = neighbours_in_maps(address);
        assert!(before.contains(" ---p "), "a guard before: {before}");
        assert!(after.contains(" ---p "), "a guard after: {after}");
        assert_eq!(range_of(&before).end, range_of(&own).start);
        assert_eq!(range_of(&own).end, range_of(&after).start);
        assert_eq!(range_of(&own).start, address);

        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let (_, own_part) = smaps.split_once(&own).unwrap();
        let flags = own_part
            .lines()
            .find(|line| line.starts_with("VmFlags"))
            .unwrap();
        for flag in ["lo", "dd", "dc"] {
            assert!(
                flags.split(' ').any(|f| f == flag),
                "{} {flag}: {flags}",
                slab.kind()
            );
        }
    }
}

#[test]
fn more_than_the_lock_limit_allows_is_refused_with_what_to_do() {
    // A petabyte: no limit and no machine allows it.
    let error = Slab::map(16, 1 << 38, false)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("RLIMIT_MEMLOCK") || error.contains("free memory"),
        "{error}"
    );
    let error = Slab::map(usize::MAX, 1, false).map(|_| ()).unwrap_err();
    assert!(matches!(error, SecretMemoryError::TooManySlots { .. }));
}

#[test]
fn whoever_requires_memfd_secret_is_told_how_to_get_it() {
    let refusal = SecretMemoryError::System {
        call: "memfd_secret",
        bytes: 4096,
        source: std::io::Error::from_raw_os_error(libc::ENOSYS),
    };
    let text = refusal.when_required().to_string();
    for hint in [
        "6.5",
        "secretmem.enable",
        "seccomp",
        "require_secret_memory = false",
    ] {
        assert!(text.contains(hint), "{hint} in {text}");
    }
}

#[test]
fn a_key_slot_of_the_slab_keeps_digits_sealed_by_its_key() {
    for slab in slabs(2, 0) {
        let mut slot = slab.acquire().unwrap();
        for code in [4, 2, 4, 2, 4, 2, 4, 2] {
            let _ = slot.press(Key::from_event(code).unwrap());
        }
        slot.expose(|digits| assert_eq!(digits, [4, 2, 4, 2, 4, 2, 4, 2]));
        // The other slot is untouched by it.
        let mut other = slab.acquire().unwrap();
        assert_eq!(other.count(), 0);
        other.expose(|digits| assert!(digits.is_empty()));
    }
}

#[test]
fn what_is_sealed_opens_only_with_its_nonce_and_tag() {
    let slab = locked_slab(1, 0);
    let sealer: &SlabSealer = &slab.sealer;
    let mut text = *b"four two four two";
    let tag = sealer.seal([1; 12], &mut text);
    assert_ne!(&text, b"four two four two");

    let mut wrong_nonce = text;
    assert!(!sealer.open([2; 12], &mut wrong_nonce, tag));
    assert_eq!(wrong_nonce, [0; 17], "what does not open is wiped");
    let mut wrong_text = text;
    wrong_text[3] ^= 1;
    assert!(!sealer.open([1; 12], &mut wrong_text, tag));

    assert!(sealer.open([1; 12], &mut text, tag));
    assert_eq!(&text, b"four two four two");
}

#[test]
fn two_slabs_have_different_keys() {
    let (one, two) = (locked_slab(1, 0), locked_slab(1, 0));
    assert!(one.sealer.slot().bytes()[..32] != two.sealer.slot().bytes()[..32]);
}

#[test]
fn the_seal_key_is_wiped_when_its_slab_goes() {
    let slab = locked_slab(1, 0);
    // Keeps the pages mapped, so that they can be looked at.
    let memory = Arc::clone(&slab.memory);
    let address = slab.sealer.slot().bytes().as_ptr().addr();
    assert_ne!(read_as_a_debugger(address, 32).unwrap(), [0; 32]);
    drop(slab);
    assert_eq!(read_as_a_debugger(address, 32).unwrap(), [0; 32]);
    assert_eq!(memory.free(Pool::Keys), 2);
}

/// Searches this thread's stack, from some way below here up to its end, without calling anything
/// that could bring the needle there.
#[inline(never)]
fn stack_holds(needle: &[u8]) -> bool {
    let here = 0u8;
    let address = (&raw const here).addr();
    let [_, stack, _] = neighbours_in_maps(address);
    let range = range_of(&stack);
    let from = (address - 128 * 1024).max(range.start);
    let bytes = read_as_a_debugger(from, range.end - from).unwrap();
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn sealing_leaves_neither_the_key_nor_the_text_on_the_stack() {
    // A slab of its own with a known key, on a thread of its own: a fresh stack.
    let search = || {
        let slab = locked_slab(1, 0);
        let mut slot = slab.memory.acquire(Pool::Keys).unwrap();
        let (text, rest) = slot.bytes_mut().split_at_mut(24);
        for (n, byte) in (1u8..).zip(text.iter_mut()) {
            *byte = n.wrapping_mul(37) ^ 0x5b;
        }
        let _ = rest;
        // On the heap: the search may not find its own needles.
        let key: Vec<u8> = slab.sealer.slot().bytes()[..32].to_vec();
        let plain: Vec<u8> = text.to_vec();

        let tag = slab.sealer.seal([7; 12], text);
        let after_seal = (
            stack_holds(&key[..16]),
            stack_holds(&key[16..]),
            stack_holds(&plain[..16]),
        );
        assert!(slab.sealer.open([7; 12], text, tag));
        let after_open = (
            stack_holds(&key[..16]),
            stack_holds(&key[16..]),
            stack_holds(&plain[..16]),
        );
        assert_eq!(
            (after_seal, after_open),
            ((false, false, false), (false, false, false))
        );

        // Control: the same search finds a copy that lies on the stack.
        let mut copy = [0u8; 32];
        copy.copy_from_slice(&key);
        assert!(stack_holds(&key[..16]) && stack_holds(std::hint::black_box(&copy)));
        copy.zeroize();
    };
    thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(search)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn keying_and_checking_a_card_leaves_no_run_of_its_digits_on_the_stack() {
    let search = || {
        let slab = locked_slab(1, 0);
        let mut slot = slab.acquire().unwrap();
        // One digit after the other, without the number itself: 4242... on the heap only.
        let pan: Vec<u8> = (0..16)
            .map(|place| if place % 2 == 0 { 4 } else { 2 })
            .collect();
        for code in &pan {
            let _ = slot.press(Key::from_event(*code).unwrap());
        }
        let Ok(mut checked) = Pan::check(slot, &Brand::ALL) else {
            panic!("refused")
        };
        assert!(checked.expose(|digits| digits == pan));
        // The last four may be shown, and are; two digits more would be too many.
        assert!(!stack_holds(&pan[..6]));
        let mut copy = [0u8; 16];
        copy.copy_from_slice(&pan);
        assert!(stack_holds(&pan[..6]) && stack_holds(std::hint::black_box(&copy)));
    };
    thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(search)
        .unwrap()
        .join()
        .unwrap();
}
