//! Packets in their order: claims of the re-sequencer alone, against a naive one too.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::proto::call::sequence::{Place, Resequencer};

const FIRST: u16 = 65_530;
const LIMIT: Duration = Duration::from_millis(60);

fn header(number: u64) -> RtpHeader {
    RtpHeader {
        payload_type: 0,
        marker: false,
        sequence: FIRST.wrapping_add(number as u16),
        timestamp: number as u32 * 160,
        ssrc: SSRC,
        payload: 12..12,
    }
}

/// What a packet carries: its number, and so many bytes of it.
fn payload(number: u64) -> Vec<u8> {
    let length = 8 + (number * 37 % 200) as usize;
    let mut payload = vec![number as u8; length];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

/// A re-sequencer, what it let through in order, and what came late.
struct Line {
    sequencer: Resequencer,
    begin: Instant,
    came: BTreeMap<u64, Duration>,
    passed: Vec<(u64, Duration)>,
    late: Vec<u64>,
    duplicates: usize,
}

impl Line {
    fn new() -> Self {
        Self {
            sequencer: Resequencer::new(FIRST),
            begin: Instant::now(),
            came: BTreeMap::new(),
            passed: Vec::new(),
            late: Vec::new(),
            duplicates: 0,
        }
    }

    /// One that has seen a packet come `late` after the one behind it, numbers 0 to 3.
    fn with_depth(late: Duration) -> Self {
        let mut line = Self::new();
        for number in [0, 2] {
            line.push(number, Duration::ZERO);
        }
        line.push(1, late);
        line.push(3, late);
        assert_eq!(line.late, [1]);
        line.passed.clear();
        line.late.clear();
        line
    }

    fn push(&mut self, number: u64, at: Duration) -> Place {
        self.run(at);
        let now = self.begin + at;
        let place = self.sequencer.push(&header(number), &payload(number), now);
        match place {
            Place::Next => self.passed.push((number, at)),
            Place::Held => {}
            Place::Late => self.late.push(number),
            Place::Duplicate => self.duplicates += 1,
        }
        self.came.entry(number).or_insert(at);
        self.drain(at);
        place
    }

    /// Serves the timer up to `at`.
    fn run(&mut self, at: Duration) {
        while let Some(due) = self.sequencer.poll_timeout()
            && due <= self.begin + at
        {
            let before = self.passed.len();
            self.drain(due - self.begin);
            assert!(self.passed.len() > before, "the timer led to nothing");
        }
    }

    fn drain(&mut self, at: Duration) {
        while let Some(released) = self.sequencer.pop(self.begin + at) {
            let (number, _) = released.payload.split_first_chunk().unwrap();
            let number = u64::from_be_bytes(*number);
            assert_eq!(released.payload, payload(number), "another's payload");
            assert_eq!(released.header.payload, 0..released.payload.len());
            assert_eq!(released.header.timestamp, number as u32 * 160);
            self.passed.push((number, at));
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.passed.iter().map(|(number, _)| *number).collect()
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_leg_in_order_is_never_held_and_needs_no_storage() {
    let mut line = Line::new();
    for number in 0..70_000 {
        assert_eq!(line.push(number, ms(20 * number)), Place::Next);
        assert_eq!(line.sequencer.poll_timeout(), None);
    }
    assert!(
        line.passed
            .iter()
            .all(|(number, at)| *at == ms(20 * number))
    );
}

#[test]
fn a_leg_that_was_never_out_of_order_takes_a_hole_for_a_loss_at_once() {
    let mut line = Line::new();
    for number in [0, 1, 3, 4, 9] {
        assert_eq!(line.push(number, ms(20 * number)), Place::Next);
    }
    assert!(!line.sequencer.is_holding());
}

#[test]
fn after_one_overtaking_the_next_ones_are_waited_for_and_nothing_else_is() {
    let mut line = Line::with_depth(ms(5));
    assert_eq!(line.push(4, ms(20)), Place::Next);
    assert_eq!(line.push(6, ms(60)), Place::Held);
    assert_eq!(line.push(5, ms(65)), Place::Next);
    assert_eq!(line.push(7, ms(80)), Place::Next);
    // A loss costs as long as packets were late, and 10 ms.
    assert_eq!(line.push(9, ms(120)), Place::Held);
    assert_eq!(line.sequencer.poll_timeout(), Some(line.begin + ms(135)));
    assert_eq!(line.push(10, ms(140)), Place::Next);
    let passed = [(4, 20), (5, 65), (6, 65), (7, 80), (9, 135), (10, 140)];
    assert_eq!(line.passed, passed.map(|(number, at)| (number, ms(at))));
}

#[test]
fn nobody_waits_longer_than_60_ms_nor_for_what_comes_later_than_that() {
    let mut line = Line::with_depth(ms(58));
    line.push(5, ms(100));
    assert_eq!(line.sequencer.poll_timeout(), Some(line.begin + ms(160)));
    let mut line = Line::with_depth(ms(61));
    assert_eq!(line.push(5, ms(100)), Place::Next);
}

#[test]
fn a_leg_that_is_orderly_again_waits_no_more() {
    let mut line = Line::with_depth(ms(20));
    assert_eq!(line.push(5, ms(29_000)), Place::Held);
    assert_eq!(line.push(7, ms(61_000)), Place::Next);
    // Two stretches of 30 s, so that it is never less than one.
    let mut line = Line::with_depth(ms(20));
    assert_eq!(line.push(4, ms(29_000)), Place::Next);
    assert_eq!(line.push(5, ms(31_000)), Place::Next);
    assert_eq!(line.push(7, ms(49_000)), Place::Held);
}

#[test]
fn what_came_twice_is_told_from_what_is_late() {
    let mut line = Line::with_depth(ms(20));
    line.push(5, ms(40));
    assert_eq!(line.push(5, ms(41)), Place::Duplicate, "while it is held");
    line.run(ms(100));
    assert_eq!(line.push(5, ms(100)), Place::Duplicate);
    assert_eq!(line.push(4, ms(101)), Place::Late);
    assert_eq!(line.push(4, ms(102)), Place::Duplicate);
    line.push(200, ms(103));
    assert_eq!(
        line.push(1, ms(104)),
        Place::Duplicate,
        "too long ago to know"
    );
}

#[test]
fn floods_jumps_and_resets_stall_nothing() {
    let mut line = Line::with_depth(ms(50));
    // A flood behind a hole: the oldest leave in order before there is no room.
    for number in 5..200 {
        line.push(number, ms(60));
        assert!(line.sequencer.is_holding() || number > 5);
    }
    assert_eq!(line.numbers(), (5..200).collect::<Vec<_>>());
    // A jump: what is held leaves first, and what has jumped with it.
    line.push(202, ms(70));
    assert_eq!(line.push(20_000, ms(71)), Place::Held);
    assert_eq!(line.numbers().last_chunk(), Some(&[199, 202, 20_000]));
    assert!(!line.sequencer.is_holding());
    line.sequencer.follow(FIRST.wrapping_add(7));
    assert_eq!(line.push(7, ms(72)), Place::Next);
    assert_eq!(line.push(9, ms(73)), Place::Held);
    line.sequencer.follow(FIRST);
    assert!(!line.sequencer.is_holding(), "of a source that is gone");
    assert_eq!(line.push(0, ms(74)), Place::Next);
    assert_eq!(line.sequencer.poll_timeout(), None);
}

#[test]
fn what_was_held_is_overwritten_as_it_leaves() {
    let mut line = Line::with_depth(ms(50));
    line.push(6, ms(60));
    line.push(5, ms(61));
    assert_eq!(
        line.sequencer.held_bytes(),
        [payload(5), payload(6)].concat()
    );
    line.push(4, ms(62));
    assert_eq!(line.sequencer.held_bytes(), [0; 0]);
    line.push(8, ms(80));
    line.sequencer.follow(0);
    assert_eq!(line.sequencer.held_bytes(), [0; 0]);
}

/// The same, so plainly that it cannot be wrong: of `depth` it is told.
#[derive(Default)]
struct Naive {
    last: u64,
    held: BTreeMap<u64, Duration>,
    known: BTreeSet<u64>,
    passed: Vec<(u64, Duration)>,
    late: Vec<u64>,
}

impl Naive {
    fn push(&mut self, number: u64, at: Duration, depth: Duration) {
        if !self.known.insert(number) {
            return;
        }
        if number <= self.last {
            self.late.push(number);
        } else {
            self.held.insert(number, at);
            self.release(at, depth);
        }
    }

    fn release(&mut self, at: Duration, depth: Duration) {
        while let Some((&number, _)) = self.held.first_key_value() {
            let noticed = *self.held.values().min().unwrap();
            if number != self.last + 1 && noticed + depth > at {
                return;
            }
            self.held.remove(&number);
            self.passed.push((number, at));
            self.last = number;
        }
    }
}

/// Packets of 20 ms from 4 on, each lost, doubled or delayed at will.
fn network(latest: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let packet = (0..latest, 0..10_u8, 0..latest);
    prop::collection::vec(packet, 1..120).prop_map(|packets| {
        let mut arrivals = Vec::new();
        for (number, (delay, fate, again)) in (4_u64..).zip(packets) {
            if fate > 0 {
                arrivals.push((100 + 20 * number + delay, number));
            }
            if fate == 9 {
                arrivals.push((100 + 20 * number + again, number));
            }
        }
        arrivals.sort_unstable();
        arrivals
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_order_they_come_in_within_the_depth_they_leave_in_order_and_each_once(
        arrivals in network(50)
    ) {
        let mut line = Line::with_depth(ms(50));
        for (at, number) in &arrivals {
            line.push(*number, ms(*at));
        }
        line.run(ms(100_000));
        let came: BTreeSet<u64> = arrivals.iter().map(|(_, number)| *number).collect();
        prop_assert_eq!(line.numbers(), came.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(line.late.len(), 0);
        for (number, at) in &line.passed {
            prop_assert!(*at <= line.came[number] + LIMIT, "{number} was held for too long");
        }
    }

    #[test]
    fn whatever_comes_it_does_as_a_naive_one(arrivals in network(400), late in 0..70_u64) {
        let mut line = Line::with_depth(ms(late));
        let mut naive = Naive { last: 3, known: (0..4).collect(), ..Naive::default() };
        for (at, number) in &arrivals {
            let at = ms(*at);
            while let Some(due) = line.sequencer.poll_timeout() && due <= line.begin + at {
                let due = due - line.begin;
                line.run(due);
                naive.release(due, line.sequencer.depth());
            }
            let before = line.sequencer.depth();
            line.push(*number, at);
            // What is learnt from a packet that fills a hole counts for those behind it.
            let after = line.sequencer.depth();
            prop_assert!(after >= before);
            naive.push(*number, at, after);
        }
        line.run(ms(100_000));
        naive.release(ms(100_000), ms(0));
        let numbers: Vec<u64> = naive.passed.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!(line.numbers(), numbers);
        prop_assert_eq!(&line.late, &naive.late);
        let timed = line.passed.iter().zip(&naive.passed);
        for (ours, theirs) in timed.filter(|(_, theirs)| theirs.1 < ms(100_000)) {
            prop_assert_eq!(ours, theirs);
        }
        let mut sorted = line.numbers();
        sorted.dedup();
        prop_assert!(sorted.is_sorted() && sorted.len() == line.passed.len());
        let known: usize = arrivals.len() - line.duplicates;
        prop_assert_eq!(line.passed.len() + line.late.len(), known);
    }

    #[test]
    fn nothing_that_comes_breaks_it_or_is_held_beyond_60_ms(
        packets in prop::collection::vec((any::<u16>(), 0..100_u64, 0..1_400_usize), 0..200)
    ) {
        let mut sequencer = Resequencer::new(0);
        let begin = Instant::now();
        let mut at = begin;
        let mut came = BTreeMap::new();
        for (sequence, later, length) in packets {
            // Mostly near the last one.
            let sequence = if sequence % 4 > 0 { sequence % 64 } else { sequence };
            at += ms(later);
            let packet = RtpHeader { sequence, ..header(0) };
            let place = sequencer.push(&packet, &vec![1; length], at);
            if place == Place::Held {
                came.insert(sequence, at);
            }
            while let Some(released) = sequencer.pop(at) {
                came.remove(&released.header.sequence);
            }
            if let Some(due) = sequencer.poll_timeout() {
                prop_assert!(due > at && due <= at + LIMIT);
            }
            let held_since = came.values().min().copied().unwrap_or(at);
            prop_assert!(at.duration_since(held_since) <= LIMIT);
            prop_assert_eq!(sequencer.is_holding(), !came.is_empty());
        }
    }
}
