//! Neighbours that only remember what they were told.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    ArmedStore, AuditSink, BoxFuture, CallSettings, Calls, Interface, Interfaces, MediaPort,
};
use crate::{
    audit_log::AuditError,
    journal::{ArmedRow, JournalError},
    media::{
        CallStats, LegSockets, MediaCommand, MediaError, MediaEvent, MediaEventKind,
        ports::{PortPool, SocketOptions},
    },
    proto::{
        audit::{Event, Record},
        call::{
            AgentCode, AgentKey, ArmRefusal, Call, Dialled, Holder, InfoForward, LegMedia, Output,
        },
        digit::KeyClass,
        id::{CallId, Tenant},
        leg::Leg,
        ng::{Dict, Encoding, Reply, Request, decode, encode},
        proof::MaskingProof,
        secret::SealedPress,
        time::Now,
    },
};

pub(super) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5060);

/// How the fake media plane answers `Arm`.
#[derive(Clone, Debug, Default)]
pub(super) enum Arming {
    #[default]
    Confirms,
    Refuses(ArmRefusal),
    IsSilent,
}

#[derive(Default)]
pub(super) struct FakeMedia {
    pub(super) sent: Mutex<Vec<(CallId, MediaCommand)>>,
    pub(super) sockets: Mutex<HashMap<CallId, (LegSockets, LegSockets)>>,
    pub(super) arming: Mutex<Arming>,
    pub(super) stats: Mutex<CallStats>,
    pub(super) full: Mutex<bool>,
    /// Classes of the keys that armed calls took from signalling.
    pub(super) pressed: Mutex<Vec<KeyClass>>,
    /// Whether the workers take no commands.
    pub(super) busy: Mutex<bool>,
    /// Whether they are to be given no more for now.
    pub(super) behind: Mutex<bool>,
    /// What hears the agent's keys, and what it has heard.
    listener: Mutex<Call>,
    pub(super) dialled: Mutex<Vec<Dialled>>,
    /// Whether it does not say what an agent's key is.
    pub(super) deaf: AtomicBool,
    /// Without which the code starts nothing.
    pub(super) pin: Mutex<Option<&'static str>>,
    calls: Mutex<Option<Calls>>,
}

impl FakeMedia {
    /// `*77#`, with the PIN if there is one.
    fn code(&self) -> AgentCode {
        AgentCode {
            code: "*77#".parse().unwrap(),
            pin: self.pin.lock().unwrap().map(|pin| pin.parse().unwrap()),
        }
    }

    /// Tells the registry on another task, as the dispatcher would.
    fn tell(&self, call: &CallId, kind: MediaEventKind) {
        let Some(calls) = self.calls.lock().unwrap().clone() else {
            return;
        };
        let event = MediaEvent {
            call: call.clone(),
            kind,
        };
        tokio::spawn(async move { calls.handle_media(&event) });
    }

    pub(super) fn commands(&self) -> Vec<MediaCommand> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|(_, command)| command.clone()).collect()
    }

    /// Whether the last holder that asked for it still holds the call.
    fn armed(&self) -> bool {
        let last = self.commands().into_iter().rev().find_map(|c| match c {
            MediaCommand::Arm(_) => Some(true),
            MediaCommand::Release(_) => Some(false),
            _ => None,
        });
        last.unwrap_or(false)
    }

    /// The media that the leg was last told.
    pub(super) fn leg(&self, leg: Leg) -> Option<LegMedia> {
        self.commands()
            .into_iter()
            .rev()
            .find_map(|command| match command {
                MediaCommand::SetLeg(set, media) if set == leg => Some(media),
                _ => None,
            })
    }
}

impl MediaPort for FakeMedia {
    fn add_call(
        &self,
        call: CallId,
        caller: LegSockets,
        agent: LegSockets,
        media: Option<(Leg, LegMedia)>,
        mask_both: bool,
    ) -> Result<(), MediaError> {
        if *self.full.lock().unwrap() {
            return Err(MediaError::Overloaded);
        }
        let both = mask_both.then(|| (call.clone(), MediaCommand::MaskBoth));
        self.sent.lock().unwrap().extend(both);
        let set = media.map(|(leg, media)| (call.clone(), MediaCommand::SetLeg(leg, media)));
        self.sent.lock().unwrap().extend(set);
        self.sockets.lock().unwrap().insert(call, (caller, agent));
        Ok(())
    }

    fn send(&self, call: &CallId, command: MediaCommand) -> Result<(), MediaError> {
        if !self.sockets.lock().unwrap().contains_key(call) {
            return Err(MediaError::UnknownCall);
        }
        if *self.busy.lock().unwrap() {
            return Err(MediaError::Overloaded);
        }
        match &command {
            MediaCommand::Arm(holder) => match self.arming.lock().unwrap().clone() {
                Arming::Confirms => self.tell(call, MediaEventKind::Armed(holder.clone())),
                Arming::Refuses(why) => {
                    self.tell(call, MediaEventKind::ArmRefused(holder.clone(), why));
                }
                Arming::IsSilent => {}
            },
            MediaCommand::AwaitCode(awaits) => {
                let code = awaits.then(|| Arc::new(self.code()));
                self.listener.lock().unwrap().listen_for(code);
            }
            MediaCommand::HangUp => {
                self.sockets.lock().unwrap().remove(call);
                self.tell(call, MediaEventKind::Ended(MaskingProof::default()));
            }
            _ => {}
        }
        self.sent.lock().unwrap().push((call.clone(), command));
        Ok(())
    }

    fn stats(&self, call: &CallId) -> Option<CallStats> {
        let known = self.sockets.lock().unwrap().contains_key(call);
        known.then(|| *self.stats.lock().unwrap())
    }

    fn gather(&self) {}

    fn hand_over(&self) {}

    fn is_behind(&self) -> bool {
        *self.behind.lock().unwrap()
    }

    fn press<'a>(
        &'a self,
        call: &'a CallId,
        press: SealedPress,
    ) -> BoxFuture<'a, Result<InfoForward, MediaError>> {
        let known = self.sockets.lock().unwrap().contains_key(call);
        let armed = self.armed();
        if armed && let Some(key) = press.open() {
            self.pressed.lock().unwrap().push(key.class());
        }
        let forward = if armed {
            InfoForward::Keep
        } else {
            InfoForward::Relay
        };
        let answer = known.then_some(forward).ok_or(MediaError::UnknownCall);
        Box::pin(std::future::ready(answer))
    }

    fn dial<'a>(
        &'a self,
        _call: &'a CallId,
        press: SealedPress,
    ) -> BoxFuture<'a, Result<AgentKey, MediaError>> {
        let now = Now {
            instant: std::time::Instant::now(),
            utc: jiff::Timestamp::now(),
        };
        if self.deaf.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(MediaError::Overloaded)));
        }
        let mut listener = self.listener.lock().unwrap();
        let told = listener.handle_agents_press(press.open().unwrap(), now);
        while let Some(output) = listener.poll_output() {
            if let Output::Dialled(dialled) = output {
                self.dialled.lock().unwrap().push(dialled);
            }
        }
        Box::pin(std::future::ready(Ok(told)))
    }
}

#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) rows: Mutex<Vec<ArmedRow>>,
    pub(super) broken: Mutex<bool>,
}

impl FakeStore {
    fn check(&self) -> Result<(), JournalError> {
        if *self.broken.lock().unwrap() {
            return Err(JournalError::Closed);
        }
        Ok(())
    }

    pub(super) fn holders(&self) -> Vec<Holder> {
        let rows = self.rows.lock().unwrap();
        rows.iter().map(|row| row.holder.clone()).collect()
    }
}

impl ArmedStore for FakeStore {
    fn set_armed(&self, row: ArmedRow) -> BoxFuture<'_, Result<(), JournalError>> {
        let kept = self.check().map(|()| self.rows.lock().unwrap().push(row));
        Box::pin(std::future::ready(kept))
    }

    fn clear_armed(
        &self,
        _tenant: Tenant,
        signalling_id: String,
        holder: Option<Holder>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        let cleared = self.check().map(|()| {
            self.rows.lock().unwrap().retain(|row| {
                row.signalling_id != signalling_id
                    || holder.as_ref().is_some_and(|holder| row.holder != *holder)
            });
        });
        Box::pin(std::future::ready(cleared))
    }

    fn armed(
        &self,
        _tenant: Tenant,
        signalling_id: String,
    ) -> BoxFuture<'_, Result<Vec<ArmedRow>, JournalError>> {
        let rows = self.check().map(|()| {
            let rows = self.rows.lock().unwrap();
            let of_call = rows.iter().filter(|row| row.signalling_id == signalling_id);
            of_call.cloned().collect()
        });
        Box::pin(std::future::ready(rows))
    }
}

#[derive(Default)]
pub(super) struct FakeAudit(pub(super) Mutex<Vec<Record>>);

impl FakeAudit {
    pub(super) fn events(&self) -> Vec<Event> {
        let records = self.0.lock().unwrap();
        records.iter().map(|record| record.event.clone()).collect()
    }

    pub(super) fn has(&self, found: impl Fn(&Event) -> bool) -> bool {
        self.events().iter().any(found)
    }
}

impl AuditSink for FakeAudit {
    fn record<'a>(
        &'a self,
        _tenant: Option<&'a Tenant>,
        record: Record,
    ) -> BoxFuture<'a, Result<(), AuditError>> {
        self.0.lock().unwrap().push(record);
        Box::pin(std::future::ready(Ok(())))
    }

    fn note(&self, _tenant: Option<&Tenant>, record: Record) -> Result<(), Box<Record>> {
        self.0.lock().unwrap().push(record);
        Ok(())
    }
}

/// A registry among fakes.
pub(super) struct House {
    pub(super) calls: Calls,
    pub(super) media: Arc<FakeMedia>,
    pub(super) store: Arc<FakeStore>,
    pub(super) audit: Arc<FakeAudit>,
    pub(super) ports: PortPool,
}

pub(super) fn settings() -> CallSettings {
    let mut settings = CallSettings::new("acme".parse().unwrap(), "node-1".parse().unwrap(), 100);
    settings.arm_timeout = Duration::from_millis(100);
    settings
}

/// Ports of this machine that are told under another address.
pub(super) fn interface(
    name: &str,
    address: IpAddr,
    advertise: &str,
    ports: RangeInclusive<u16>,
) -> Interface {
    let rest = Duration::from_secs(60);
    Interface {
        name: name.to_owned(),
        ports: PortPool::new(address, ports, rest, SocketOptions::default()).unwrap(),
        advertise: advertise.parse().unwrap(),
    }
}

impl House {
    /// Each test has ports of its own: tests run at the same time.
    pub(super) fn new(ports: RangeInclusive<u16>) -> Self {
        Self::with(settings(), ports)
    }

    pub(super) fn with(settings: CallSettings, ports: RangeInclusive<u16>) -> Self {
        let first = interface("outside", Ipv4Addr::LOCALHOST.into(), "203.0.113.1", ports);
        Self::between(settings, first, Vec::new())
    }

    pub(super) fn between(
        settings: CallSettings,
        first: Interface,
        others: Vec<Interface>,
    ) -> Self {
        let ports = first.ports.clone();
        let interfaces = Interfaces::new(first, others);
        let media = Arc::new(FakeMedia::default());
        let store = Arc::new(FakeStore::default());
        let audit = Arc::new(FakeAudit::default());
        let (media_port, armed, sink) = (media.clone(), store.clone(), audit.clone());
        let calls = Calls::new(settings, media_port, interfaces, armed, sink);
        *media.calls.lock().unwrap() = Some(calls.clone());
        Self {
            calls,
            media,
            store,
            audit,
            ports,
        }
    }

    /// The reply to this message, decoded from its bytes as a client would.
    pub(super) async fn ask(&self, message: Dict) -> Dict {
        let (_, message) = decode(&encode(&message, Encoding::Bencode)).unwrap();
        let reply = match Request::parse(&message) {
            Ok(request) => self.calls.handle(request, PEER).await,
            Err(error) => Reply::from(error),
        };
        decode(&reply.encode(Encoding::Json)).unwrap().1
    }

    /// A call from `a` to `b`, answered.
    pub(super) async fn call(&self, call_id: &str) -> CallId {
        let offer = self.ask(offer(call_id)).await;
        assert_eq!(offer.text("result").as_deref(), Some("ok"), "{offer:?}");
        let answer = self.ask(answer(call_id)).await;
        assert_eq!(answer.text("result").as_deref(), Some("ok"), "{answer:?}");
        let tenant = "acme".parse().unwrap();
        self.calls.find(&tenant, call_id).unwrap().id
    }
}

pub(super) fn sdp(port: u16, formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\nc=IN IP4 198.51.100.1\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

pub(super) fn message(command: &str, call_id: &str) -> Dict {
    Dict::new()
        .with("command", command)
        .with("call-id", call_id)
}

pub(super) fn offer(call_id: &str) -> Dict {
    message("offer", call_id)
        .with("from-tag", "a")
        .with("sdp", sdp(4000, "0 8 101"))
}

pub(super) fn answer(call_id: &str) -> Dict {
    message("answer", call_id)
        .with("from-tag", "a")
        .with("to-tag", "b")
        .with("sdp", sdp(6000, "0 101"))
}

/// The audio port of a reply's SDP.
pub(super) fn port_of(reply: &Dict) -> u16 {
    let sdp = reply.text("sdp").unwrap();
    let line = sdp
        .lines()
        .find(|line| line.starts_with("m=audio "))
        .unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}
