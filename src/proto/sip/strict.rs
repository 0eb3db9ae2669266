//! What of a first line and of addresses two readers could understand differently.

/// Whether it can stand in a first line: a SIP URI has no header there (RFC 3261 section 19.1.1), and
/// an IPv6 address in it has brackets.
pub(super) fn is_request_uri(uri: &str) -> bool {
    if uri.is_empty() || uri.contains(['<', '>', '"', '\t']) {
        return false;
    }
    let Some((scheme, rest)) = uri.split_once(':') else {
        return false;
    };
    if !["sip", "sips"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
    {
        return true;
    }
    let place = rest.rsplit('@').next().unwrap_or(rest);
    let host = place.split(';').next().unwrap_or(place);
    let colons = host.bytes().filter(|byte| *byte == b':').count();
    !place.contains('?') && !host.is_empty() && (host.starts_with('[') || colons < 2)
}

/// Whether each quoted string comes to its end.
pub(super) fn quotes_end(value: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in value.bytes() {
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && !escaped && byte == b'\\';
    }
    !quoted
}

/// Whether a `Via` names its hops, and each with parameters that are some.
pub(super) fn names_hops(value: &str) -> bool {
    let mut quoted = false;
    let mut hops = value.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    hops.all(|hop| {
        let mut parts = hop.split(';').map(str::trim);
        let named = parts
            .next()
            .and_then(|sent| sent.get(..3))
            .is_some_and(|name| name.eq_ignore_ascii_case("SIP"));
        named && parts.all(|parameter| !parameter.is_empty())
    })
}

/// The tag of `From` or `To`: a parameter behind the address, not one of it, nor of the name before
/// it (RFC 3261 section 20).
pub(super) fn tag(value: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let bracket = value.bytes().position(|byte| {
        let before = (quoted, escaped);
        escaped = quoted && !escaped && byte == b'\\';
        quoted ^= byte == b'"' && !before.1;
        byte == b'<' && !before.0
    });
    let behind = match bracket {
        Some(place) => value.get(place..)?.split_once('>')?.1,
        None => value.split_once(';')?.1,
    };
    behind.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("tag")
            .then(|| value.trim())
            .filter(|value| !value.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_names_where_it_goes_in_one_way_only() {
        for (uri, expected) in [
            ("sip:1@192.0.2.1", true),
            ("sip:a?b;c/d@example.com:5060;x", true),
            ("SIPS:[2001:db8::1]:5061", true),
            ("tel:+4930", true),
            ("sip:1@192.0.2.1?Route=x", false),
            ("sip:2001:db8::1", false),
            ("sip:", false),
            ("sip:a@", false),
            ("example.com", false),
            ("<sip:1@192.0.2.1>", false),
        ] {
            assert_eq!(is_request_uri(uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_via_names_hops_and_nothing_in_between() {
        for (via, expected) in [
            ("SIP/2.0/UDP a;branch=x, sip / 2.0 / TCP b;x=\"a,b\"", true),
            ("SIP/2.0/UDP a;;branch=x", false),
            ("SIP/2.0/UDP a;branch=x,,SIP/2.0/UDP b", false),
            ("SIP/2.0/UDP a;", false),
            ("", false),
        ] {
            assert_eq!(names_hops(via), expected, "{via}");
        }
        assert!(quotes_end("\"a\\\"b\" <x>") && !quotes_end("\"a\\\" <x>"));
    }

    #[test]
    fn a_tag_stands_behind_the_address_and_nowhere_else() {
        for (value, expected) in [
            ("<sip:a@b>;tag=1", Some("1")),
            ("sip:a@b;x=y; TAG = 1 ;z", Some("1")),
            ("\"x;tag=2\" <sip:a@b;tag=3>;x;tag=1", Some("1")),
            ("\"\\\" <;tag=2>\" <sip:a@b>;tag=1", Some("1")),
            ("<sip:a@b;tag=3>", None),
            ("\"<x>;tag=2\" <sip:a@b>", None),
            ("<sip:a@b>;tag=", None),
            ("<sip:a@b", None),
        ] {
            assert_eq!(tag(value), expected, "{value}");
        }
    }
}
