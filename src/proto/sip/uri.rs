//! URIs as they are read and written.

use rsipstack::sip::{Scheme, Uri, uri::Auth};

/// A URI with its user as it was before it was escaped. The stack escapes what it writes and does not
/// undo that in what it reads, and takes a user with a `;` (a number with its context, say) for a host.
#[must_use]
pub fn as_read(mut uri: Uri) -> Uri {
    if uri.auth.is_none() {
        let text = uri.to_string();
        let parts = text
            .split_once(':')
            .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
        if let Some((scheme, (user, place))) = parts
            && let Ok(found) = Uri::try_from(format!("{scheme}:{place}").as_str())
        {
            uri = found;
            uri.auth = Some(Auth::from(user));
        }
    }
    if let Some(auth) = &mut uri.auth {
        if let Some(user) = unescaped(&auth.user) {
            auth.user = user;
        }
        if let Some(password) = auth.password.as_deref().and_then(unescaped) {
            auth.password = Some(password);
        }
    }
    uri
}

/// Whom a URI names: its user, or the number of a `tel:` URI.
#[must_use]
pub fn auth_of(uri: Uri) -> Option<Auth> {
    match &uri.scheme {
        Some(Scheme::Other(_)) => global_number(&uri).map(|number| Auth::from(number.as_str())),
        _ => as_read(uri).auth,
    }
}

/// Whether it is a `tel:` URI of a number that means the same everywhere.
#[must_use]
pub fn is_global_number(uri: &Uri) -> bool {
    global_number(uri).is_some()
}

/// The number of a `tel:` URI without visual separators, where it is a global one (RFC 3966 section
/// 5.1.4). One with an extension or a subaddress would not be the same number without it.
fn global_number(uri: &Uri) -> Option<String> {
    let is_tel =
        matches!(&uri.scheme, Some(Scheme::Other(scheme)) if scheme.eq_ignore_ascii_case("tel"));
    if !is_tel || uri.auth.is_some() || !uri.headers.is_empty() {
        return None;
    }
    let text = uri.to_string();
    let (_, rest) = text.split_once(':')?;
    let mut parts = rest.split(';');
    let digits = parts.next()?.strip_prefix('+')?;
    let mut number = "+".to_owned();
    for letter in digits.chars() {
        match letter {
            '0'..='9' => number.push(letter),
            '-' | '.' | '(' | ')' => {}
            _ => return None,
        }
    }
    let goes_on = |part: &str| {
        let name = part.split('=').next().unwrap_or_default();
        ["ext", "isub"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    };
    // ITU-T E.164: 15 digits at most.
    ((2..=16).contains(&number.len()) && !parts.any(goes_on)).then_some(number)
}

/// The user of a URI, as it is written.
#[must_use]
pub fn user_of(uri: Uri) -> Option<String> {
    let user = auth_of(uri)?.user;
    let password = None;
    Some(Auth { user, password }.to_string())
}

/// `None` where it is no text.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let escaped = others.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|two| std::str::from_utf8(two).ok());
        let escaped = escaped.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = match escaped {
            Some(_) => others.get(2..).unwrap_or_default(),
            None => others,
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_written_as_it_was_read() {
        for text in [
            "sip:%2312%40x@10.0.0.9:5070;ob",
            "sip:a%3Ab:c%23@10.0.0.9",
            "sip:+4930;x=y@10.0.0.9",
            "sip:%00@10.0.0.9",
        ] {
            let uri = Uri::try_from(text).unwrap();
            assert_eq!(as_read(uri).to_string(), text);
        }
    }

    #[test]
    fn a_global_number_is_read_and_any_other_is_none() {
        for (text, number) in [
            ("tel:+4930123", Some("+4930123")),
            ("TEL:+49-30.(123)", Some("+4930123")),
            ("tel:+4930123;cpc=ordinary", Some("+4930123")),
            ("tel:+4930123;ext=5", None),
            ("tel:+4930123;ISUB=5", None),
            ("tel:030123", None),
            ("tel:030123;phone-context=+49", None),
            ("tel:+", None),
            ("tel:+-", None),
            ("tel:+49a", None),
            ("tel:+4930:5060", None),
            ("tel:+49@192.0.2.1", None),
            ("tel:+1234567890123456", None),
            ("fax:+4930123", None),
            ("sip:+4930123", None),
        ] {
            let found = Uri::try_from(text).ok();
            let found = found.filter(is_global_number).and_then(user_of);
            assert_eq!(found.as_deref(), number, "{text}");
        }
    }

    #[test]
    fn a_user_goes_as_far_as_the_at_sign() {
        for (text, user, host) in [
            (
                "sip:+4930;phone-context=x@10.0.0.9:5070;ob",
                Some("+4930;phone-context=x"),
                "10.0.0.9:5070",
            ),
            ("sip:100:secret@10.0.0.9", Some("100"), "10.0.0.9"),
            ("sip:10.0.0.9;lr", None, "10.0.0.9"),
        ] {
            let uri = Uri::try_from(text).unwrap();
            assert_eq!(user_of(uri.clone()).as_deref(), user, "{text}");
            assert_eq!(as_read(uri).host_with_port.to_string(), host, "{text}");
        }
    }
}
