//! Which desktop is at which call: links, from their beginning to their call's end. In memory only: a
//! restart ends them, and their desktops begin new ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, rngs::StdRng};
use serde::Serialize;
use ulid::Ulid;

use super::payments::{Clock, Principal};
use crate::{
    media::{MediaCommand, MediaError, MediaPlane},
    proto::{
        audit::Actor,
        id::{CallId, LinkId, Node, Tenant},
        link::{
            Candidate, Confirmation, Finder, Link, LinkError, LinkState, READING_PAUSE, SpokenCode,
        },
        party::{AgentAddress, CallReference},
        time::Now,
    },
    signal::Calls,
};

/// Most links at a time: more than any node has agents.
const MOST: usize = 4_096;
/// How long a link lasts that nobody asks for, unless its call is still up.
const UNASKED: Duration = Duration::from_secs(15 * 60);

/// By what a desktop looks for its call, as it said it.
#[allow(missing_docs)]
pub enum Sought {
    /// Our id or the signalling's.
    Call(String),
    Agent(AgentAddress),
    Reference(CallReference),
}

/// A link as its desktop sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkView {
    /// Its id.
    pub id: LinkId,
    /// `looking`, `several`, `found`, `reading`, `confirmed` or `ended`.
    pub state: &'static str,
    /// The call, where it is found.
    pub call: Option<CallId>,
    /// How many calls fit, where it is several.
    pub candidates: Option<usize>,
    /// One sentence: what to do next.
    pub advice: String,
}

/// Why a link is refused something.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkRefusal {
    #[error("no call with this id is up; GET /v1/calls lists those that are")]
    UnknownCall,
    #[error("no such link here; begin one with POST /v1/links")]
    UnknownLink,
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("this node has as many links as it takes ({MOST}); end some")]
    TooMany,
    #[error("the code cannot be read out: {0}")]
    Media(#[from] MediaError),
}

/// The calls, and the way to their agents' ears.
pub trait Lines: Send + Sync {
    /// A call's id by ours or the signalling's.
    fn find(&self, tenant: &Tenant, call: &str) -> Option<CallId>;
    /// The calls that are meant.
    fn candidates(&self, tenant: &Tenant, finder: &Finder) -> Vec<Candidate>;
    /// Reads a code out to the agent of a call.
    fn read_out(&self, call: &CallId, code: SpokenCode) -> Result<(), MediaError>;
}

impl Lines for (Calls, MediaPlane) {
    fn find(&self, tenant: &Tenant, call: &str) -> Option<CallId> {
        self.0.find(tenant, call).map(|call| call.id)
    }

    fn candidates(&self, tenant: &Tenant, finder: &Finder) -> Vec<Candidate> {
        self.0.candidates(tenant, finder)
    }

    fn read_out(&self, call: &CallId, code: SpokenCode) -> Result<(), MediaError> {
        self.1.send(call, MediaCommand::ReadOut(code))
    }
}

/// The links of this node; cheap to clone.
#[derive(Clone)]
pub struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    lines: Arc<dyn Lines>,
    node: Node,
    clock: Clock,
    inner: Mutex<Inner>,
}

struct Inner {
    all: HashMap<LinkId, Held>,
    /// When a code was last read out on a call, whoever asked for it.
    read: HashMap<CallId, Instant>,
    rng: StdRng,
}

/// A link and whose it is.
struct Held {
    link: Link,
    by: Actor,
    asked: Instant,
}

impl Links {
    /// None yet. `rng` draws ids and codes.
    #[must_use]
    pub fn new(lines: Arc<dyn Lines>, node: Node, rng: StdRng, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                lines,
                node,
                clock,
                inner: Mutex::new(Inner {
                    all: HashMap::new(),
                    read: HashMap::new(),
                    rng,
                }),
            }),
        }
    }

    /// Begins a link. A panel's session has one: the earlier one ends.
    pub fn begin(
        &self,
        by: &Principal,
        sought: Sought,
        confirmation: Confirmation,
    ) -> Result<LinkView, LinkRefusal> {
        let finder = match sought {
            Sought::Call(text) => {
                let found = self.shared.lines.find(&by.tenant, &text);
                Finder::Call(found.ok_or(LinkRefusal::UnknownCall)?)
            }
            Sought::Agent(address) => Finder::Agent(address),
            Sought::Reference(reference) => Finder::Reference(reference),
        };
        let now = (self.shared.clock)();
        let mut inner = self.lock();
        if matches!(by.actor, Actor::Panel { .. }) {
            inner.all.retain(|_, held| held.by != by.actor);
        }
        if inner.all.len() >= MOST {
            self.forget(&mut inner, now.instant);
        }
        if inner.all.len() >= MOST {
            return Err(LinkRefusal::TooMany);
        }
        let id = self.new_id(&mut inner, &by.tenant, now);
        let held = inner.all.entry(id.clone()).or_insert(Held {
            link: Link::new(finder, confirmation),
            by: by.actor.clone(),
            asked: now.instant,
        });
        let up = self.up(&by.tenant, &held.link);
        let state = held.link.look(&up, now.instant);
        Ok(view(id, state))
    }

    /// Where a link stands.
    pub fn get(&self, by: &Principal, id: &LinkId) -> Result<LinkView, LinkRefusal> {
        let state = self.with(by, id, |link, up, now| Ok(link.look(up, now)))?;
        Ok(view(id.clone(), state))
    }

    /// Reads the code out to the agent of each call that fits.
    pub fn read_out(&self, by: &Principal, id: &LinkId) -> Result<LinkView, LinkRefusal> {
        let now = (self.shared.clock)().instant;
        let mut inner = self.lock();
        let Inner { all, read, rng } = &mut *inner;
        let held = held(all, by, id)?;
        held.asked = now;
        let up = self.up(&by.tenant, &held.link);
        // Whoever asks with one link after the other takes the caller's voice away all the same.
        read.retain(|_, at| now.duration_since(*at) < READING_PAUSE);
        let last = up.iter().filter_map(|call| read.get(&call.call)).max();
        if let Some(last) = last {
            let wait = READING_PAUSE.saturating_sub(now.duration_since(*last));
            return Err(LinkError::TooSoon(wait.as_secs() + 1).into());
        }
        let draw = || rng.random_range(0..10_000);
        for (call, code) in held.link.read_out(&up, draw, now)? {
            self.shared.lines.read_out(&call, code)?;
            read.insert(call, now);
        }
        let state = held.link.look(&up, now);
        Ok(view(id.clone(), state))
    }

    /// Somebody has typed what was heard.
    pub fn confirm(
        &self,
        by: &Principal,
        id: &LinkId,
        typed: SpokenCode,
    ) -> Result<LinkView, LinkRefusal> {
        let call = self.with(by, id, |link, up, now| link.confirm(up, typed, now))?;
        tracing::info!(link = %id, %call, "link confirmed by the code that was read out");
        Ok(view(id.clone(), LinkState::Confirmed(call)))
    }

    /// Whether there was such a link; there is none now.
    pub fn end(&self, by: &Principal, id: &LinkId) -> Result<(), LinkRefusal> {
        let mut inner = self.lock();
        held(&mut inner.all, by, id)?;
        inner.all.remove(id);
        Ok(())
    }

    /// The call that payments may be taken on by this link.
    pub fn confirmed(&self, by: &Principal, id: &LinkId) -> Result<CallId, LinkRefusal> {
        self.with(by, id, |link, up, now| match link.look(up, now) {
            LinkState::Confirmed(call) => Ok(call),
            LinkState::Ended(end) => Err(end.into()),
            LinkState::Looking
            | LinkState::Several(_)
            | LinkState::Found(_)
            | LinkState::Reading => Err(LinkError::NotConfirmed),
        })
    }

    /// Whether any link of this desktop is confirmed for this call.
    pub fn is_linked(&self, by: &Principal, call: &str) -> bool {
        let Some(call) = self.shared.lines.find(&by.tenant, call) else {
            return false;
        };
        let now = (self.shared.clock)().instant;
        let mut inner = self.lock();
        let own = inner.all.values_mut().filter(|held| held.by == by.actor);
        let mut of_call = own.filter(|held| held.link.call() == Some(&call));
        of_call.any(|held| {
            let up = self.up(&by.tenant, &held.link);
            matches!(held.link.look(&up, now), LinkState::Confirmed(_))
        })
    }

    fn with<T>(
        &self,
        by: &Principal,
        id: &LinkId,
        with: impl FnOnce(&mut Link, &[Candidate], Instant) -> Result<T, LinkError>,
    ) -> Result<T, LinkRefusal> {
        let now = (self.shared.clock)().instant;
        let mut inner = self.lock();
        let held = held(&mut inner.all, by, id)?;
        held.asked = now;
        let up = self.up(&by.tenant, &held.link);
        Ok(with(&mut held.link, &up, now)?)
    }

    /// The calls that a link has to hear of: the one that it is confirmed for, or those that fit.
    fn up(&self, tenant: &Tenant, link: &Link) -> Vec<Candidate> {
        let lines = &self.shared.lines;
        match link.call() {
            Some(call) => lines.candidates(tenant, &Finder::Call(call.clone())),
            None => lines.candidates(tenant, link.finder()),
        }
    }

    /// Links that nobody has asked for in a while, and whose call is not up.
    fn forget(&self, inner: &mut Inner, now: Instant) {
        inner.all.retain(|id, held| {
            let mut is_up = || {
                let up = self.up(id.tenant(), &held.link);
                matches!(held.link.look(&up, now), LinkState::Confirmed(_))
            };
            now.duration_since(held.asked) < UNASKED || is_up()
        });
    }

    fn new_id(&self, inner: &mut Inner, tenant: &Tenant, now: Now) -> LinkId {
        let milliseconds = u64::try_from(now.utc.as_millisecond()).unwrap_or(0);
        let mut random = [0; 16];
        inner.rng.fill_bytes(&mut random);
        let serial = Ulid::from_parts(milliseconds, u128::from_be_bytes(random));
        LinkId::new(tenant.clone(), self.shared.node.clone(), serial)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        let inner = &self.shared.inner;
        inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link of this tenant and this desktop; anybody else's is none.
fn held<'a>(
    all: &'a mut HashMap<LinkId, Held>,
    by: &Principal,
    id: &LinkId,
) -> Result<&'a mut Held, LinkRefusal> {
    all.get_mut(id)
        .filter(|held| *id.tenant() == by.tenant && held.by == by.actor)
        .ok_or(LinkRefusal::UnknownLink)
}

fn view(id: LinkId, state: LinkState) -> LinkView {
    let (name, call, candidates, advice) = match state {
        LinkState::Looking => (
            "looking",
            None,
            None,
            "No answered call fits yet; this link finds the next one that does.".to_owned(),
        ),
        LinkState::Several(count) => (
            "several",
            None,
            Some(count),
            "More than one call fits; have the code read out, and type what you hear.".to_owned(),
        ),
        LinkState::Found(call) => (
            "found",
            Some(call),
            None,
            "Have the code read out to your telephone, and type what you hear.".to_owned(),
        ),
        LinkState::Reading => (
            "reading",
            None,
            None,
            "Type the four digits that you hear; the caller does not hear them.".to_owned(),
        ),
        LinkState::Confirmed(call) => (
            "confirmed",
            Some(call),
            None,
            "Payments can be taken on this call.".to_owned(),
        ),
        LinkState::Ended(end) => ("ended", None, None, end.to_string()),
    };
    LinkView {
        id,
        state: name,
        call,
        candidates,
        advice,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rand::SeedableRng;

    use super::*;
    use crate::proto::{id::KeyId, link::Agent};

    /// Calls that are up, and what was read out on them.
    #[derive(Default)]
    struct Paper {
        up: Mutex<Vec<Candidate>>,
        read: Mutex<Vec<(CallId, SpokenCode)>>,
    }

    impl Lines for Paper {
        fn find(&self, _tenant: &Tenant, call: &str) -> Option<CallId> {
            let up = self.up.lock().unwrap();
            let mut ids = up.iter().map(|candidate| &candidate.call);
            ids.find(|id| id.to_string() == call).cloned()
        }

        fn candidates(&self, _tenant: &Tenant, finder: &Finder) -> Vec<Candidate> {
            let up = self.up.lock().unwrap().clone();
            match finder {
                Finder::Call(id) => up.into_iter().filter(|one| one.call == *id).collect(),
                Finder::Agent(_) | Finder::Reference(_) => up,
            }
        }

        fn read_out(&self, call: &CallId, code: SpokenCode) -> Result<(), MediaError> {
            self.read.lock().unwrap().push((call.clone(), code));
            Ok(())
        }
    }

    struct Desk {
        lines: Arc<Paper>,
        links: Links,
        /// Seconds since the beginning.
        seconds: Arc<AtomicU64>,
    }

    fn id(number: u64) -> CallId {
        let serial = Ulid::from_parts(number, 1);
        CallId::new("acme".parse().unwrap(), "n1".parse().unwrap(), serial)
    }

    fn up(number: u64) -> Candidate {
        Candidate {
            call: id(number),
            answered: true,
            sides_known: true,
            agent: Agent {
                address: None,
                tag: None,
            },
        }
    }

    impl Desk {
        fn new(calls: &[u64]) -> Self {
            let lines = Arc::new(Paper::default());
            *lines.up.lock().unwrap() = calls.iter().map(|number| up(*number)).collect();
            let seconds = Arc::new(AtomicU64::new(0));
            let (began, clock) = (Instant::now(), Arc::clone(&seconds));
            let links = Links::new(
                lines.clone(),
                "n1".parse().unwrap(),
                StdRng::seed_from_u64(1),
                Arc::new(move || Now {
                    instant: began + Duration::from_secs(clock.load(Ordering::Relaxed)),
                    utc: jiff::Timestamp::UNIX_EPOCH,
                }),
            );
            Self {
                lines,
                links,
                seconds,
            }
        }

        fn wait(&self, time: Duration) {
            self.seconds.fetch_add(time.as_secs(), Ordering::Relaxed);
        }

        fn begin(&self, by: &Principal, call: u64, confirmation: Confirmation) -> LinkView {
            let sought = Sought::Call(id(call).to_string());
            self.links.begin(by, sought, confirmation).unwrap()
        }
    }

    fn by(actor: fn(KeyId) -> Actor, number: u64) -> Principal {
        let tenant: Tenant = "acme".parse().unwrap();
        let key = KeyId::new(
            tenant.clone(),
            "n1".parse().unwrap(),
            Ulid::from_parts(number, 2),
        );
        Principal {
            tenant,
            actor: actor(key),
            origin: "127.0.0.1:1".to_owned(),
        }
    }

    fn panel(number: u64) -> Principal {
        by(|id| Actor::Panel { id }, number)
    }

    fn program(number: u64) -> Principal {
        by(|id| Actor::Key { id }, number)
    }

    #[test]
    fn a_session_has_one_link_and_a_program_as_many_as_it_begins() {
        let desk = Desk::new(&[1, 2]);
        for (who, first_stays) in [(panel(1), false), (program(2), true)] {
            let first = desk.begin(&who, 1, Confirmation::Match);
            assert!(desk.links.is_linked(&who, &id(1).to_string()));
            let second = desk.begin(&who, 2, Confirmation::Match);
            assert_eq!(desk.links.get(&who, &first.id).is_ok(), first_stays);
            assert!(desk.links.get(&who, &second.id).is_ok());
            assert_eq!(desk.links.is_linked(&who, &id(1).to_string()), first_stays);
        }
    }

    #[test]
    fn one_link_after_the_other_reads_no_more_often_to_a_call_than_one_does() {
        let desk = Desk::new(&[1, 2]);
        let read = |number: u64, call: u64| {
            let who = panel(number);
            let link = desk.begin(&who, call, Confirmation::Code);
            desk.links.read_out(&who, &link.id)
        };
        assert!(read(1, 1).is_ok());
        desk.wait(READING_PAUSE / 2);
        assert!(matches!(
            read(2, 1),
            Err(LinkRefusal::Link(LinkError::TooSoon(6)))
        ));
        assert!(read(3, 2).is_ok());
        desk.wait(READING_PAUSE / 2);
        assert!(read(4, 1).is_ok());
        assert_eq!(desk.lines.read.lock().unwrap().len(), 3);
    }

    #[test]
    fn what_was_read_out_confirms_the_link_of_whoever_asked_for_it() {
        let desk = Desk::new(&[1]);
        let (ana, ben) = (panel(1), panel(2));
        let anas = desk.begin(&ana, 1, Confirmation::Code);
        let bens = desk.begin(&ben, 1, Confirmation::Code);
        desk.links.read_out(&ana, &anas.id).unwrap();
        let (_, code) = desk.lines.read.lock().unwrap()[0];
        let refused = desk.links.confirm(&ben, &bens.id, code);
        assert!(matches!(
            refused,
            Err(LinkRefusal::Link(LinkError::NotReading))
        ));
        let refused = desk.links.confirm(&ben, &anas.id, code);
        assert!(matches!(refused, Err(LinkRefusal::UnknownLink)));
        let confirmed = desk.links.confirm(&ana, &anas.id, code).unwrap();
        assert_eq!(
            (confirmed.state, confirmed.call),
            ("confirmed", Some(id(1)))
        );
        assert_eq!(desk.links.confirmed(&ana, &anas.id).unwrap(), id(1));
        assert!(!desk.links.is_linked(&ben, &id(1).to_string()));
    }

    #[test]
    fn links_are_bounded_and_those_that_nobody_asks_for_make_room() {
        let desk = Desk::new(&[1]);
        let who = program(1);
        let kept = desk.begin(&who, 1, Confirmation::Match);
        let sought = || Sought::Agent("4711".parse().unwrap());
        let begin = || desk.links.begin(&who, sought(), Confirmation::Code);
        for _ in 1..MOST {
            begin().unwrap();
        }
        assert!(matches!(begin(), Err(LinkRefusal::TooMany)));
        desk.wait(UNASKED);
        begin().unwrap();
        // It stands as long as its call does.
        assert!(desk.links.get(&who, &kept.id).is_ok());
        assert_eq!(desk.links.lock().all.len(), 2);
    }
}
