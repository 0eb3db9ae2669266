//! The configuration file: TOML, parsed into final types, so that a gateway that starts is proof
//! that its configuration is valid.

mod callbacks;
mod check;
mod limits;
mod links;
mod meaning;
mod operations;
mod processor;
mod sip;
mod values;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use thiserror::Error;

pub use callbacks::{CallbackEndpoint, Callbacks};
pub use limits::Limits;
pub use links::Links;
pub use operations::{Operations, RefundLimits};
pub use processor::{Processor, ProcessorKind};
pub use sip::{Sip, SipListen, SipPeer, SipSide};
pub use values::{Span, Url};

use crate::proto::{
    call::{KeyCode, SourcePolicy},
    capture::CaptureSettings,
    card::Brand,
    id::{Node, Tenant},
    mask::Masking,
    ng::CallerSide,
    shadow::{PublishRules, TrunkName},
};
use crate::{listen::TlsFiles, media::ports::SocketOptions, signal::ShadowScope};

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}; name the configuration file with --config")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not the TOML that is expected; the message names the line and the key.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What the parser found, with the line.
        message: String,
    },
    /// A value that cannot work together with another.
    #[error("{path}: {key}: {problem}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What was found, what was expected and what to do.
        problem: String,
    },
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose calls these are, unless signalling says otherwise.
    #[serde(default = "default_tenant")]
    pub tenant: Tenant,
    /// This gateway's name in a fleet; part of every id.
    #[serde(default = "default_node")]
    pub node: Node,
    /// Journal, compliance log and the sandbox's certificate live here.
    pub data_dir: PathBuf,
    /// How long running calls may go on after SIGTERM.
    #[serde(default = "default_drain")]
    pub drain_timeout: Span,
    /// The HTTP API and the agent's panel.
    #[serde(default)]
    pub api: Api,
    /// Prometheus metrics, on a listener of their own.
    #[serde(default)]
    pub metrics: Metrics,
    /// The NG control protocol.
    #[serde(default)]
    pub ng: Ng,
    /// SIP in line.
    #[serde(default)]
    pub sip: Sip,
    /// Media ports.
    #[serde(default)]
    pub media: Media,
    /// How strictly armed calls are masked, and with what.
    #[serde(default)]
    pub masking: Masking,
    /// Keys and time-outs of a capture.
    #[serde(default)]
    pub capture: Capture,
    /// Who charges the cards.
    #[serde(default)]
    pub processor: Processor,
    /// Secret memory.
    #[serde(default)]
    pub secrets: Secrets,
    /// Shadow mode.
    #[serde(default)]
    pub shadow: Shadow,
    /// How an agent's desktop finds its call.
    #[serde(default)]
    pub links: Links,
    /// What starts a payment besides the API.
    #[serde(default)]
    pub triggers: Triggers,
    /// Who is told what became of payments.
    #[serde(default)]
    pub callbacks: Callbacks,
    /// Who may settle, void and refund.
    #[serde(default)]
    pub operations: Operations,
    /// How often cards may be tried.
    #[serde(default)]
    pub limits: Limits,
}

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Where to listen. Anything but a loopback address needs a certificate.
    pub listen: SocketAddr,
    /// Where browsers find it, where that is not `listen`: by a name, or behind a proxy.
    pub url: Option<Url>,
    /// PEM file with the certificate chain.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub tls_key: Option<PathBuf>,
}

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// `[ng]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ng {
    /// Where the UDP server listens.
    pub udp: SocketAddr,
    /// Where the TCP server listens, if anywhere.
    pub tcp: Option<SocketAddr>,
    /// Where `POST /ng`, `POST /ng-plain` and WebSocket listen, if anywhere.
    pub http: Option<SocketAddr>,
    /// Where the same listen with TLS, for clients with a certificate.
    pub https: Option<SocketAddr>,
    /// PEM file with the certificate chain of `https`.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub tls_key: Option<PathBuf>,
    /// PEM file with the authorities that the clients' certificates come from.
    pub client_ca: Option<PathBuf>,
    /// Addresses that may control calls; loopback only where empty. The protocol has no
    /// authentication of its own.
    pub allow: Vec<IpAddr>,
    /// Whether NG clients may begin payments.
    pub payments: bool,
    /// Most calls at a time.
    pub max_calls: usize,
    /// A call without a packet for this long is ended.
    pub idle_timeout: Span,
    /// Which codecs the ends may agree on.
    pub codecs: Codecs,
}

/// Which codecs the ends of a call may agree on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codecs {
    /// Those that can be masked, where an end offers any.
    #[default]
    Maskable,
    /// All: a call of any other codec is relayed and cannot be armed.
    All,
}

/// `[media]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Address that media sockets bind.
    pub address: IpAddr,
    /// Address written into SDP, where it differs (NAT).
    pub advertise: Option<IpAddr>,
    /// The network that the address stands in, as the NG key `direction` names it.
    pub name: String,
    /// Further addresses: of other networks, or of the other family in the same.
    pub interfaces: Vec<MediaInterface>,
    /// First port, even.
    pub port_min: u16,
    /// Last port.
    pub port_max: u16,
    /// A released pair of ports rests for this long.
    pub port_quarantine: Span,
    /// Worker threads; 0 means one a core, or one for each of `cpus`.
    pub workers: usize,
    /// The CPUs that they stay on, in turns; where there are none, wherever the system puts them.
    pub cpus: Vec<usize>,
    /// How long a busy worker may nap so that more packets wait for each wake-up. It does so only
    /// while it measures that this saves CPU.
    pub nap: Span,
    /// Differentiated services code point of the media that is sent, 0 to 63.
    pub dscp: u8,
    /// Bytes that may wait at a media socket in each direction; the system's own where it is not named.
    pub socket_buffer: Option<usize>,
    /// Measure how long packets wait before they are taken.
    pub measure_wait: bool,
    /// From where media is taken.
    pub source: SourcePolicy,
    /// Which side of the first offer keys the card.
    pub caller: CallerSide,
}

/// `[[media.interfaces]]`: ports and all else as of `[media]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaInterface {
    /// The network that it stands in.
    pub name: String,
    /// Address that media sockets bind.
    pub address: IpAddr,
    /// Address written into SDP, where it differs (NAT).
    #[serde(default)]
    pub advertise: Option<IpAddr>,
}

/// `[capture]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Brands that the merchant takes.
    pub accepted_brands: Vec<Brand>,
    /// Whether `#` ends a field.
    pub hash_ends: bool,
    /// Whether `*` clears a field.
    pub star_clears: bool,
    /// How long until the first key.
    pub first_digit_timeout: Span,
    /// How long between keys.
    pub inter_digit_timeout: Span,
    /// How long for a whole field.
    pub overall_timeout: Span,
    /// Tries a field.
    pub attempts: u8,
    /// Fewest digits of a postal code.
    pub min_postal_code_length: u8,
}

/// `[secrets]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// Refuse to start without `memfd_secret`.
    pub require_secret_memory: bool,
    /// Slots for card fields; three or four a payment that is being taken.
    pub slots: usize,
    /// Slots for requests to the processor; one a charge that is on its way.
    pub request_slots: usize,
}

/// `[shadow]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shadow {
    /// Listen to calls that are not armed and report what would be heard.
    pub enabled: bool,
    /// Only on these trunks; on all where empty.
    pub trunks: Vec<TrunkName>,
    /// Reports go on at the ends of periods of this length.
    pub period: Span,
    /// And with as many calls at least.
    pub least_calls: u64,
}

/// `[triggers]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Triggers {
    /// What an agent dials to start the payment that waits on the call.
    pub key_code: KeyCode,
    /// A file with a PIN of 4 to 8 digits on its first and only line: the code starts nothing without it
    /// then, `*77*PIN#`. It has to come as telephone-events of the audio's clock rate, or by SIP INFO: the
    /// caller would hear it otherwise.
    pub pin_file: Option<PathBuf>,
    /// The currency of an amount that is dialled with it: `*77*1999#` starts a payment of 19.99 then
    /// (`*77*1999*PIN#` with a PIN), prepared or not. Without one it starts nothing.
    pub currency: Option<String>,
}

impl Default for Triggers {
    fn default() -> Self {
        Self {
            key_code: "*77#".parse().expect("a constant code is one"),
            pin_file: None,
            currency: None,
        }
    }
}

fn default_tenant() -> Tenant {
    "default".parse().expect("a constant tenant name is valid")
}

fn default_node() -> Node {
    "node-1".parse().expect("a constant node name is valid")
}

const fn default_drain() -> Span {
    Span(Duration::from_secs(60))
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            url: None,
            tls_certificate: None,
            tls_key: None,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: loopback(9464),
        }
    }
}

impl Default for Ng {
    fn default() -> Self {
        Self {
            udp: loopback(2223),
            tcp: None,
            http: None,
            https: None,
            tls_certificate: None,
            tls_key: None,
            client_ca: None,
            allow: Vec::new(),
            payments: false,
            max_calls: 10_000,
            idle_timeout: Span(Duration::from_secs(600)),
            codecs: Codecs::default(),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: loopback(0).ip(),
            advertise: None,
            name: "default".to_owned(),
            interfaces: Vec::new(),
            port_min: 30_000,
            port_max: 39_999,
            port_quarantine: Span(Duration::from_secs(5)),
            workers: 0,
            cpus: Vec::new(),
            nap: Span(Duration::from_millis(1)),
            dscp: SocketOptions::default().dscp,
            socket_buffer: SocketOptions::default().buffer_bytes,
            measure_wait: true,
            source: SourcePolicy::Exact,
            caller: CallerSide::Unknown,
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            accepted_brands: vec![
                Brand::Visa,
                Brand::Mastercard,
                Brand::Amex,
                Brand::Discover,
                Brand::Jcb,
                Brand::Diners,
                Brand::Unionpay,
                Brand::Maestro,
            ],
            hash_ends: true,
            star_clears: true,
            first_digit_timeout: Span(Duration::from_secs(30)),
            inter_digit_timeout: Span(Duration::from_secs(8)),
            overall_timeout: Span(Duration::from_secs(180)),
            attempts: 3,
            min_postal_code_length: 4,
        }
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            require_secret_memory: false,
            slots: 256,
            request_slots: 16,
        }
    }
}

impl Default for Shadow {
    fn default() -> Self {
        Self {
            enabled: false,
            trunks: Vec::new(),
            period: Span(Duration::from_secs(3_600)),
            least_calls: 20,
        }
    }
}

impl Shadow {
    /// Which calls it listens to.
    #[must_use]
    pub fn scope(&self) -> ShadowScope {
        match (self.enabled, self.trunks.is_empty()) {
            (false, _) => ShadowScope::Off,
            (true, true) => ShadowScope::All,
            (true, false) => ShadowScope::Trunks(self.trunks.clone()),
        }
    }

    /// When reports go on.
    #[must_use]
    pub const fn rules(&self) -> PublishRules {
        PublishRules {
            period: self.period.0,
            least_calls: self.least_calls,
        }
    }
}

impl Capture {
    /// As the capture takes them.
    #[must_use]
    pub fn settings(&self) -> CaptureSettings {
        CaptureSettings {
            accepted_brands: self.accepted_brands.clone(),
            hash_ends: self.hash_ends,
            star_clears: self.star_clears,
            first_digit_timeout: self.first_digit_timeout.0,
            inter_digit_timeout: self.inter_digit_timeout.0,
            overall_timeout: self.overall_timeout.0,
            attempts: self.attempts,
            min_postal_code_length: self.min_postal_code_length,
        }
    }
}

impl Config {
    /// Reads, parses and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key and, for what does not parse, the line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read {
            path: path.to_owned(),
            cause,
        })?;
        Self::parse(&text, path)
    }

    /// Parses and checks the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        config
            .check()
            .map_err(|(key, problem)| ConfigError::Value {
                path: path.to_owned(),
                key,
                problem,
            })?;
        Ok(config)
    }

    /// Where the API and the panel are found: as configured, else where they listen.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.api.tls_certificate {
            Some(_) => "https",
            None => "http",
        };
        match &self.api.url {
            Some(url) => url.to_string(),
            None => format!("{scheme}://{}", self.api.listen),
        }
    }

    /// The certificates of the API, where it has TLS.
    #[must_use]
    pub fn api_tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.api.tls_certificate.clone()?,
            key: self.api.tls_key.clone()?,
            clients: None,
        })
    }

    /// The certificates of NG, where it has TLS; its clients never go without.
    #[must_use]
    pub fn ng_tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.ng.tls_certificate.clone()?,
            key: self.ng.tls_key.clone()?,
            clients: Some(self.ng.client_ca.clone()?),
        })
    }

    /// How many calls the media ports allow for.
    #[must_use]
    pub fn call_capacity(&self) -> usize {
        let ports = usize::from(self.media.port_max) + 1 - usize::from(self.media.port_min);
        (ports / 4).min(self.ng.max_calls)
    }

    /// Worker threads of the media plane.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.media.workers {
            0 if !self.media.cpus.is_empty() => self.media.cpus.len(),
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            named => named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mask::{Fill, Profile};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("tonewall.toml"))
    }

    #[test]
    fn one_key_is_enough() {
        let config = parse("data_dir = \"/var/lib/tonewall\"").unwrap();
        assert_eq!(config.call_capacity(), 2_500);
        assert!(config.to_string().contains("SANDBOX"));
    }

    #[test]
    fn masking_is_the_fast_profile_with_a_tone_unless_it_is_named() {
        let masking = |text: &str| {
            parse(&format!("data_dir = \"/d\"\n{text}"))
                .unwrap()
                .masking
        };
        assert_eq!(
            (masking("").profile, masking("").fill),
            (Profile::Fast, Fill::Tone)
        );
        let named = masking("[masking]\nprofile = \"continuous\"\nfill = \"noise\"");
        assert_eq!(
            (named.profile, named.fill),
            (Profile::Continuous, Fill::Noise)
        );
        let half = masking("[masking]\nprofile = \"strict\"");
        assert_eq!((half.profile, half.fill), (Profile::Strict, Fill::Tone));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("data_dir = \"/d\"\n[media]\nadress = \"127.0.0.1\"\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 3") && error.contains("adress"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        for (text, key) in [
            ("[api]\nlisten = \"0.0.0.0:443\"", "api.listen"),
            ("[api]\ntls_key = \"k.pem\"", "api.tls_key"),
            ("[api]\nlisten = \"127.0.0.1:9464\"", "metrics.listen"),
            ("[ng]\nhttp = \"127.0.0.1:8080\"", "ng.http"),
            ("[ng]\nmax_calls = 0", "ng.max_calls"),
            ("[ng]\nidle_timeout = \"0s\"", "ng.idle_timeout"),
            (
                "[capture]\noverall_timeout = \"0ms\"",
                "capture.overall_timeout",
            ),
            ("[ng]\nudp = \"10.0.0.1:2223\"", "ng.allow"),
            ("[media]\nport_min = 30001", "media.port_min"),
            ("[media]\nport_max = 30001", "media.port_max"),
            ("[media]\nnap = \"3ms\"", "media.nap"),
            ("[media]\ndscp = 64", "media.dscp"),
            ("[media]\nsocket_buffer = 100", "media.socket_buffer"),
            ("[media]\naddress = \"0.0.0.0\"", "media.advertise"),
            ("[masking]\nprofile = \"lax\"", "strictest"),
            ("[masking]\nfill = \"music\"", "noise"),
            ("[capture]\nattempts = 0", "capture.attempts"),
            ("[capture]\naccepted_brands = []", "capture.accepted_brands"),
            ("[processor]\ndigest_key = \"abc\"", "processor.digest_key"),
            ("[shadow]\nleast_calls = 4", "shadow.least_calls"),
            ("[shadow]\nperiod = \"999ms\"", "shadow.period"),
            ("[shadow]\ntrunks = [\"4242424242424242\"]", "trunks"),
        ] {
            let text = format!("data_dir = \"/d\"\n{text}\n");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
