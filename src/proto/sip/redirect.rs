//! Where else a call may be tried (RFC 3261 section 8.1.3.4).

use rsipstack::sip::{Headers, Param, Uri, typed};

use super::{header::values, uri::as_read};

/// Most places that one answer may name.
const MOST: usize = 16;

/// The places that a 3xx names, the most wanted first. Of what cannot be read none is taken, nor of what
/// asks for header fields of its own (`?`), which the stack's reader leaves out.
#[must_use]
pub fn contacts(headers: &Headers) -> Vec<Uri> {
    let mut found: Vec<(u16, Uri)> = values(headers, "Contact")
        .filter(|value| !value.contains('?'))
        .filter_map(|value| typed::Contact::parse_header_list(value).ok())
        .flatten()
        .take(MOST)
        .map(|contact| (wanted(&contact.params), as_read(contact.uri)))
        .collect();
    found.sort_by_key(|(wanted, _)| std::cmp::Reverse(*wanted));
    found.into_iter().map(|(_, uri)| uri).collect()
}

/// `q`, in thousandths; 1 where there is none that can be read.
fn wanted(parameters: &[Param]) -> u16 {
    let told = parameters.iter().find_map(|parameter| match parameter {
        Param::Q(q) => q.value().parse::<f32>().ok(),
        _ => None,
    });
    let told = told.filter(|told| (0.0..=1.0).contains(told));
    (told.unwrap_or(1.0) * 1_000.0) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::sip::field;

    fn found(fields: &[&str]) -> Vec<String> {
        let headers: Vec<_> = fields
            .iter()
            .map(|value| field("Contact", *value))
            .collect();
        let found = contacts(&headers.into()).into_iter();
        found.map(|uri| uri.to_string()).collect()
    }

    #[test]
    fn the_most_wanted_place_comes_first_and_others_in_their_order() {
        assert_eq!(
            found(&[
                "<sip:1@192.0.2.1>;q=0.2, <sip:2@192.0.2.2>;q=0.7",
                "<sip:3@192.0.2.3>;q=0.7",
                "<sip:4@192.0.2.4>",
                "<sip:5@192.0.2.5>;q=nothing",
            ]),
            [
                "sip:4@192.0.2.4",
                "sip:5@192.0.2.5",
                "sip:2@192.0.2.2",
                "sip:3@192.0.2.3",
                "sip:1@192.0.2.1"
            ]
        );
        assert!(found(&[]).is_empty());
        assert!(found(&["<sip:1@192.0.2.1?Replaces=x>"]).is_empty());
        let many: Vec<_> = (0..100).map(|n| format!("<sip:{n}@192.0.2.1>")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(found(&many).len(), MOST);
    }

    proptest! {
        #[test]
        fn no_text_panics(value in "\\PC{0,80}", letters in "[<>sip:@;q=0-9.,\" ]{0,60}") {
            let _ = found(&[&value, &letters]);
        }
    }
}
