//! Origin lines as found in the field, made such that a strict parser takes them.

use std::borrow::Cow;

/// Makes absurd `o=` lines parseable: a version beyond 64 bits, a negative one, a user name with
/// spaces. Everything else is left as it is.
pub(super) fn normalise(text: &str) -> Cow<'_, str> {
    let Some(line) = text.lines().find(|line| line.starts_with("o=")) else {
        return Cow::Borrowed(text);
    };
    let words: Vec<&str> = line[2..]
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect();
    let [user @ .., id, version, net, family, address] = words.as_slice() else {
        return Cow::Borrowed(text);
    };
    if user.len() == 1 && version.parse::<u64>().is_ok() {
        return Cow::Borrowed(text);
    }
    let user = if user.is_empty() {
        "-".to_owned()
    } else {
        user.join("_")
    };
    let version = sane_version(version);
    let sane = format!("o={user} {id} {version} {net} {family} {address}");
    Cow::Owned(text.replacen(line, &sane, 1))
}

/// The last 18 digits, in which a version that grows by one still grows by one.
fn sane_version(version: &str) -> u64 {
    let digits: Vec<char> = version.chars().filter(char::is_ascii_digit).collect();
    let last = digits.len().saturating_sub(18);
    let text: String = digits[last..].iter().collect();
    text.parse().unwrap_or(1)
}
