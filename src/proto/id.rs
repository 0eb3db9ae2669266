//! Identifiers. `tenant` and `node` are part of every one, so that ids made on different nodes
//! never collide and a row, a key or a log entry always says whose it is.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use ulid::Ulid;

/// Why a text is not an identifier.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// A tenant or node name that is empty, too long or holds other characters.
    #[error("found {0:?}; a {1} name is 1 to 32 characters of a-z, 0-9 and '-'")]
    Slug(String, &'static str),
    /// The text does not have the four parts of an identifier.
    #[error("found {found:?}; expected {prefix}_TENANT_NODE_ULID")]
    Shape {
        /// What was found, cut to 80 characters.
        found: String,
        /// The prefix that this kind of identifier carries.
        prefix: &'static str,
    },
}

macro_rules! slug {
    ($(#[$meta:meta])* $name:ident, $what:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        // Every id holds one, and ids are cloned everywhere.
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                if text.is_empty() || text.len() > 32 || !text.chars().all(allowed) {
                    return Err(IdError::Slug(text.chars().take(80).collect(), $what));
                }
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

slug!(
    /// Whose calls, payments and log these are.
    Tenant,
    "tenant"
);
slug!(
    /// Which gateway of a fleet made a thing.
    Node,
    "node"
);

slug!(
    /// A place that merchants are told at, by the name that the configuration gives it.
    EndpointName,
    "callback endpoint"
);

macro_rules! identifier {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            tenant: Tenant,
            node: Node,
            serial: Ulid,
        }

        impl $name {
            /// Builds one from its parts; `serial` holds the time of making and 80 random bits.
            #[must_use]
            pub const fn new(tenant: Tenant, node: Node, serial: Ulid) -> Self {
                Self { tenant, node, serial }
            }

            /// Whose it is.
            #[must_use]
            pub const fn tenant(&self) -> &Tenant {
                &self.tenant
            }

            /// Which node made it.
            #[must_use]
            pub const fn node(&self) -> &Node {
                &self.node
            }
        }

        impl Hash for $name {
            /// The serial alone, which hardly any two have in common: maps are keyed by ids everywhere.
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.serial.hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}_{}_{}"), self.tenant, self.node, self.serial)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let shape = || IdError::Shape {
                    found: text.chars().take(80).collect(),
                    prefix: $prefix,
                };
                let mut parts = text.split('_');
                let (Some($prefix), Some(tenant), Some(node), Some(serial), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    return Err(shape());
                };
                Ok(Self {
                    tenant: tenant.parse()?,
                    node: node.parse()?,
                    serial: Ulid::from_string(serial).map_err(|_| shape())?,
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

identifier!(
    /// One call through the gateway, from its first offer to its end.
    CallId,
    "call"
);
identifier!(
    /// One payment on a call: its captures and its attempts.
    PaymentId,
    "pay"
);
identifier!(
    /// One attempt to charge a payment; the processor sees it as our reference.
    AttemptId,
    "att"
);
identifier!(
    /// One settlement, void or refund of a charge; the processor sees it as our reference.
    OperationId,
    "op"
);
identifier!(
    /// One API key or panel link (never the secret itself).
    KeyId,
    "key"
);
identifier!(
    /// One desktop's claim that a call is its own.
    LinkId,
    "link"
);
identifier!(
    /// One message to a merchant; receivers know by it what they have had.
    MessageId,
    "msg"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_reads_back_as_it_was_written() {
        let id = PaymentId::new(
            "acme".parse().unwrap(),
            "node-1".parse().unwrap(),
            Ulid::from_parts(1_700_000_000_000, 7),
        );
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert!(id.to_string().parse::<CallId>().is_err());
    }

    #[test]
    fn a_tenant_name_cannot_break_out_of_an_identifier() {
        for bad in ["", "a_b", "A", "a b", "../etc", &"x".repeat(33)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad:?}");
        }
    }
}
