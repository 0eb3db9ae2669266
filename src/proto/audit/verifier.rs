//! Reads a log from its beginning and says what is wrong where.

use serde_json::Value;

use super::{
    canonical::canonical,
    entry::{EntryHash, Line, NotALine},
};
use crate::proto::id::Tenant;

/// What is wrong at one place of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end within an entry.
    #[error("torn: the bytes end within entry {expected}")]
    Torn {
        /// The entry that was expected here.
        expected: u64,
    },
    /// The bytes do not have the form of an entry.
    #[error("changed: what stands where entry {expected} was expected is no entry")]
    Garbled {
        /// The entry that was expected here.
        expected: u64,
    },
    /// The entry does not have its hash.
    #[error("changed: entry {expected} has the hash {found}, its line says {claimed}")]
    Changed {
        /// The entry that was expected here.
        expected: u64,
        /// What its bytes hash to.
        found: EntryHash,
        /// What its line claims.
        claimed: EntryHash,
    },
    /// The entry has its hash, but is not the JSON that a log holds.
    #[error("changed: entry {expected} is not canonical JSON with a sequence and a previous hash")]
    NotAnEntry {
        /// The entry that was expected here.
        expected: u64,
    },
    /// Entries between are not there, or come later.
    #[error("missing or reordered: found entry {found} where {expected} was expected")]
    Missing {
        /// The entry that was expected here.
        expected: u64,
        /// The entry that stands here.
        found: u64,
    },
    /// The entry stands here again, or too late.
    #[error("repeated or reordered: found entry {found} where {expected} was expected")]
    Repeated {
        /// The entry that was expected here.
        expected: u64,
        /// The entry that stands here.
        found: u64,
    },
    /// The entry follows another one than that which stands before it.
    #[error("changed: entry {sequence} follows {found}, but the entry before it is {expected}")]
    Unlinked {
        /// The entry.
        sequence: u64,
        /// The hash before it.
        expected: EntryHash,
        /// The hash that it names.
        found: EntryHash,
    },
    /// The entry belongs to another log.
    #[error("foreign: entry {sequence} is of the log of {found}")]
    Foreign {
        /// The entry.
        sequence: u64,
        /// Whose it is.
        found: String,
    },
}

impl Fault {
    /// Whether a write that a crash interrupted can look so.
    #[must_use]
    pub const fn may_be_unfinished(&self) -> bool {
        match self {
            Self::Torn { .. } | Self::Garbled { .. } | Self::Changed { .. } => true,
            Self::NotAnEntry { .. }
            | Self::Missing { .. }
            | Self::Repeated { .. }
            | Self::Unlinked { .. }
            | Self::Foreign { .. } => false,
        }
    }
}

/// An entry that stands where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'a> {
    /// Its place.
    pub sequence: u64,
    /// Its hash.
    pub hash: EntryHash,
    /// Its canonical JSON.
    pub json: &'a [u8],
}

/// One step through a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes that the step covered.
    pub length: usize,
    /// What it found.
    pub found: Result<Verified<'a>, Fault>,
}

/// Follows one log entry by entry. After a fault it goes on with the next entry that it can make
/// out, so that one report tells all that is wrong.
///
/// It looks at sequence, links, hashes and form only, not at what an entry says: a log that a newer
/// build wrote verifies too.
#[derive(Debug)]
pub struct Verifier {
    tenant: Option<Tenant>,
    expected: u64,
    /// `None` after a fault that hid the entry before.
    previous: Option<EntryHash>,
}

impl Verifier {
    /// Begins at the first entry of a tenant's log, or of the node's (`None`).
    #[must_use]
    pub const fn new(tenant: Option<Tenant>) -> Self {
        Self {
            tenant,
            expected: 1,
            previous: Some(EntryHash::START),
        }
    }

    /// The number of the entry that has to come next.
    #[must_use]
    pub const fn expected(&self) -> u64 {
        self.expected
    }

    /// Takes the entry that `bytes` begin with; `None` at the end.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> Option<Step<'a>> {
        if bytes.is_empty() {
            return None;
        }
        let expected = self.expected;
        let line = match Line::read(bytes) {
            Ok(line) => line,
            Err(why) => {
                self.expected += 1;
                self.previous = None;
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let length = end.map_or(bytes.len(), |at| at + 1);
                let fault = match why {
                    NotALine::Torn => Fault::Torn { expected },
                    NotALine::Garbled => Fault::Garbled { expected },
                };
                return Some(Step {
                    length,
                    found: Err(fault),
                });
            }
        };
        Some(Step {
            length: line.length,
            found: self.check(&line),
        })
    }

    fn check<'a>(&mut self, line: &Line<'a>) -> Result<Verified<'a>, Fault> {
        let expected = self.expected;
        let found = EntryHash::of(line.json);
        if found != line.hash {
            self.expected += 1;
            self.previous = Some(line.hash);
            return Err(Fault::Changed {
                expected,
                found,
                claimed: line.hash,
            });
        }
        let Some((sequence, previous, tenant)) = links(line.json) else {
            self.expected += 1;
            self.previous = Some(line.hash);
            return Err(Fault::NotAnEntry { expected });
        };
        if sequence < expected {
            return Err(Fault::Repeated {
                expected,
                found: sequence,
            });
        }
        let before = self.previous.replace(line.hash);
        self.expected = sequence.saturating_add(1);
        if sequence > expected {
            return Err(Fault::Missing {
                expected,
                found: sequence,
            });
        }
        if let Some(before) = before
            && before != previous
        {
            return Err(Fault::Unlinked {
                sequence,
                expected: before,
                found: previous,
            });
        }
        if tenant.as_deref() != self.tenant.as_ref().map(Tenant::as_str) {
            return Err(Fault::Foreign {
                sequence,
                found: tenant.unwrap_or_else(|| "the node".to_owned()),
            });
        }
        Ok(Verified {
            sequence,
            hash: line.hash,
            json: line.json,
        })
    }
}

/// Sequence, previous hash and tenant of canonical JSON.
fn links(json: &[u8]) -> Option<(u64, EntryHash, Option<String>)> {
    let value: Value = serde_json::from_slice(json).ok()?;
    if canonical(&value).ok()? != json {
        return None;
    }
    let sequence = value.get("sequence")?.as_u64()?;
    let previous = value.get("previous")?.as_str()?.parse().ok()?;
    let tenant = match value.get("tenant")? {
        Value::Null => None,
        Value::String(tenant) => Some(tenant.clone()),
        _ => return None,
    };
    Some((sequence, previous, tenant))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::proto::audit::{Actor, Entry, Event, Record, Success};

    fn log(count: u64) -> Vec<Vec<u8>> {
        let mut previous = EntryHash::START;
        (1..=count)
            .map(|sequence| {
                let entry = Entry {
                    sequence,
                    previous,
                    time: Timestamp::from_microsecond(1_700_000_000_000_000).unwrap(),
                    tenant: Some("acme".parse().unwrap()),
                    node: "n1".parse().unwrap(),
                    boot: "boot".to_owned(),
                    build: "test".to_owned(),
                    configuration: "none".to_owned(),
                    requirement: Event::LogStarted.requirement().into(),
                    record: Record {
                        actor: Actor::Gateway,
                        origin: "gateway".to_owned(),
                        success: Success::Success,
                        event: Event::LogStarted,
                    },
                };
                let (line, hash) = entry.to_line().unwrap();
                previous = hash;
                line
            })
            .collect()
    }

    fn faults(lines: &[Vec<u8>]) -> Vec<Fault> {
        let bytes = lines.concat();
        let mut verifier = Verifier::new(Some("acme".parse().unwrap()));
        let (mut at, mut faults) = (0, Vec::new());
        while let Some(step) = verifier.take(&bytes[at..]) {
            at += step.length;
            faults.extend(step.found.err());
        }
        faults
    }

    #[test]
    fn an_intact_log_has_no_fault_and_reads_back() {
        let lines = log(5);
        assert_eq!(faults(&lines), []);
        let json = &lines[0][74..];
        let entry: Entry = serde_json::from_slice(json).unwrap();
        assert_eq!(entry.to_line().unwrap().0, lines[0]);
        let text = String::from_utf8(json.to_vec()).unwrap();
        assert!(
            text.contains(r#""time":"2023-11-14T22:13:20.000000Z""#),
            "{text}"
        );
        assert!(
            text.starts_with(r#"{"actor":{"kind":"gateway"},"boot":"#),
            "{text}"
        );
    }

    #[test]
    fn every_changed_bit_of_every_entry_is_found() {
        let lines = log(3);
        for (index, line) in lines.iter().enumerate() {
            for bit in 0..line.len() * 8 {
                let mut lines = lines.clone();
                lines[index][bit / 8] ^= 1 << (bit % 8);
                assert_ne!(faults(&lines), [], "entry {index}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_missing_a_repeated_and_a_moved_entry_are_named() {
        let lines = log(5);
        let pick = |order: &[usize]| {
            faults(
                &order
                    .iter()
                    .map(|at| lines[*at].clone())
                    .collect::<Vec<_>>(),
            )
        };
        let missing = Fault::Missing {
            expected: 2,
            found: 3,
        };
        assert_eq!(pick(&[0, 2, 3, 4]), std::slice::from_ref(&missing));
        assert_eq!(
            pick(&[0, 1, 1, 2]),
            [Fault::Repeated {
                expected: 3,
                found: 2
            }]
        );
        assert_eq!(
            pick(&[0, 2, 1, 3]),
            [
                missing,
                Fault::Repeated {
                    expected: 4,
                    found: 2
                }
            ]
        );
    }

    #[test]
    fn an_entry_rewritten_with_a_right_hash_breaks_the_link_after_it() {
        let mut lines = log(3);
        let json = String::from_utf8(lines[1][74..lines[1].len() - 1].to_vec()).unwrap();
        let json = json.replace("\"n1\"", "\"n2\"");
        let hash = EntryHash::of(json.as_bytes());
        lines[1] = format!("{:08x} {hash} {json}\n", json.len()).into_bytes();
        assert!(matches!(
            faults(&lines)[..],
            [Fault::Unlinked { sequence: 3, .. }]
        ));
    }

    #[test]
    fn a_cut_at_any_byte_within_an_entry_is_torn() {
        let lines = log(2);
        for cut in 1..lines[1].len() {
            let lines = [lines[0].clone(), lines[1][..cut].to_vec()];
            assert_eq!(faults(&lines), [Fault::Torn { expected: 2 }], "{cut}");
        }
    }

    #[test]
    fn an_entry_of_another_tenant_is_foreign() {
        let bytes = log(1).concat();
        let step = Verifier::new(None).take(&bytes).unwrap();
        assert!(matches!(step.found, Err(Fault::Foreign { .. })));
    }
}
