//! Capturing one field after the other.

mod event;
mod machine;
mod progress;
#[cfg(test)]
mod tests;

pub use event::{CaptureEvent, CaptureEventKind, CaptureFailure, CaptureSettings, CaptureTimeout};
pub use machine::{Capture, CaptureOutput};

pub use super::card::Rejection;
