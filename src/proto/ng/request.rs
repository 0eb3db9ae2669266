//! What a client asks for, parsed once.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::proto::{
    encoding::CodecFilter,
    party::{AgentAddress, AgentAddressError, CallReference, CallReferenceError},
    shadow::{TrunkName, TrunkNameError},
};

use super::{
    payment::{self, PaymentRequest},
    reply::Reply,
    rtpp_flags,
    value::{Dict, Value, canonical},
};

/// Which end of a call's first offer is the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerSide {
    /// Who called: an inbound call centre.
    Offerer,
    /// Who was called: an outbound campaign.
    Answerer,
    /// Not known: either.
    Unknown,
}

/// What `rtcp-mux` asks for beyond handing on what the ends say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MuxPolicy {
    /// Offer it even where the other end did not.
    pub offer: bool,
    /// Do not offer it even where the other end did.
    pub demux: bool,
    /// Do not accept it from the end that sent this SDP.
    pub reject: bool,
    /// Accept it from the end that sent this SDP whatever the other end says.
    pub accept: bool,
}

/// How an SDP is to be rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SdpOptions {
    /// `replace: origin`: the address in `o=` becomes ours.
    pub replace_origin: bool,
    /// `replace: session-connection`: the session's `c=` becomes ours even where the media has one.
    pub replace_session_connection: bool,
    /// `replace: zero-address`: a held `c=0.0.0.0` becomes ours too.
    pub replace_zero_address: bool,
    /// `replace: username`: the user in `o=` stays that of the end's first description.
    pub replace_user: bool,
    /// `replace: session-name`: as the user.
    pub replace_session_name: bool,
    /// `replace: SDP-version`: the version in `o=` grows by one when what we say has changed.
    pub replace_version: bool,
    /// `no-rtcp-attribute`: leave `a=rtcp` out.
    pub no_rtcp_attribute: bool,
    /// `codec`.
    pub codecs: CodecFilter,
    /// `rtcp-mux`.
    pub mux: MuxPolicy,
    /// `transport-protocol`, upper case.
    pub transport: Option<String>,
    /// With `SIP-source-address`, from where the SIP message came: it overrides the SDP's address.
    pub source_address: Option<IpAddr>,
    /// `media-address`: to be said in place of our own.
    pub media_address: Option<IpAddr>,
    /// `address-family`: whether the end that will read this is to be met over IPv4, or IPv6.
    pub ipv4: Option<bool>,
    /// `direction`: the networks of the end that sent this, and of the other.
    pub networks: Option<(String, String)>,
    /// `strict-source` or `asymmetric`: take media from where the SDP says and nowhere else, whatever
    /// the configuration allows.
    pub strict_source: bool,
    /// `loop-protect`: a description that leads here already stays as it is.
    pub loop_protect: bool,
}

/// `offer` and `answer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferRequest {
    /// SIP Call-ID.
    pub call_id: String,
    /// Tag of whoever made the offer, in an answer too.
    pub from_tag: String,
    /// Tag of whoever answers; always there in an answer.
    pub to_tag: Option<String>,
    /// Branch of the INVITE.
    pub via_branch: Option<String>,
    /// A name for the leg.
    pub label: Option<String>,
    /// The session description.
    pub sdp: String,
    /// What to do to it.
    pub options: SdpOptions,
    /// `tonewall-caller`.
    pub caller: Option<CallerSide>,
    /// `block-DTMF`: as if `block DTMF` followed at once.
    pub block_dtmf: bool,
    /// `tonewall-trunk`: the trunk that the call came by, for reports. One that is none is no reason
    /// to refuse a call.
    pub trunk: Option<Result<TrunkName, TrunkNameError>>,
    /// `tonewall-agent`: the agent's own address. One that is none is no reason to refuse a call either.
    pub agent: Option<Result<AgentAddress, AgentAddressError>>,
    /// `tonewall-reference`: what another system calls the call. Nor is this.
    pub reference: Option<Result<CallReference, CallReferenceError>>,
    /// `received-from`: from where the SIP message came.
    pub received_from: Option<IpAddr>,
    /// Whether the client understands `load limit`.
    pub load_limit: bool,
    /// `tonewall-payment`, which is of no use here: the call is not up yet, or may not be.
    pub payment: bool,
}

/// `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// SIP Call-ID.
    pub call_id: String,
    /// If given, one of the call's tags.
    pub from_tag: Option<String>,
    /// `delete-delay`, in seconds: with 0 nothing is told of the call afterwards.
    pub delay: Option<u64>,
    /// If given, the tag of the other end: of one place that the call rang at, if it was forked.
    pub to_tag: Option<String>,
    /// Branch of the INVITE that has come to nothing, if the call was forked.
    pub via_branch: Option<String>,
    /// An unknown call is an error instead of a warning.
    pub fatal: bool,
}

/// `query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRequest {
    /// SIP Call-ID.
    pub call_id: String,
}

/// `list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListRequest {
    /// At most so many.
    pub limit: usize,
}

/// `block DTMF` and `unblock DTMF`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRequest {
    /// SIP Call-ID.
    pub call_id: String,
    /// The leg that is meant, with `directional`: its tag.
    pub from_tag: Option<String>,
    /// The leg that is meant: its label.
    pub label: Option<String>,
    /// The leg that is meant: the address of its media.
    pub address: Option<IpAddr>,
    /// Whether one leg is meant. Older clients send the tag without this flag and mean one leg,
    /// newer daemons ignore the tag then: the caller's leg is masked either way.
    pub directional: bool,
    /// `DTMF-security`: what is to be heard in place of keys.
    pub security: Option<Security>,
}

/// Words of `DTMF-security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Nothing is blocked.
    Off,
    /// Keys become something else. What, is the operator's choice here: the profile and fill of
    /// `[masking]`. Their words differ in how much of a key they let pass, and none passes here.
    On,
    /// Another word.
    Unknown,
}

/// `block media`, `silence media`, and what takes them back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRequest {
    /// SIP Call-ID.
    pub call_id: String,
    /// The leg whose media is meant: its tag. Both where none of these is given.
    pub from_tag: Option<String>,
    /// The leg that is meant: its label.
    pub label: Option<String>,
    /// The leg that is meant: the address of its media.
    pub address: Option<IpAddr>,
}

/// A command of this protocol that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// Which one.
    pub command: &'static str,
    /// The call that it speaks of.
    pub call_id: Option<String>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Are you there?
    Ping,
    /// An offer, first or later.
    Offer(OfferRequest),
    /// Its answer.
    Answer(OfferRequest),
    /// The call has ended.
    Delete(DeleteRequest),
    /// Statistics.
    Query(QueryRequest),
    /// The calls.
    List(ListRequest),
    /// Counts of the node.
    Statistics,
    /// Arm.
    BlockDtmf(BlockRequest),
    /// Release.
    UnblockDtmf(BlockRequest),
    /// Begin a payment, which arms.
    Payment(PaymentRequest),
    /// Keep a leg's media from the other end.
    BlockMedia(MediaRequest),
    /// Let it pass again.
    UnblockMedia(MediaRequest),
    /// Let the other end hear silence in place of a leg's media.
    SilenceMedia(MediaRequest),
    /// Let it hear the thing itself again.
    UnsilenceMedia(MediaRequest),
    /// Nothing that is done here.
    Refused(RefusedRequest),
}

/// Why a dictionary is no request. Never holds a value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No command.
    #[error("Dictionary contains no key \"command\"")]
    NoCommand,
    /// Not a command of this protocol.
    #[error("Unrecognized command")]
    Unrecognized,
    /// A command of this protocol that this gateway does not carry out.
    #[error(
        "Command \"{0}\" is not supported: this gateway relays and masks, and does nothing else"
    )]
    Unsupported(&'static str),
    /// No call-id.
    #[error("No call-id in message")]
    NoCallId,
    /// No from-tag.
    #[error("No from-tag in message")]
    NoFromTag,
    /// No to-tag in an answer.
    #[error("No to-tag in message")]
    NoToTag,
    /// No SDP.
    #[error("No SDP body in message")]
    NoSdp,
    /// A text that is longer than any client makes it.
    #[error("The value of \"{key}\" has {length} bytes; expected at most {MAX_ID_BYTES}")]
    TooLong {
        /// Which key.
        key: &'static str,
        /// How long it is.
        length: usize,
    },
    /// `tonewall-caller` with another word.
    #[error("tonewall-caller is none of \"offerer\", \"answerer\" and \"unknown\"")]
    CallerSide,
}

impl From<RequestError> for Reply {
    fn from(error: RequestError) -> Self {
        Self::error(error.to_string())
    }
}

/// Longest Call-ID, tag, branch and label: they are kept per call.
const MAX_ID_BYTES: usize = 512;
/// How many calls `list` names unless told.
const DEFAULT_LIST: usize = 32;
/// Most calls that `list` names, so that its reply fits a datagram.
const MAX_LIST: usize = 500;

/// Commands of rtpengine's protocol that would play, record, fork or inject media.
const UNSUPPORTED: [&str; 20] = [
    "start recording",
    "stop recording",
    "pause recording",
    "start forwarding",
    "stop forwarding",
    "play media",
    "stop media",
    "play DTMF",
    "publish",
    "subscribe request",
    "subscribe answer",
    "unsubscribe",
    "inject start",
    "inject stop",
    "connect",
    "transform",
    "create",
    "create answer",
    "mesh",
    "cli",
];

impl Request {
    /// Reads a request. Unknown keys and flags are ignored.
    pub fn parse(message: &Dict) -> Result<Self, RequestError> {
        let command = message.text("command").ok_or(RequestError::NoCommand)?;
        let keys = Keys::new(message);
        match canonical(&command).as_str() {
            "ping" => Ok(Self::Ping),
            "offer" => keys.offer().map(Self::Offer),
            "answer" => match keys.offer()? {
                OfferRequest { to_tag: None, .. } => Err(RequestError::NoToTag),
                answer => Ok(Self::Answer(answer)),
            },
            "delete" => Ok(Self::Delete(DeleteRequest {
                call_id: keys.call_id()?,
                from_tag: keys.id("from-tag")?,
                to_tag: keys.id("to-tag")?,
                via_branch: keys.id("via-branch")?,
                delay: keys
                    .get("delete-delay")
                    .and_then(Value::to_integer)
                    .and_then(|seconds| u64::try_from(seconds).ok()),
                fatal: keys.flag("fatal"),
            })),
            "query" => Ok(Self::Query(QueryRequest {
                call_id: keys.call_id()?,
            })),
            "list" => Ok(Self::List(ListRequest {
                limit: keys
                    .get("limit")
                    .and_then(Value::to_integer)
                    .and_then(|limit| usize::try_from(limit).ok())
                    .unwrap_or(DEFAULT_LIST)
                    .min(MAX_LIST),
            })),
            "statistics" => Ok(Self::Statistics),
            "block-dtmf" if keys.asks_for_payment() => Ok(Self::Payment(PaymentRequest {
                call_id: keys.call_id()?,
                order: payment::order(|key| keys.get(key)),
            })),
            "block-dtmf" => keys.block().map(Self::BlockDtmf),
            "unblock-dtmf" => keys.block().map(Self::UnblockDtmf),
            "block-media" => keys.media().map(Self::BlockMedia),
            "unblock-media" => keys.media().map(Self::UnblockMedia),
            "silence-media" => keys.media().map(Self::SilenceMedia),
            "unsilence-media" => keys.media().map(Self::UnsilenceMedia),
            other => {
                let known = UNSUPPORTED.iter().find(|name| canonical(name) == other);
                let command = known.ok_or(RequestError::Unrecognized)?;
                Ok(Self::Refused(RefusedRequest {
                    command,
                    call_id: keys.id("call-id")?,
                }))
            }
        }
    }

    /// The command's word, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Offer(_) => "offer",
            Self::Answer(_) => "answer",
            Self::Delete(_) => "delete",
            Self::Query(_) => "query",
            Self::List(_) => "list",
            Self::Statistics => "statistics",
            Self::BlockDtmf(_) => "block DTMF",
            Self::UnblockDtmf(_) => "unblock DTMF",
            Self::Payment(_) => "block DTMF for a payment",
            Self::BlockMedia(_) => "block media",
            Self::UnblockMedia(_) => "unblock media",
            Self::SilenceMedia(_) => "silence media",
            Self::UnsilenceMedia(_) => "unsilence media",
            Self::Refused(refused) => refused.command,
        }
    }
}

/// The message's keys, then those of its `rtpp-flags`.
struct Keys<'a> {
    message: &'a Dict,
    unparsed: Dict,
    flags: Vec<String>,
}

impl<'a> Keys<'a> {
    fn new(message: &'a Dict) -> Self {
        let unparsed = match message.text("rtpp-flags") {
            Some(text) => rtpp_flags::parse(&text),
            None => Dict::new(),
        };
        let mut flags = message.words("flags");
        flags.extend(unparsed.words("flags"));
        Self {
            message,
            unparsed,
            flags,
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.message.get(key).or_else(|| self.unparsed.get(key))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.to_text().filter(|text| !text.is_empty())
    }

    fn words(&self, key: &str) -> Vec<String> {
        let words = self.get(key).map(Value::to_words).unwrap_or_default();
        words.iter().map(|word| canonical(word)).collect()
    }

    fn flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|found| found == flag)
    }

    fn id(&self, key: &'static str) -> Result<Option<String>, RequestError> {
        match self.text(key) {
            Some(text) if text.len() > MAX_ID_BYTES => Err(RequestError::TooLong {
                key,
                length: text.len(),
            }),
            text => Ok(text),
        }
    }

    fn call_id(&self) -> Result<String, RequestError> {
        self.id("call-id")?.ok_or(RequestError::NoCallId)
    }

    fn asks_for_payment(&self) -> bool {
        self.get("tonewall-payment").is_some()
    }

    fn offer(&self) -> Result<OfferRequest, RequestError> {
        Ok(OfferRequest {
            call_id: self.call_id()?,
            from_tag: self.id("from-tag")?.ok_or(RequestError::NoFromTag)?,
            to_tag: self.id("to-tag")?,
            via_branch: self.id("via-branch")?,
            label: match self.id("set-label")? {
                Some(label) => Some(label),
                None => self.id("label")?,
            },
            sdp: self.text("sdp").ok_or(RequestError::NoSdp)?,
            options: self.sdp_options(),
            caller: self.caller()?,
            block_dtmf: self.flag("block-dtmf"),
            trunk: self.text("tonewall-trunk").map(|name| name.parse()),
            agent: self.text("tonewall-agent").map(|text| text.parse()),
            reference: self.text("tonewall-reference").map(|text| text.parse()),
            received_from: self.received_from(),
            payment: self.asks_for_payment(),
            load_limit: self
                .words("supports")
                .iter()
                .any(|word| word == "load-limit"),
        })
    }

    fn block(&self) -> Result<BlockRequest, RequestError> {
        // Off until the caller dials something: from the beginning, since more is masked and not less.
        let by_trigger = ["trigger", "dtmf-security-trigger"]
            .iter()
            .any(|key| self.get(key).is_some());
        Ok(BlockRequest {
            call_id: self.call_id()?,
            from_tag: self.id("from-tag")?,
            label: self.id("label")?,
            address: self.address(),
            directional: self.flag("directional"),
            security: self
                .text("dtmf-security")
                .map(|word| match canonical(&word).as_str() {
                    "off" if !by_trigger => Security::Off,
                    "off" | "drop" | "silence" | "tone" | "random" | "zero" | "dtmf" => {
                        Security::On
                    }
                    _ => Security::Unknown,
                }),
        })
    }

    fn media(&self) -> Result<MediaRequest, RequestError> {
        let all = self.flag("all");
        Ok(MediaRequest {
            call_id: self.call_id()?,
            from_tag: self.id("from-tag")?.filter(|_| !all),
            label: self.id("label")?.filter(|_| !all),
            address: self.address().filter(|_| !all),
        })
    }

    fn address(&self) -> Option<IpAddr> {
        self.text("address").and_then(|text| text.parse().ok())
    }

    fn sdp_options(&self) -> SdpOptions {
        let replace = self.words("replace");
        let replaces = |what: &str| {
            replace.iter().any(|word| word == what) || self.flag(&format!("replace-{what}"))
        };
        let mux = self.words("rtcp-mux");
        let muxes = |what: &str| {
            mux.iter().any(|word| word == what) || self.flag(&format!("rtcp-mux-{what}"))
        };
        SdpOptions {
            replace_origin: replaces("origin"),
            replace_session_connection: replaces("session-connection"),
            replace_zero_address: replaces("zero-address"),
            replace_user: replaces("username"),
            replace_session_name: replaces("session-name"),
            replace_version: replaces("sdp-version"),
            no_rtcp_attribute: self.flag("no-rtcp-attribute"),
            codecs: self.codecs(),
            mux: MuxPolicy {
                offer: muxes("offer") || muxes("require"),
                demux: muxes("demux"),
                reject: muxes("reject"),
                accept: muxes("accept"),
            },
            transport: self
                .text("transport-protocol")
                .map(|transport| transport.to_ascii_uppercase()),
            source_address: self
                .flag("sip-source-address")
                .then(|| self.received_from())
                .flatten(),
            media_address: self
                .text("media-address")
                .and_then(|text| text.parse().ok()),
            ipv4: match self
                .text("address-family")
                .as_deref()
                .map(canonical)
                .as_deref()
            {
                Some("ip4" | "ipv4" | "inet") => Some(true),
                Some("ip6" | "ipv6" | "inet6") => Some(false),
                Some(_) | None => None,
            },
            networks: self.networks(),
            strict_source: self.flag("strict-source") || self.flag("asymmetric"),
            loop_protect: self.flag("loop-protect"),
        }
    }

    /// `direction` is a list of two names, or the same key twice in a string of flags.
    fn networks(&self) -> Option<(String, String)> {
        let entries = self.message.iter().chain(self.unparsed.iter());
        let words: Vec<String> = entries
            .filter(|(key, _)| canonical(key) == "direction")
            .flat_map(|(_, value)| value.to_words())
            .collect();
        let [ours, other]: [String; 2] = words.try_into().ok()?;
        Some((ours, other))
    }

    /// `codec` and its flags. What would be transcoded (`mask`, `consume`) is kept from the other end
    /// likewise: the ends agree on what is left. `accept` and `transcode` would add to an answer what
    /// the other end does not speak, and are not heard.
    fn codecs(&self) -> CodecFilter {
        let named = |names: &[&str]| {
            let listed = names.iter().flat_map(|name| match self.get("codec") {
                Some(Value::Dict(codec)) => codec.words(name),
                Some(_) | None => Vec::new(),
            });
            let flags = names.iter().flat_map(|name| {
                let prefix = format!("codec-{name}-");
                let names = self.flags.iter();
                names
                    .filter_map(|flag| flag.strip_prefix(&prefix).map(str::to_owned))
                    .collect::<Vec<_>>()
            });
            listed.chain(flags).collect()
        };
        CodecFilter {
            strip: named(&["strip", "mask", "consume"]),
            except: named(&["except"]),
            order: named(&["offer"]),
        }
    }

    /// `received-from` is a list of family and address.
    fn received_from(&self) -> Option<IpAddr> {
        let words = self.get("received-from")?.to_words();
        words.iter().find_map(|word| word.parse().ok())
    }

    fn caller(&self) -> Result<Option<CallerSide>, RequestError> {
        let Some(word) = self.text("tonewall-caller") else {
            return Ok(None);
        };
        match canonical(&word).as_str() {
            "offerer" => Ok(Some(CallerSide::Offerer)),
            "answerer" => Ok(Some(CallerSide::Answerer)),
            "unknown" => Ok(Some(CallerSide::Unknown)),
            _ => Err(RequestError::CallerSide),
        }
    }
}
