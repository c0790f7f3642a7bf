//! The stanzas of docs/wire-format.md section 7 and the few others that a session needs: pure functions between
//! elements and values.

pub(crate) mod archive;
pub(crate) mod bundle;
pub(crate) mod carbons;
pub(crate) mod delivery;
pub(crate) mod disco;
pub(crate) mod error;
pub(crate) mod iq;
pub(crate) mod people;
pub(crate) mod privilege;
pub(crate) mod tell;
pub(crate) mod time;
pub(crate) mod verdict;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jid::Jid;
use minidom::Element;

use crate::limits::{JID_BYTES_MAX, TEXT_BYTES_MAX};

/// Why a stanza of ours cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StanzaError {
    /// No such child.
    #[error("<{0}/> is missing")]
    Missing(&'static str),
    /// Not base64, or none of the characters of base64.
    #[error("<{0}> does not hold base64")]
    Base64(&'static str),
    /// More than the protocol allows.
    #[error("<{what}> holds {bytes} bytes, more than the {max} allowed")]
    TooLarge {
        /// The element.
        what: &'static str,
        /// What it holds, or at least holds.
        bytes: usize,
        /// What it may hold.
        max: usize,
    },
    /// Fewer bytes than needed, or a number that does not fit.
    #[error("<{0}> holds a value of the wrong form")]
    Form(&'static str),
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes in `element`'s text, at most `max`. White space inside is allowed, as XEP senders wrap lines.
pub(crate) fn bytes_of(element: &Element, what: &'static str, max: usize) -> Result<Vec<u8>, StanzaError> {
    let mut text = element.text();
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        text.retain(|c| !c.is_ascii_whitespace());
    }
    let bytes = text.len() / 4 * 3;
    // Padding makes at most two of these bytes disappear.
    if bytes > max + 2 {
        return Err(StanzaError::TooLarge { what, bytes: bytes - 2, max });
    }
    let decoded = STANDARD.decode(text).map_err(|_| StanzaError::Base64(what))?;
    if decoded.len() > max {
        return Err(StanzaError::TooLarge { what, bytes: decoded.len(), max });
    }
    Ok(decoded)
}

/// `text` as a JID, normalised (RFC 7622).
pub(crate) fn jid(text: &str) -> Option<Jid> {
    if text.len() > JID_BYTES_MAX { None } else { Jid::new(text).ok() }
}

/// The normalised sender, where the stanza has one.
pub(crate) fn sender(stanza: &Element) -> Option<Jid> {
    stanza.attr("from").and_then(jid)
}

/// The stanza's id, if it has one of sensible length.
pub(crate) fn id(stanza: &Element) -> Option<&str> {
    stanza.attr("id").filter(|id| !id.is_empty() && id.len() <= TEXT_BYTES_MAX)
}

/// Cuts a foreign text to a length that can be logged and shown.
pub(crate) fn short(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{With, el};

    fn holding(text: &str) -> Result<Vec<u8>, StanzaError> {
        bytes_of(&el("x", "n").with_text(text), "x", 6)
    }

    #[test]
    fn base64_of_every_length_up_to_the_limit_and_not_beyond() {
        for n in 0..=6 {
            assert_eq!(holding(&base64(&vec![7; n])).unwrap(), vec![7; n]);
        }
        for n in [7, 8, 9, 12, 1000] {
            assert!(
                matches!(holding(&base64(&vec![7; n])), Err(StanzaError::TooLarge { max: 6, .. })),
                "{n}"
            );
        }
    }

    #[test]
    fn line_breaks_pass_and_other_characters_do_not() {
        assert_eq!(holding(" AQ\nID\t").unwrap(), [1, 2, 3]);
        for bad in ["AQI", "AQ-D", "AQID=", "ÄQID"] {
            assert_eq!(holding(bad), Err(StanzaError::Base64("x")), "{bad}");
        }
    }

    #[test]
    fn short_cuts_at_a_character() {
        assert_eq!(short("ü".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
        assert_eq!(short(format!("a{}", "ü".repeat(TEXT_BYTES_MAX))).len(), TEXT_BYTES_MAX - 1);
    }
}
