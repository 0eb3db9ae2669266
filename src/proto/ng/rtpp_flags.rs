//! The string `rtpp-flags`, in which newer Kamailio hands on its script's words unparsed:
//! `trust-address replace=[origin session-connection] codec=[strip=[opus]]`.

use super::value::{Dict, MAX_DEPTH, Value};

/// Reads the string: `key=value` become entries, bare words the list `flags`.
pub(super) fn parse(text: &str) -> Dict {
    let mut words = Words { rest: text };
    words.group(1)
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// Entries up to `]` or the end; a group without `key=value` is the list `flags` alone.
    fn group(&mut self, depth: usize) -> Dict {
        let mut dict = Dict::new();
        let mut bare = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                break;
            }
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                break;
            }
            let word = self.until(&[' ', '\t', '=', ']']).to_owned();
            let Some(rest) = self.rest.strip_prefix('=') else {
                // A `[` in an odd place is part of its word, so every round consumes something.
                bare.push(Value::Text(word));
                continue;
            };
            self.rest = rest;
            let value = match self.rest.strip_prefix('[') {
                Some(rest) if depth < MAX_DEPTH => {
                    self.rest = rest;
                    listed(self.group(depth + 1))
                }
                Some(_) | None => Value::Text(self.until(&[' ', '\t', ']']).to_owned()),
            };
            dict.push(word, value);
        }
        if !bare.is_empty() {
            dict.push("flags", bare);
        }
        dict
    }

    fn until(&mut self, ends: &[char]) -> &str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

/// A group of bare words is a list; any other is a dictionary.
fn listed(group: Dict) -> Value {
    if group.iter().all(|(key, _)| key == "flags") {
        let words = group.get("flags").map(Value::to_words).unwrap_or_default();
        Value::List(words.into_iter().map(Value::Text).collect())
    } else {
        Value::Dict(group)
    }
}
