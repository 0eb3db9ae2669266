//! Which call a desktop's payments are for.
//!
//! A link begins with what the desktop knows of its call and is confirmed once it is sure that this is
//! the call whose agent sits before that desktop: either signalling says the same and of one call only,
//! or somebody has typed the code that the gateway read out to that agent. Nothing is charged on a link
//! that is not confirmed, so that nobody charges the wrong caller.

mod code;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use code::{CODE_DIGITS, SpokenCode, SpokenCodeError};

use super::{
    id::CallId,
    party::{AgentAddress, CallReference},
};

/// How long a code that was read out is good for: it takes 6 s to read.
pub const CODE_LASTS: Duration = Duration::from_secs(60);
/// How long after a reading the next may follow: while it lasts the agent does not hear the caller.
pub const READING_PAUSE: Duration = Duration::from_secs(10);
/// Wrong codes that end a link: three of ten thousand, or of as many less as calls are read to.
const TRIES: u8 = 3;
/// Most calls that codes are read to at once.
pub const MOST_READ_TO: usize = 4;

/// By what a desktop finds its call.
#[derive(Clone, PartialEq, Eq)]
pub enum Finder {
    /// By the call's own id.
    Call(CallId),
    /// By the agent's own address.
    Agent(AgentAddress),
    /// By what another system calls it.
    Reference(CallReference),
}

/// What confirms that the call is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// That it is the only one found.
    Match,
    /// The code that is read out to its agent.
    Code,
}

/// A call as far as links look at it.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub call: CallId,
    /// Whether both ends have agreed on media.
    pub answered: bool,
    /// Whether it is known which end is the agent's: nothing can be read out to an unknown one.
    pub sides_known: bool,
    /// Who the agent is, by address and by signalling tag.
    pub agent: Agent,
}

/// Who is at the agent's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// As signalling says.
    pub address: Option<AgentAddress>,
    /// Tag of the leg.
    pub tag: Option<String>,
}

/// Where a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// No call that is answered fits.
    Looking,
    /// So many fit; the code tells which it is.
    Several(usize),
    /// One fits, and the code has to be read out.
    Found(CallId),
    /// The code is or was read out, and is waited for.
    Reading,
    /// Payments may be taken on this call.
    Confirmed(CallId),
    /// For good.
    Ended(LinkEnd),
}

/// Why a link is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// The call is.
    #[error("the call has ended; begin a new link for the next one")]
    CallEnded,
    /// Somebody else is at the agent's end.
    #[error("the call has another agent now; whoever has it begins a link of their own")]
    AgentChanged,
    /// Too many wrong codes.
    #[error("three wrong codes were typed; begin a new link")]
    WrongCodes,
}

/// Why something cannot be done with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is over.
    #[error(transparent)]
    Ended(#[from] LinkEnd),
    /// Payments need a confirmed one.
    #[error("the link is not confirmed; see its state for what it waits for")]
    NotConfirmed,
    /// There is no agent to read a code to.
    #[error("no answered call fits this link yet; a code can be read out once one does")]
    NoCall,
    /// It is not known which end of the call is the agent's.
    #[error(
        "which end of the call is the agent is not known, so no code can be read out; have it known by media.caller or tonewall-caller"
    )]
    AgentUnknown,
    /// Each of them would be disturbed.
    #[error(
        "{0} calls fit this link; codes are read to {MOST_READ_TO} at most, so find it by what fewer share"
    )]
    TooMany(usize),
    /// The last reading was a moment ago.
    #[error("a code was read out a moment ago; wait {0} s for the next")]
    TooSoon(u64),
    /// It needs none any more.
    #[error("the link is confirmed already")]
    Confirmed,
    /// Nothing was read out, or too long ago.
    #[error("no code is waited for; have one read out")]
    NotReading,
    /// It is not the one.
    #[error("this is not the code that was read out; {0} more tries")]
    WrongCode(u8),
}

/// A code that was read to a call's agent.
struct Read {
    call: CallId,
    agent: Agent,
    code: SpokenCode,
}

enum State {
    Looking { found: Vec<Candidate> },
    Reading { codes: Vec<Read>, since: Instant },
    Confirmed { call: CallId, agent: Agent },
    Ended(LinkEnd),
}

/// A desktop's claim that a call is its own.
pub struct Link {
    finder: Finder,
    confirmation: Confirmation,
    state: State,
    tries: u8,
    last_reading: Option<Instant>,
}

impl Link {
    /// A claim that nothing has been looked up for yet.
    #[must_use]
    pub const fn new(finder: Finder, confirmation: Confirmation) -> Self {
        Self {
            finder,
            confirmation,
            state: State::Looking { found: Vec::new() },
            tries: TRIES,
            last_reading: None,
        }
    }

    /// By what its call is found.
    #[must_use]
    pub const fn finder(&self) -> &Finder {
        &self.finder
    }

    /// The call that it is confirmed for, which [`Self::look`] wants to hear of whatever finds it.
    #[must_use]
    pub const fn call(&self) -> Option<&CallId> {
        match &self.state {
            State::Confirmed { call, .. } => Some(call),
            State::Looking { .. } | State::Reading { .. } | State::Ended(_) => None,
        }
    }

    /// The calls that are up now: those that the finder fits, and the one that is confirmed.
    pub fn look(&mut self, up: &[Candidate], now: Instant) -> LinkState {
        match &mut self.state {
            State::Looking { found } => {
                *found = up.iter().filter(|call| call.answered).cloned().collect();
                if let [only] = found.as_slice()
                    && self.confirmation == Confirmation::Match
                {
                    self.state = State::Confirmed {
                        call: only.call.clone(),
                        agent: only.agent.clone(),
                    };
                }
            }
            State::Reading { codes, since } => {
                codes.retain(|read| stands(up, &read.call, &read.agent).is_ok());
                if codes.is_empty() || now.duration_since(*since) > CODE_LASTS {
                    self.state = State::Looking { found: Vec::new() };
                    return self.look(up, now);
                }
            }
            State::Confirmed { call, agent } => {
                if let Err(end) = stands(up, call, agent) {
                    self.state = State::Ended(end);
                }
            }
            State::Ended(_) => {}
        }
        match &self.state {
            State::Looking { found } => match found.as_slice() {
                [] => LinkState::Looking,
                [only] => LinkState::Found(only.call.clone()),
                several => LinkState::Several(several.len()),
            },
            State::Reading { .. } => LinkState::Reading,
            State::Confirmed { call, .. } => LinkState::Confirmed(call.clone()),
            State::Ended(end) => LinkState::Ended(*end),
        }
    }

    /// What is to be read to which call's agent. `draw` gives random numbers below 10,000.
    pub fn read_out(
        &mut self,
        up: &[Candidate],
        mut draw: impl FnMut() -> u16,
        now: Instant,
    ) -> Result<Vec<(CallId, SpokenCode)>, LinkError> {
        match self.look(up, now) {
            LinkState::Ended(end) => return Err(end.into()),
            LinkState::Confirmed(_) => return Err(LinkError::Confirmed),
            LinkState::Looking => return Err(LinkError::NoCall),
            LinkState::Several(count) if count > MOST_READ_TO => {
                return Err(LinkError::TooMany(count));
            }
            LinkState::Several(_) | LinkState::Found(_) | LinkState::Reading => {}
        }
        let wait = self
            .last_reading
            .map(|last| READING_PAUSE.saturating_sub(now.duration_since(last)))
            .unwrap_or_default();
        if !wait.is_zero() {
            return Err(LinkError::TooSoon(wait.as_secs() + 1));
        }
        let answered = up.iter().filter(|call| call.answered);
        let heard: Vec<_> = answered.filter(|call| call.sides_known).collect();
        if heard.is_empty() {
            return Err(LinkError::AgentUnknown);
        }
        let mut codes: Vec<Read> = Vec::new();
        for candidate in heard {
            // Two calls must not hear the same.
            let mut number = draw();
            while codes.iter().any(|read| read.code == SpokenCode::of(number)) {
                number = number.wrapping_add(1);
            }
            let code = SpokenCode::of(number);
            codes.push(Read {
                call: candidate.call.clone(),
                agent: candidate.agent.clone(),
                code,
            });
        }
        let told = codes.iter().map(|read| (read.call.clone(), read.code));
        let told = told.collect();
        self.last_reading = Some(now);
        self.state = State::Reading { codes, since: now };
        Ok(told)
    }

    /// Somebody has typed a code.
    pub fn confirm(
        &mut self,
        up: &[Candidate],
        typed: SpokenCode,
        now: Instant,
    ) -> Result<CallId, LinkError> {
        match self.look(up, now) {
            LinkState::Ended(end) => return Err(end.into()),
            LinkState::Confirmed(_) => return Err(LinkError::Confirmed),
            LinkState::Looking | LinkState::Several(_) | LinkState::Found(_) => {
                return Err(LinkError::NotReading);
            }
            LinkState::Reading => {}
        }
        let State::Reading { codes, .. } = &self.state else {
            return Err(LinkError::NotReading);
        };
        let Some(read) = codes.iter().find(|read| read.code == typed) else {
            self.tries = self.tries.saturating_sub(1);
            if self.tries == 0 {
                self.state = State::Ended(LinkEnd::WrongCodes);
                return Err(LinkEnd::WrongCodes.into());
            }
            return Err(LinkError::WrongCode(self.tries));
        };
        let call = read.call.clone();
        self.state = State::Confirmed {
            call: call.clone(),
            agent: read.agent.clone(),
        };
        Ok(call)
    }
}

/// Whether a call is up with the agent whom it had.
fn stands(up: &[Candidate], call: &CallId, agent: &Agent) -> Result<(), LinkEnd> {
    let found = up.iter().find(|candidate| candidate.call == *call);
    let found = found.ok_or(LinkEnd::CallEnded)?;
    if found.agent == *agent {
        Ok(())
    } else {
        Err(LinkEnd::AgentChanged)
    }
}
