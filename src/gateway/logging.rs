//! The operator's log. No level of it holds a digit of a card.

use std::{io::IsTerminal, panic};

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, fmt, prelude::*};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged and how.
#[derive(Debug, Clone)]
pub struct Logging {
    /// How; by default text on a terminal, JSON elsewhere.
    pub format: Option<LogFormat>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter like `info,tonewall::signal=debug`.
    pub level: String,
}

impl Logging {
    /// Installs the log on standard error, and a panic hook that tells a place and never a value:
    /// a message may hold what was being worked on.
    ///
    /// # Errors
    /// When the level cannot be read, or a log is installed already.
    pub fn install(&self) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(&self.level).with_context(|| {
            format!(
                "found log level {:?}; expected error, warn, info, debug or trace",
                self.level
            )
        })?;
        let terminal = std::io::stderr().is_terminal();
        let format = self.format.unwrap_or(if terminal {
            LogFormat::Text
        } else {
            LogFormat::Json
        });
        let registry = tracing_subscriber::registry()
            .with(filter)
            .with(no_messages());
        match format {
            LogFormat::Text => registry
                .with(
                    fmt::layer()
                        .with_writer(std::io::stderr)
                        .with_ansi(terminal),
                )
                .try_init()?,
            LogFormat::Json => registry
                .with(fmt::layer().json().with_writer(std::io::stderr))
                .try_init()?,
        }
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string);
            let thread = std::thread::current();
            tracing::error!(
                place = place.as_deref().unwrap_or("unknown"),
                thread = thread.name().unwrap_or("unnamed"),
                "an error in this program; please report the place"
            );
        }));
        Ok(())
    }
}

/// Silences the SIP stack, which logs whole messages: bodies that tell keys, credentials, keys of
/// SRTP. No level or filter of an operator brings that back.
pub fn no_messages<S: Subscriber>() -> impl Layer<S> {
    filter_fn(|metadata| {
        let crate_name = metadata.target().split("::").next();
        crate_name != Some("rsipstack")
    })
}
