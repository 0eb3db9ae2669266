//! Composes the planes: arguments -> config -> build -> run -> drain.

mod build;
mod callbacks;
mod dispatch;
pub mod links;
mod logging;
pub mod notifications;
pub mod payments;
mod processors;
mod run;
mod tokens;
mod triggers;

pub use build::make_data_dir;
pub use callbacks::check_callbacks;
pub use logging::{LogFormat, Logging, no_messages};
pub use processors::check_processor;
pub use run::serve;
pub use triggers::check_triggers;

use crate::proto::time::Now;

/// Reads both clocks at once. Media workers read their own, once a wake-up.
#[must_use]
pub fn read_clocks() -> Now {
    Now {
        instant: std::time::Instant::now(),
        utc: jiff::Timestamp::now(),
    }
}
