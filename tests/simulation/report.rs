//! What came of simulated calls.

use std::fmt;

/// What came of a call.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) keyed: Vec<Vec<u8>>,
    /// Every datagram that left towards the agent, with its time in samples.
    pub(crate) agent: Vec<(usize, Vec<u8>)>,
    pub(crate) digits_asked: u64,
    pub(crate) fields_asked: u64,
    pub(crate) fields_right: u64,
    pub(crate) fields_wrong: u64,
    pub(crate) leaked_windows: u64,
    pub(crate) voice_sent: u64,
    pub(crate) voice_concealed: u64,
}

/// Sums over calls.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) calls: u64,
    pub(crate) digits_asked: u64,
    pub(crate) fields_asked: u64,
    pub(crate) fields_right: u64,
    pub(crate) fields_wrong: u64,
    pub(crate) voice_sent: u64,
    pub(crate) voice_concealed: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, report: &Report) {
        self.calls += 1;
        self.digits_asked += report.digits_asked;
        self.fields_asked += report.fields_asked;
        self.fields_right += report.fields_right;
        self.fields_wrong += report.fields_wrong;
        self.voice_sent += report.voice_sent;
        self.voice_concealed += report.voice_concealed;
    }
}

impl Totals {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.digits_asked += other.digits_asked;
        self.fields_asked += other.fields_asked;
        self.fields_right += other.fields_right;
        self.fields_wrong += other.fields_wrong;
        self.voice_sent += other.voice_sent;
        self.voice_concealed += other.voice_concealed;
    }
}

impl Totals {
    /// Fields in which at least one digit was not heard.
    pub(crate) const fn asked_again(&self) -> u64 {
        self.fields_asked - self.fields_right - self.fields_wrong
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} fields of {} digits asked, {} right, {} wrong, {} asked again; voice packets outside keys {}, concealed {}",
            self.calls,
            self.fields_asked,
            self.digits_asked,
            self.fields_right,
            self.fields_wrong,
            self.asked_again(),
            self.voice_sent,
            self.voice_concealed
        )
    }
}
