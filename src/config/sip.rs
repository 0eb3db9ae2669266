//! `[sip]`: the SIP door.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rustls::pki_types::ServerName;
use serde::Deserialize;

use super::Span;
use crate::{
    listen::TlsFiles,
    proto::{
        leg::Leg,
        shadow::TrunkName,
        sip::{MIN_SE, RESULT, may_ask_for_payment},
    },
    signal::{
        Networks,
        sip::{Listener, Peer, Secret, SipSettings, SipTransport, TlsSettings},
    },
};

/// How often a call may be sent elsewhere at most.
const MOST_REDIRECTS: u8 = 10;

/// `[sip]`. Nothing listens unless a listener is named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sip {
    /// Where SIP is taken; one listener a transport.
    pub listen: Vec<SipListen>,
    /// Who may call, and where calls go.
    pub peer: Vec<SipPeer>,
    /// New requests a second that one address may send for long.
    pub requests_per_second: u32,
    /// And at once.
    pub burst: u32,
    /// How long a session lives without a sign of life (RFC 4028).
    pub session_expires: Span,
    /// The header field by which an agent's end starts a payment; none where that starts nothing.
    pub payment_header: Option<String>,
    /// The header field of an agent's end by whose value a desktop finds its call.
    pub link_header: Option<String>,
}

/// `[[sip.listen]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SipListen {
    /// `udp`, `tcp` or `tls`.
    pub transport: SipTransport,
    /// The address to bind.
    pub address: SocketAddr,
    /// The address that peers are told, where it differs (NAT, or an unspecified `address`).
    pub advertise: Option<SocketAddr>,
    /// With `tls`: a file with the certificate chain that peers are shown, our own first.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// With `tls`: a file with its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// With `tls`: a file with the certificates of the authorities that peers' are by.
    #[serde(default)]
    pub authorities: Option<PathBuf>,
}

/// On which side of the gateway a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SipSide {
    /// Customers call from here, or are called here: this side keys cards.
    Trunk,
    /// Agents are here: this side must not learn a card.
    Pbx,
}

impl SipSide {
    const fn leg(self) -> Leg {
        match self {
            Self::Trunk => Leg::Caller,
            Self::Pbx => Leg::Agent,
        }
    }
}

/// `[[sip.peer]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SipPeer {
    /// A name, for logs, reports and `calls_go_to`.
    pub name: TrunkName,
    /// Which side it is on.
    pub side: SipSide,
    /// How it is reached.
    #[serde(default)]
    pub transport: SipTransport,
    /// Where it is reached: an IP address and a port.
    pub address: SocketAddr,
    /// From where it may send; from `address` only where empty.
    #[serde(default)]
    pub sources: Vec<String>,
    /// What its certificate names, over TLS: a host name or an address; `address` where not named.
    #[serde(default)]
    pub certificate_name: Option<String>,
    /// The peer that its calls go to, on the other side.
    pub calls_go_to: TrunkName,
    /// Where its calls are sent (302) while the gateway must not serve; 503 where not named.
    #[serde(default)]
    pub bypass: Option<SocketAddr>,
    /// How often a call to it may be sent elsewhere by it (3xx), within `address` and `sources`, and is
    /// followed; 3xx pass on where zero.
    #[serde(default)]
    pub redirects: u8,
    /// Header fields that pass besides those that always do.
    #[serde(default)]
    pub pass_headers: Vec<String>,
    /// How often it is asked whether it is there; never where zero.
    #[serde(default = "default_keepalive")]
    pub keepalive: Span,
    /// The name that it asks for (401, 407).
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

const fn default_keepalive() -> Span {
    Span(Duration::from_secs(30))
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            peer: Vec::new(),
            requests_per_second: 100,
            burst: 200,
            session_expires: Span(Duration::from_secs(1_800)),
            payment_header: None,
            link_header: None,
        }
    }
}

impl Sip {
    /// As the SIP door takes it; `None` where it is not configured.
    ///
    /// # Errors
    /// The key that cannot stay as it is, and why.
    pub fn settings(&self) -> Result<Option<SipSettings>, (&'static str, String)> {
        if self.listen.is_empty() {
            return if self.peer.is_empty() {
                Ok(None)
            } else {
                let problem = "found none, with peers configured; name where SIP is taken";
                Err(("sip.listen", problem.to_owned()))
            };
        }
        let listeners = self.listeners()?;
        let seconds = self.session_expires.0.as_secs();
        let session_expires = u32::try_from(seconds)
            .ok()
            .filter(|seconds| (MIN_SE..=86_400).contains(seconds))
            .ok_or_else(|| {
                let problem = format!(
                    "found {:?}; expected {MIN_SE} s (RFC 4028 section 4) to a day",
                    self.session_expires.0
                );
                ("sip.session_expires", problem)
            })?;
        if self.requests_per_second == 0 || self.burst == 0 {
            return Err((
                "sip.requests_per_second",
                "found 0; expected 1 or more".to_owned(),
            ));
        }
        let peers: Result<Vec<_>, _> = self.peer.iter().map(|peer| self.peer(peer)).collect();
        let peers = peers?;
        told_apart(&listeners, &peers)?;
        self.check_payment_header()?;
        Ok(Some(SipSettings {
            listeners,
            peers,
            requests_per_second: self.requests_per_second,
            burst: self.burst,
            session_expires,
            payment_header: self.payment_header.clone(),
            link_header: self.link_header.clone(),
        }))
    }

    /// A field that starts payments is for the gateway, and what tells of them is from it.
    fn check_payment_header(&self) -> Result<(), (&'static str, String)> {
        if let Some(found) = &self.payment_header
            && !may_ask_for_payment(found)
        {
            let problem = format!(
                "found {found:?}; expected a name that begins with Tonewall- or X-, such as \"Tonewall-Payment\", and is not {RESULT}"
            );
            return Err(("sip.payment_header", problem));
        }
        for peer in &self.peer {
            let kept = |name: &&String| {
                let is = |own: &str| name.eq_ignore_ascii_case(own);
                is(RESULT) || self.payment_header.as_deref().is_some_and(is)
            };
            if let Some(found) = peer.pass_headers.iter().find(kept) {
                let problem = format!(
                    "{}: found {found:?}, which never passes: it is between an agent's end and the gateway",
                    peer.name.as_str()
                );
                return Err(("sip.peer.pass_headers", problem));
            }
        }
        Ok(())
    }

    fn listeners(&self) -> Result<Vec<Listener>, (&'static str, String)> {
        let mut listeners: Vec<Listener> = Vec::new();
        for listen in &self.listen {
            if listeners.iter().any(|l| l.transport == listen.transport) {
                let problem = format!("found two of {}; expected one", listen.transport);
                return Err(("sip.listen", problem));
            }
            let advertise = listen.advertise.unwrap_or(listen.address);
            if advertise.ip().is_unspecified() {
                let problem = format!(
                    "found {advertise}, which peers cannot send to; name the address that they reach"
                );
                return Err(("sip.listen.advertise", problem));
            }
            listeners.push(Listener {
                transport: listen.transport,
                address: listen.address,
                advertise,
                tls: listen.tls()?,
            });
        }
        Ok(listeners)
    }

    fn peer(&self, peer: &SipPeer) -> Result<Peer, (&'static str, String)> {
        let name = peer.name.as_str();
        if self.peer.iter().filter(|p| p.name == peer.name).count() > 1 {
            return Err((
                "sip.peer.name",
                format!("found {name:?} twice; expected once"),
            ));
        }
        if !self.listen.iter().any(|l| l.transport == peer.transport) {
            let problem = format!(
                "{name}: found {}, for which there is no [[sip.listen]]",
                peer.transport
            );
            return Err(("sip.peer.transport", problem));
        }
        if peer.redirects > MOST_REDIRECTS {
            let problem = format!(
                "{name}: found {}; expected {MOST_REDIRECTS} at most",
                peer.redirects
            );
            return Err(("sip.peer.redirects", problem));
        }
        let to = self.peer.iter().position(|p| p.name == peer.calls_go_to);
        let Some(to) = to.filter(|to| self.peer.get(*to).is_some_and(|p| p.side != peer.side))
        else {
            let problem = format!(
                "{name}: found {:?}; expected a peer of the other side, for who keys the card is told by the side",
                peer.calls_go_to.as_str()
            );
            return Err(("sip.peer.calls_go_to", problem));
        };
        let own = [peer.address.ip().to_string()];
        let sources = if peer.sources.is_empty() {
            &own[..]
        } else {
            &peer.sources
        };
        let sources = Networks::parse(sources.iter().map(String::as_str))
            .map_err(|error| ("sip.peer.sources", format!("{name}: {error}")))?;
        let certificate_name = match &peer.certificate_name {
            None => ServerName::from(peer.address.ip()),
            Some(found) => ServerName::try_from(found.clone()).map_err(|_| {
                let problem =
                    format!("{name}: found {found:?}; expected a host name or an address");
                ("sip.peer.certificate_name", problem)
            })?,
        };
        let secret = match (&peer.username, &peer.password_file) {
            (Some(username), Some(path)) => {
                let password = std::fs::read_to_string(path).map_err(|error| {
                    let problem = format!("{name}: cannot read {}: {error}", path.display());
                    ("sip.peer.password_file", problem)
                })?;
                Some(Secret::new(
                    username.clone(),
                    password.trim_end().to_owned(),
                ))
            }
            (None, None) => None,
            _ => {
                let problem = format!("{name}: found one of username and password_file");
                return Err(("sip.peer.password_file", problem));
            }
        };
        Ok(Peer {
            name: peer.name.clone(),
            leg: peer.side.leg(),
            transport: peer.transport,
            address: peer.address,
            sources,
            certificate_name,
            to,
            bypass: peer.bypass,
            redirects: peer.redirects,
            pass_headers: peer.pass_headers.clone(),
            keepalive: peer.keepalive.0,
            secret,
        })
    }
}

impl SipListen {
    fn tls(&self) -> Result<Option<TlsSettings>, (&'static str, String)> {
        match (&self.certificate, &self.key, &self.authorities) {
            (None, None, None) if self.transport != SipTransport::Tls => Ok(None),
            (Some(certificate), Some(key), Some(authorities))
                if self.transport == SipTransport::Tls =>
            {
                let settings = TlsSettings {
                    files: TlsFiles {
                        certificate: certificate.clone(),
                        key: key.clone(),
                        clients: None,
                    },
                    authorities: authorities.clone(),
                };
                let checked = settings.check();
                checked.map_err(|error| ("sip.listen.certificate", error.to_string()))?;
                Ok(Some(settings))
            }
            _ => {
                let problem = format!(
                    "found {} with some of certificate, key and authorities; expected all three with tls, and none without",
                    self.transport
                );
                Err(("sip.listen.certificate", problem))
            }
        }
    }
}

/// Who keys the card is told by the side, and the side by the address.
fn told_apart(listeners: &[Listener], peers: &[Peer]) -> Result<(), (&'static str, String)> {
    for (place, peer) in peers.iter().enumerate() {
        let name = peer.name.as_str();
        if listeners
            .iter()
            .any(|l| peer.address == l.address || peer.address == l.advertise)
        {
            let problem = format!("{name}: found {}, which is our own", peer.address);
            return Err(("sip.peer.address", problem));
        }
        let mut others = peers.iter().take(place);
        let other = others.find(|other| {
            other.leg != peer.leg
                && other.transport == peer.transport
                && (other.sources.overlaps(&peer.sources)
                    || other.is_at(peer.address.ip())
                    || peer.is_at(other.address.ip()))
        });
        if let Some(other) = other {
            let problem = format!(
                "{name}: found addresses that are {}'s too, who is on the other side; expected each address on one side, for it tells who keys the card",
                other.name.as_str()
            );
            return Err(("sip.peer.sources", problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [[listen]]
        transport = "udp"
        address = "192.0.2.10:5060"
        [[peer]]
        name = "carrier"
        side = "trunk"
        address = "198.51.100.7:5060"
        sources = ["198.51.100.0/24"]
        calls_go_to = "pbx"
        [[peer]]
        name = "pbx"
        side = "pbx"
        address = "10.0.5.20:5060"
        calls_go_to = "carrier"
    "#;

    fn settings(text: &str) -> Result<Option<SipSettings>, (&'static str, String)> {
        toml::from_str::<Sip>(text).unwrap().settings()
    }

    #[test]
    fn a_trunk_and_a_pbx_are_two_sides() {
        let settings = settings(GOOD).unwrap().unwrap();
        assert_eq!(settings.peers[0].leg, Leg::Caller);
        assert_eq!(
            (settings.peers[1].leg, settings.peers[1].to),
            (Leg::Agent, 0)
        );
        assert_eq!(super::Sip::default().settings().unwrap().map(|_| ()), None);
    }

    #[test]
    fn a_field_that_starts_payments_has_a_name_of_its_own_and_never_passes() {
        let with = |name: &str, passed: &str| {
            let passing = format!("calls_go_to = \"pbx\"\n        pass_headers = [\"{passed}\"]");
            let text = GOOD.replacen("calls_go_to = \"pbx\"", &passing, 1);
            let found = settings(&format!("payment_header = \"{name}\"\n{text}"));
            found.map(|found| found.and_then(|found| found.payment_header))
        };
        let good = with("X-Pay", "X-Account");
        assert_eq!(good.ok().flatten().as_deref(), Some("X-Pay"));
        for (name, passed, key) in [
            ("Via", "X-Account", "sip.payment_header"),
            ("Tonewall-Result", "X-Account", "sip.payment_header"),
            ("X-Pay", "x-pay", "sip.peer.pass_headers"),
            ("X-Pay", "tonewall-result", "sip.peer.pass_headers"),
        ] {
            let found = with(name, passed).map_err(|(key, _)| key);
            assert_eq!(found.err(), Some(key), "{name} {passed}");
        }
    }

    #[test]
    fn what_could_be_taken_two_ways_is_refused_by_its_key() {
        let more = "[[listen]]\ntransport = \"udp\"\naddress = \"192.0.2.11:5060\"\n";
        for (found, instead, key) in [
            ("\"198.51.100.0/24\"", "\"10.0.0.0/8\"", "sip.peer.sources"),
            ("198.51.100.7:5060", "10.0.5.20:5070", "sip.peer.sources"),
            ("10.0.5.20", "198.51.100.9", "sip.peer.sources"),
            ("10.0.5.20:5060", "192.0.2.10:5060", "sip.peer.address"),
            ("\"198.51.100.0/24\"", "\"here\"", "sip.peer.sources"),
            (
                "= \"pbx\"\n        address",
                "= \"trunk\"\n        address",
                "sip.peer.calls_go_to",
            ),
            ("name = \"pbx\"", "name = \"carrier\"", "sip.peer.name"),
            (
                "name = \"pbx\"",
                "name = \"pbx\"\n        redirects = 11",
                "sip.peer.redirects",
            ),
            ("192.0.2.10:5060", "0.0.0.0:5060", "sip.listen.advertise"),
            ("[[peer]]", more, "sip.listen"),
            (
                "calls_go_to = \"pbx\"",
                "calls_go_to = \"pbx\"\nusername = \"x\"",
                "sip.peer.password_file",
            ),
        ] {
            let text = match key {
                "sip.listen" => format!("{more}{GOOD}"),
                _ => GOOD.replacen(found, instead, 1),
            };
            assert_eq!(
                settings(&text).map_err(|(key, _)| key).err(),
                Some(key),
                "{text}"
            );
        }
        let files =
            "certificate = \"/no/c.pem\"\nkey = \"/no/k.pem\"\nauthorities = \"/no/a.pem\"\n";
        let some = "key = \"/no/k.pem\"\n";
        for (transport, files, told) in [
            ("tls", files, true),
            ("tls", some, false),
            ("tls", "", false),
            ("tcp", files, false),
        ] {
            let listen = format!(
                "[[listen]]\ntransport = \"{transport}\"\naddress = \"192.0.2.10:5061\"\n{files}"
            );
            let (key, problem) = settings(&format!("{listen}{GOOD}")).unwrap_err();
            assert_eq!(key, "sip.listen.certificate", "{listen}");
            assert_eq!(problem.contains("/no/c.pem"), told, "{problem}");
        }
        assert_eq!(
            settings("session_expires = \"89s\"\n".to_owned().as_str()).err(),
            None
        );
        let text = format!("session_expires = \"89s\"\n{GOOD}");
        assert_eq!(
            settings(&text).map_err(|(key, _)| key).err(),
            Some("sip.session_expires")
        );
        let peers = &GOOD[GOOD.find("[[peer]]").unwrap()..];
        assert_eq!(
            settings(peers).map_err(|(key, _)| key).err(),
            Some("sip.listen")
        );
    }
}
