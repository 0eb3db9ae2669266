//! What the two people say: the sentences of `fixtures/speech`, and the words to print.

use anyhow::{Context, Result};

use super::wav;

macro_rules! sentences {
    ($($name:literal, $text:literal;)*) => {
        /// Every sentence: its name and its recording.
        pub(crate) const ALL_SENTENCES: &[(&str, &[u8])] = &[$((
            $name,
            include_bytes!(concat!("../../fixtures/speech/", $name, ".wav")),
        )),*];

        /// The words of a sentence.
        pub(crate) fn words(name: &str) -> &'static str {
            match name {
                $($name => $text,)*
                _ => "",
            }
        }
    };
}

sentences! {
    "agent-greeting", "Northwind Travel, Alice speaking. How can I help?";
    "caller-request", "Hello. I would like to pay my deposit, please.";
    "agent-card", "That is twelve euros fifty. Please key your card number. I cannot hear your keys.";
    "caller-ready", "All right, here it comes.";
    "caller-done", "There you are.";
    "agent-expiry", "Lovely. Now the expiry date, month and year.";
    "agent-code", "And last, the security code.";
    "caller-finished", "That was all of it.";
    "agent-charging", "Thank you. One moment.";
    "agent-approved", "And it went through. A receipt is in the mail.";
    "agent-declined", "I am sorry, that card was not accepted. I can tell you what to do next.";
    "agent-retry", "I did not get all of that. Would you key it once more, please?";
    "caller-bye", "Great, many thanks. Bye!";
    "agent-bye", "Goodbye!";
}

/// The recording of a sentence, decoded.
pub(crate) fn samples(name: &str) -> Result<Vec<i16>> {
    let (_, bytes) = ALL_SENTENCES
        .iter()
        .find(|(known, _)| *known == name)
        .with_context(|| format!("no sentence {name:?} in the script"))?;
    wav::read(bytes)
}
