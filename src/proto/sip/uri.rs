//! URIs as they are read and written.

use rsipstack::sip::{Uri, uri::Auth};

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

/// The user of a URI, as it is written.
#[must_use]
pub fn user_of(uri: Uri) -> Option<String> {
    let user = as_read(uri).auth?.user;
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
