//! Captures in simulated time: one caller, one field, a clock that only these tests move.

mod model;
mod scenarios;

use std::time::{Duration, Instant};

use super::*;
use crate::proto::{
    card::Brand,
    field::Field,
    id::PaymentId,
    secret::plain::{self, key},
    time::Now,
};

/// What a capture said, with the digits of a field for comparison with what was keyed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Field(Vec<u8>),
    Event(CaptureEventKind),
}

/// A caller in front of one open field.
struct Line {
    capture: Capture,
    opened: Now,
    now: Now,
    /// What was said, each with milliseconds since the opening.
    said: Vec<(u64, Said)>,
}

impl Line {
    fn open(field: Field, settings: CaptureSettings, pan_brand: Option<Brand>) -> Self {
        let utc = "2030-06-15T12:00:00Z".parse().unwrap();
        let now = Now {
            instant: Instant::now(),
            utc,
        };
        let slot = plain::slot();
        let capture = Capture::open(payment(), field, settings, slot, pan_brand, now);
        let mut line = Self {
            capture,
            opened: now,
            now,
            said: Vec::new(),
        };
        line.drain();
        line
    }

    fn elapsed_ms(&self) -> u64 {
        let elapsed = self.now.instant.duration_since(self.opened.instant);
        u64::try_from(elapsed.as_millis()).unwrap()
    }

    /// Lets time pass; the timer is served exactly when the capture asks for it.
    fn wait_ms(&mut self, ms: u64) {
        let until = self.now.after(Duration::from_millis(ms));
        while let Some(due) = self
            .capture
            .poll_timeout()
            .filter(|due| *due <= until.instant)
        {
            self.now = self.now.after(due.duration_since(self.now.instant));
            self.capture.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// Lets time pass without serving the timer.
    fn sleep_ms(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    fn press(&mut self, symbol: char) {
        if let Some(slot) = self.capture.slot_mut() {
            let pressed = slot.press(key(symbol));
            self.capture.handle_pressed(pressed, self.now);
        }
        self.drain();
    }

    /// Presses each key, 100 ms apart.
    fn key(&mut self, symbols: &str) {
        for symbol in symbols.chars() {
            self.wait_ms(100);
            self.press(symbol);
        }
    }

    fn drain(&mut self) {
        let at = self.elapsed_ms();
        while let Some(output) = self.capture.poll_output() {
            let said = match output {
                CaptureOutput::Field(whose, mut field) => {
                    assert!(whose == payment() && field.field() == self.capture.field());
                    Said::Field(field.expose(<[u8]>::to_vec))
                }
                CaptureOutput::Event(event) => {
                    assert!(event.payment == payment() && event.field == self.capture.field());
                    Said::Event(event.kind)
                }
            };
            self.said.push((at, said));
        }
    }

    /// What was said since the last call, without progress.
    fn heard(&mut self) -> Vec<Said> {
        let progress = |said: &Said| matches!(said, Said::Event(CaptureEventKind::Progress { .. }));
        let all = self.said.drain(..).map(|(_, said)| said);
        all.filter(|said| !progress(said)).collect()
    }
}

fn payment() -> PaymentId {
    "pay_acme_node-1_01ARZ3NDEKTSV4RRFFQ69G5FAV"
        .parse()
        .unwrap()
}

fn digits(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| byte - b'0').collect()
}

const fn opened(attempts_left: u8) -> Said {
    Said::Event(CaptureEventKind::Opened { attempts_left })
}

const fn rejected(reason: Rejection, attempts_left: u8) -> Said {
    Said::Event(CaptureEventKind::Rejected {
        reason,
        attempts_left,
    })
}

const fn timed_out(timeout: CaptureTimeout) -> Said {
    Said::Event(CaptureEventKind::TimedOut { timeout })
}

fn complete(count: u8, brand: Option<Brand>, last4: Option<&str>) -> Said {
    let last4 = last4.map(|text| text.to_owned().try_into().unwrap());
    Said::Event(CaptureEventKind::Complete {
        count,
        brand,
        last4,
    })
}
