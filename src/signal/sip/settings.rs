//! What the SIP door is told once.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use rsipstack::transport::SipAddr;
use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::{
    listen::TlsFiles,
    proto::{leg::Leg, shadow::TrunkName},
    signal::Networks,
};

/// A transport of SIP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SipTransport {
    /// Datagrams.
    #[default]
    Udp,
    /// Connections.
    Tcp,
    /// Connections with a certificate at each end.
    Tls,
}

impl From<SipTransport> for rsipstack::sip::Transport {
    fn from(transport: SipTransport) -> Self {
        match transport {
            SipTransport::Udp => Self::Udp,
            SipTransport::Tcp => Self::Tcp,
            SipTransport::Tls => Self::Tls,
        }
    }
}

impl SipTransport {
    /// Of an address of the stack.
    pub(super) fn of(address: &SipAddr) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|known| address.r#type == Some((*known).into()))
    }
}

impl fmt::Display for SipTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// Where SIP is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The transport.
    pub transport: SipTransport,
    /// The address to bind.
    pub address: SocketAddr,
    /// The address that peers are told.
    pub advertise: SocketAddr,
    /// What TLS needs; with [`SipTransport::Tls`], and with nothing else.
    pub tls: Option<TlsSettings>,
}

/// What TLS with peers needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Our certificate, which peers are shown in either direction, and its key.
    pub files: TlsFiles,
    /// The certificates of the authorities that peers' are by, in PEM.
    pub authorities: PathBuf,
}

/// What a peer asks for with 401 or 407. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    username: String,
    password: String,
}

impl Secret {
    /// A name and its password.
    #[must_use]
    pub const fn new(username: String, password: String) -> Self {
        Self { username, password }
    }

    pub(super) fn credential(&self) -> rsipstack::dialog::authenticate::Credential {
        rsipstack::dialog::authenticate::Credential {
            username: self.username.clone(),
            password: self.password.clone(),
            realm: None,
            auth_username: None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A dial peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: TrunkName,
    /// Who is on this side of the gateway: the callers of a trunk, or the agents.
    pub leg: Leg,
    /// How it is reached.
    pub transport: SipTransport,
    /// Where it is reached.
    pub address: SocketAddr,
    /// From where it may send.
    pub sources: Networks,
    /// What its certificate names, over TLS.
    pub certificate_name: ServerName<'static>,
    /// The place, among the peers, of the one that its calls go to.
    pub to: usize,
    /// Where its calls are sent while the gateway must not serve.
    pub bypass: Option<SocketAddr>,
    /// How often a call may be sent elsewhere by it, within its addresses.
    pub redirects: u8,
    /// Header fields that pass besides those that always do.
    pub pass_headers: Vec<String>,
    /// How often it is asked whether it is there; never where zero.
    pub keepalive: Duration,
    /// What it asks for.
    pub secret: Option<Secret>,
}

impl Peer {
    /// Whether this address is one of its.
    #[must_use]
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.sources.contains(address) || self.address.ip() == address.to_canonical()
    }
}

/// What the SIP door is told once.
#[derive(Debug, Clone)]
pub struct SipSettings {
    /// Where SIP is taken.
    pub listeners: Vec<Listener>,
    /// Who may call, and where calls go.
    pub peers: Vec<Peer>,
    /// New requests a second that one address may send for long.
    pub requests_per_second: u32,
    /// And at once.
    pub burst: u32,
    /// Seconds that a session lives without a sign of life.
    pub session_expires: u32,
    /// The header field by which an agent's end starts a payment; none where that starts nothing.
    pub payment_header: Option<String>,
    /// The header field of an agent's end by which a desktop finds its call.
    pub link_header: Option<String>,
}

impl SipSettings {
    /// The peer that an address belongs to.
    pub(super) fn peer_at(&self, transport: SipTransport, address: IpAddr) -> Option<usize> {
        self.peers
            .iter()
            .position(|peer| peer.transport == transport && peer.is_at(address))
    }

    pub(super) fn listener(&self, transport: SipTransport) -> Option<&Listener> {
        self.listeners
            .iter()
            .find(|listener| listener.transport == transport)
    }
}
