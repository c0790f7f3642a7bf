//! Text that other people wrote and our users will see: bounded, and free of control characters, so that a
//! name on a card cannot rewrite a terminal or a stanza.

use thiserror::Error;

/// Longest name on a card, in bytes of UTF-8.
pub const NAME_MAX: usize = 64;
/// Longest bare JID, in bytes of UTF-8.
pub const JID_MAX: usize = 150;
/// Longest bridge domain, in bytes of UTF-8.
pub const DOMAIN_MAX: usize = 150;

/// Text that may not stand where it was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// Empty, or longer than the field allows.
    #[error("has {got} bytes, must have 1 to {max}")]
    Length {
        /// Most bytes allowed.
        max: usize,
        /// Bytes given.
        got: usize,
    },
    /// Control characters, or spaces where none belong.
    #[error("holds a control character or a space")]
    Character,
    /// No bare JID: it has a resource, two `@`, or an empty part.
    #[error("is not a bare JID (local@domain or domain)")]
    NotBare,
}

fn check_length(text: &str, max: usize) -> Result<(), TextError> {
    if text.is_empty() || text.len() > max {
        return Err(TextError::Length { max, got: text.len() });
    }
    Ok(())
}

/// A display name: spaces are fine, control characters are not.
pub(crate) fn check_name(name: &str) -> Result<(), TextError> {
    check_length(name, NAME_MAX)?;
    if name.chars().any(char::is_control) {
        return Err(TextError::Character);
    }
    Ok(())
}

/// A domain, as text only: whether it resolves is not asked.
pub(crate) fn check_domain(domain: &str) -> Result<(), TextError> {
    check_length(domain, DOMAIN_MAX)?;
    if domain.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(TextError::Character);
    }
    if domain.contains(['@', '/']) {
        return Err(TextError::NotBare);
    }
    Ok(())
}

/// A bare JID: `local@domain`, or a domain alone.
pub(crate) fn check_jid(jid: &str) -> Result<(), TextError> {
    check_length(jid, JID_MAX)?;
    let domain = match jid.split_once('@') {
        Some(("", _)) => return Err(TextError::NotBare),
        Some((local, _)) if local.contains('/') => return Err(TextError::NotBare),
        Some((local, _)) if local.chars().any(|c| c.is_control() || c.is_whitespace()) => {
            return Err(TextError::Character);
        }
        Some((_, "")) => return Err(TextError::NotBare),
        Some((_, domain)) => domain,
        None => jid,
    };
    check_domain(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jids_are_bare() {
        for good in ["elaine@subway.example", "bridge.example", "é@é"] {
            assert_eq!(check_jid(good), Ok(()), "{good}");
        }
        for bad in ["a@b/phone", "a@b@c", "@b", "a@", "a/b@c"] {
            assert_eq!(check_jid(bad), Err(TextError::NotBare), "{bad}");
        }
        for bad in ["a b@c", "a@b\n", "a\u{7f}@b", "a@b\u{a0}c"] {
            assert_eq!(check_jid(bad), Err(TextError::Character), "{bad:?}");
        }
        assert_eq!(check_jid(&"a".repeat(JID_MAX)), Ok(()));
        assert!(check_jid(&"a".repeat(JID_MAX + 1)).is_err());
        assert!(check_jid("").is_err());
    }

    #[test]
    fn names_have_no_escapes() {
        assert_eq!(check_name("Elaine Benes"), Ok(()));
        assert_eq!(check_name("\u{1b}[2J"), Err(TextError::Character));
        assert!(check_name(&"é".repeat(33)).is_err());
    }
}
