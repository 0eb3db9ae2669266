//! The story on the terminal: who does what, and when.

use std::{
    io::{self, IsTerminal, Write},
    time::Instant,
};

/// Who a line is about; each has a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Caller,
    Agent,
    Gateway,
    Bank,
    You,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Gateway => "gateway",
            Self::Bank => "sandbox",
            Self::You => "you",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Caller => "33",
            Self::Agent => "36",
            Self::Gateway => "35",
            Self::Bank => "34",
            Self::You => "32",
        }
    }
}

/// Whether a figure of the summary is as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// As it must be.
    Good,
    /// Not so: the demo fails.
    Bad,
    /// A figure to know, without a right or wrong.
    Plain,
}

/// Writes the story.
pub(super) struct Story<W: Write> {
    out: W,
    started: Instant,
    terminal: bool,
    passing: bool,
}

impl Story<io::Stdout> {
    /// A story on standard output; colours and passing lines on a terminal only.
    pub(super) fn on_stdout() -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self::new(out, terminal)
    }
}

// What cannot be written to a closed terminal is no reason to end a call: results are dropped.
impl<W: Write> Story<W> {
    fn new(out: W, terminal: bool) -> Self {
        Self {
            out,
            started: Instant::now(),
            terminal,
            passing: false,
        }
    }

    /// A heading.
    pub(super) fn title(&mut self, text: &str, explanation: &str) {
        self.clear();
        let text = self.paint("1", text);
        drop(writeln!(self.out, "\n  {text}"));
        drop(writeln!(self.out, "  {}\n", self.paint("2", explanation)));
    }

    /// Something that someone does.
    pub(super) fn tell(&mut self, who: Who, what: &str) {
        self.clear();
        let line = self.line(who, what);
        drop(writeln!(self.out, "{line}"));
    }

    /// Something that someone says.
    pub(super) fn say(&mut self, who: Who, words: &str) {
        self.tell(who, &format!("“{words}”"));
    }

    /// A line that the next one replaces; on a terminal only.
    pub(super) fn pass(&mut self, who: Who, what: &str) {
        if !self.terminal {
            return;
        }
        self.clear();
        let line = self.line(who, what);
        drop(write!(self.out, "{line}"));
        drop(self.out.flush());
        self.passing = true;
    }

    /// A figure of the summary.
    pub(super) fn figure(&mut self, name: &str, value: &str, mark: Mark) {
        self.clear();
        let sign = match mark {
            Mark::Good => self.paint("32", "✓"),
            Mark::Bad => self.paint("31;1", "✗"),
            Mark::Plain => " ".to_owned(),
        };
        drop(writeln!(self.out, "  {sign} {name:<40}{value}"));
    }

    /// A line as it is.
    pub(super) fn plain(&mut self, text: &str) {
        self.clear();
        drop(writeln!(self.out, "{text}"));
    }

    /// The line that says how it ended.
    pub(super) fn verdict(&mut self, good: bool, text: &str) {
        self.clear();
        let text = self.paint(if good { "32;1" } else { "31;1" }, text);
        drop(writeln!(self.out, "\n{text}"));
        drop(self.out.flush());
    }

    fn line(&self, who: Who, what: &str) -> String {
        let seconds = format!("{:6.1}", self.started.elapsed().as_secs_f64());
        let name = format!("{:<8}", who.name());
        format!(
            "{}  {} {what}",
            self.paint("2", &seconds),
            self.paint(who.colour(), &name)
        )
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.terminal {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.passing) {
            drop(write!(self.out, "\r\x1b[2K"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(terminal: bool) -> String {
        let mut bytes = Vec::new();
        let mut story = Story::new(&mut bytes, terminal);
        story.title("tonewall", "a call");
        story.say(Who::Agent, "Hello.");
        story.pass(Who::Gateway, "••••");
        story.tell(Who::Gateway, "heard 4 keys");
        story.figure("keys recovered", "0", Mark::Good);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn without_a_terminal_there_are_neither_colours_nor_passing_lines() {
        let text = told(false);
        assert!(!text.contains('\x1b') && !text.contains('\r'), "{text}");
        assert!(!text.contains("••••"));
        assert!(text.contains("   0.0  agent    “Hello.”\n"), "{text}");
        assert!(
            text.contains("  ✓ keys recovered                          0\n"),
            "{text}"
        );
    }

    #[test]
    fn on_a_terminal_a_passing_line_is_replaced() {
        let text = told(true);
        assert!(text.contains("••••\r\x1b[2K"), "{text:?}");
    }
}
