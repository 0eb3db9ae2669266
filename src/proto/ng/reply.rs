//! Replies, and the error strings that clients match on.

use super::value::{Dict, Encoding, Value, encode};

/// Error strings that clients know. On the first two Kamailio and OpenSIPS try another node.
pub mod reason {
    /// No more calls fit, or none are wanted.
    pub const SESSION_LIMIT: &str = "Parallel session limit reached";
    /// No ports are free.
    pub const OUT_OF_PORTS: &str = "Ran out of ports";
    /// `answer` and `query` of a call that is not there.
    pub const UNKNOWN_CALL: &str = "Unknown call-id";
    /// `block DTMF` and `unblock DTMF` of a call that is not there.
    pub const UNKNOWN_CALL_BLOCK: &str = "Unknown call-ID";
    /// A warning, or with the flag `fatal` an error, to `delete`.
    pub const NOT_DELETED: &str = "Call-ID not found or tags didn't match";
    /// Neither bencode nor JSON.
    pub const INVALID_FORMAT: &str = "Invalid NG data format";
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(Dict);

impl Reply {
    /// `result: ok`.
    #[must_use]
    pub fn ok() -> Self {
        Self(Dict::new().with("result", "ok"))
    }

    /// `result: pong`.
    #[must_use]
    pub fn pong() -> Self {
        Self(Dict::new().with("result", "pong"))
    }

    /// `result: ok` after this body.
    #[must_use]
    pub fn ok_with(body: Dict) -> Self {
        Self(body.with("result", "ok"))
    }

    /// `result: error` with its reason.
    #[must_use]
    pub fn error(reason: impl Into<String>) -> Self {
        Self(
            Dict::new()
                .with("result", "error")
                .with("error-reason", reason.into()),
        )
    }

    /// This node takes no more calls: `load limit` where the client knows it, so that it tries the
    /// next node without counting this one as broken; else the error that every client knows.
    #[must_use]
    pub fn load_limit(supported: bool, message: impl Into<String>) -> Self {
        if supported {
            Self(
                Dict::new()
                    .with("result", "load limit")
                    .with("message", message.into()),
            )
        } else {
            Self::error(reason::SESSION_LIMIT)
        }
    }

    /// The same with one more key. Clients ignore those that they do not know.
    #[must_use]
    pub fn with(self, key: &'static str, value: impl Into<Value>) -> Self {
        Self(self.0.with(key, value))
    }

    /// The same with a warning.
    #[must_use]
    pub fn warning(self, text: impl Into<String>) -> Self {
        self.with("warning", text.into())
    }

    /// The dictionary.
    #[must_use]
    pub const fn dict(&self) -> &Dict {
        &self.0
    }

    /// The reply's bytes, without a cookie.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        encode(&self.0, encoding)
    }
}
