//! The lines of a description in their order, so that what nobody asked to change leaves as it came:
//! proxies and ends compare descriptions byte by byte.

use super::{SdpError, describe::MAX_MEDIA};

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    /// The letter before `=`.
    pub(super) kind: u8,
    /// What follows it.
    pub(super) value: String,
}

impl Line {
    /// Name and value of an attribute (`a=NAME` or `a=NAME:VALUE`).
    pub(super) fn attribute(&self) -> Option<(&str, Option<&str>)> {
        (self.kind == b'a').then(|| match self.value.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value)),
            None => (self.value.trim(), None),
        })
    }
}

/// A media line and what belongs to it.
#[derive(Debug, Clone, Hash)]
pub(super) struct Media {
    /// `audio`, `video`, ...
    pub(super) kind: String,
    pub(super) port: u16,
    /// `RTP/AVP`, ...
    pub(super) transport: String,
    /// Payload types or what else the transport speaks of; may be empty.
    pub(super) formats: Vec<String>,
    /// What follows the port, as it came.
    pub(super) tail: String,
    /// What follows the media line.
    pub(super) lines: Vec<Line>,
}

impl Media {
    pub(super) fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// Its own `c=`.
    pub(super) fn connection(&self) -> Option<&str> {
        connection_of(&self.lines)
    }
}

/// The first `c=` of a section.
pub(super) fn connection_of(lines: &[Line]) -> Option<&str> {
    lines
        .iter()
        .find(|line| line.kind == b'c')
        .map(|line| line.value.as_str())
}

/// The value of the first attribute of this name, empty where it has none.
pub(super) fn value_of<'a>(lines: &'a [Line], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| {
        let (found, value) = line.attribute()?;
        found
            .eq_ignore_ascii_case(name)
            .then(|| value.unwrap_or_default())
    })
}

/// A whole description.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// What stands before the first media line, from `v=0` on.
    pub(super) lines: Vec<Line>,
    pub(super) medias: Vec<Media>,
}

impl Session {
    pub(super) fn parse(text: &str) -> Result<Self, SdpError> {
        let mut session = Self {
            lines: Vec::new(),
            medias: Vec::new(),
        };
        let media_lines = || text.lines().filter(|line| line.starts_with("m="));
        if media_lines().nth(MAX_MEDIA).is_some() {
            return Err(SdpError::TooManyMedia(media_lines().count()));
        }
        for (number, line) in text.split('\n').enumerate() {
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                continue;
            }
            let line = parse_line(line, number + 1)?;
            match (line.kind, session.medias.last_mut()) {
                (b'v', _) if !session.lines.is_empty() => {
                    return Err(syntax(number + 1, "begins a second description"));
                }
                (b'm', _) => session.medias.push(parse_media(&line.value, number + 1)?),
                (_, Some(media)) => media.lines.push(line),
                (_, None) => session.lines.push(line),
            }
        }
        session.check()
    }

    fn check(self) -> Result<Self, SdpError> {
        let version = self.lines.first().filter(|line| line.kind == b'v');
        if version.is_none_or(|line| line.value.trim() != "0") {
            return Err(SdpError::Syntax(
                "line 1 is no version; expected v=0".to_owned(),
            ));
        }
        let origin = self.lines.iter().find(|line| line.kind == b'o');
        if origin.is_none_or(|line| Origin::parse(&line.value).is_none()) {
            let problem = "no o= line with user, id, version, network and address";
            return Err(SdpError::Syntax(problem.to_owned()));
        }
        Ok(self)
    }
}

fn syntax(number: usize, problem: &str) -> SdpError {
    SdpError::Syntax(format!("line {number} {problem}"))
}

fn parse_line(line: &str, number: usize) -> Result<Line, SdpError> {
    let (kind, value) = match line.as_bytes() {
        [kind @ b'a'..=b'z', b'=', ..] => (*kind, &line[2..]),
        _ => return Err(syntax(number, "is not a letter, '=' and a value")),
    };
    if value
        .chars()
        .any(|letter| letter.is_control() && letter != '\t')
    {
        return Err(syntax(number, "holds a control character"));
    }
    Ok(Line {
        kind,
        value: value.to_owned(),
    })
}

fn parse_media(value: &str, number: usize) -> Result<Media, SdpError> {
    let wrong = || {
        syntax(
            number,
            "is no media line; expected m=KIND PORT TRANSPORT ...",
        )
    };
    let (kind, rest) = value.split_once(' ').ok_or_else(wrong)?;
    let (port, tail) = rest.split_once(' ').ok_or_else(wrong)?;
    // The number of ports is not kept: one pair is relayed.
    let port = port.split_once('/').map_or(port, |(port, _)| port);
    let mut words = tail.split_whitespace();
    Ok(Media {
        kind: kind.to_owned(),
        port: port.parse().map_err(|_| wrong())?,
        transport: words.next().ok_or_else(wrong)?.to_owned(),
        formats: words.map(str::to_owned).collect(),
        tail: tail.to_owned(),
        lines: Vec::new(),
    })
}

/// The parts of an `o=` line (RFC 8866 section 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who made the session.
    pub user: String,
    /// Its number.
    pub id: String,
    /// Grows with each change, in 18 digits at most: some ends send more than 64 bits hold.
    pub version: u64,
    /// Network type, address type and address.
    pub(super) place: String,
}

impl Origin {
    /// Reads what is found in the field: user names with spaces, none at all, absurd versions.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let words: Vec<&str> = value.split_whitespace().collect();
        let [user @ .., id, version, network, family, address] = words.as_slice() else {
            return None;
        };
        let user = if user.is_empty() {
            "-".to_owned()
        } else {
            user.join("_")
        };
        Some(Self {
            user,
            id: (*id).to_owned(),
            version: sane_version(version),
            place: format!("{network} {family} {address}"),
        })
    }
}

/// The last 18 digits, in which a version that grows by one still grows by one.
fn sane_version(version: &str) -> u64 {
    if let Ok(version) = version.parse() {
        return version;
    }
    let digits: Vec<char> = version.chars().filter(char::is_ascii_digit).collect();
    let last = digits.len().saturating_sub(18);
    let text: String = digits[last..].iter().collect();
    text.parse().unwrap_or(1)
}
