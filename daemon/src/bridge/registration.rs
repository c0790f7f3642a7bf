//! The rules of registration (PROTOCOL.md section 6): which key may speak as which account.

use std::collections::BTreeSet;

use jid::{BareJid, Jid};
use pigeon_bundle::{Card, CardError};
use pigeon_xmpp::Condition;

use super::record::Registration;

/// A card may be issued this far ahead of our clock, seconds. One from further ahead would count as the newest until
/// then, and the owner's next cards as old.
const ISSUED_AHEAD_MAX_S: u64 = 86_400;

/// Why a registration is refused. The text goes to the asking session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The card cannot be read, or its signature is wrong.
    #[error("the card cannot be used: {0}")]
    Card(#[from] CardError),
    /// The session belongs to an account of another host, or to none.
    #[error("this bridge does not serve accounts of your host; ask its operator which hosts it serves")]
    ForeignHost,
    /// The session's own JID is not on the card.
    #[error("your account is not on this card; put its JID on the card and register again")]
    NotOnCard,
    /// Another key speaks for this account.
    #[error(
        "another key is registered for this account until {until_s} (Unix time); use the device that has it, or wait until it lapses"
    )]
    OtherKey {
        /// When it lapses.
        until_s: u64,
    },
    /// The card's time of issue is in the future.
    #[error(
        "the card says that it was issued at {issued_s} (Unix time), which is in the future; set the clock of the device that made it"
    )]
    IssuedAhead {
        /// The card's time of issue.
        issued_s: u64,
    },
}

impl RegistrationError {
    /// The stanza error that goes with it.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self {
            Self::Card(_) | Self::IssuedAhead { .. } => Condition::NotAcceptable,
            Self::ForeignHost | Self::NotOnCard | Self::OtherKey { .. } => Condition::Forbidden,
        }
    }
}

/// The account behind a session, if it belongs to one of `hosts`.
#[must_use]
pub fn account(from: &str, hosts: &BTreeSet<String>) -> Option<String> {
    let bare = Jid::new(from).ok()?.into_bare();
    bare.node()?;
    hosts.contains(bare.domain().as_str()).then(|| bare.to_string())
}

/// What to keep when `account`'s own session shows `card`, while `held` is kept. A card older than the one seen before
/// changes nothing.
///
/// # Errors
/// [`RegistrationError`]; then everything stays as it is.
pub fn decide(
    held: Option<&Registration>,
    account: &str,
    card: &Card,
    now_s: u64,
    lifetime_s: u64,
) -> Result<Registration, RegistrationError> {
    let on_card = |jid: &String| BareJid::new(jid).is_ok_and(|jid| jid.as_str() == account);
    if !card.jids().iter().any(on_card) {
        return Err(RegistrationError::NotOnCard);
    }
    if card.issued_s() > now_s.saturating_add(ISSUED_AHEAD_MAX_S) {
        return Err(RegistrationError::IssuedAhead { issued_s: card.issued_s() });
    }
    let fresh = Registration {
        key: card.identity(),
        issued_s: card.issued_s(),
        until_s: now_s.saturating_add(lifetime_s),
    };
    match held.filter(|held| held.is_alive(now_s)) {
        None => Ok(fresh),
        Some(held) if held.key != fresh.key => Err(RegistrationError::OtherKey { until_s: held.until_s }),
        Some(held) if held.issued_s > fresh.issued_s => Ok(held.clone()),
        // A clock set back must not shorten what was promised.
        Some(held) => Ok(Registration { until_s: fresh.until_s.max(held.until_s), ..fresh }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_bundle::{CardFields, Identity, MailboxSecret};

    use super::*;
    use crate::random::OsRandom;

    const NOW: u64 = 1_800_000_000;
    const LIFE: u64 = 90 * 86_400;
    const ELAINE: &str = "elaine@example.org";

    fn card(identity: &Identity, jid: &str, issued_s: u64) -> Card {
        let fields = CardFields {
            name: "E".to_owned(),
            jids: vec![jid.to_owned()],
            bridges: Vec::new(),
            mailbox_secret: MailboxSecret([1; 32]),
            prekey: [9; 32],
            prekey_expires_s: NOW,
            issued_s,
        };
        Card::issue(identity, &fields).unwrap()
    }

    fn elaine() -> Identity {
        Identity::generate(&mut OsRandom)
    }

    #[test]
    fn sessions_of_listed_hosts_only() {
        let hosts = BTreeSet::from(["example.org".to_owned()]);
        assert_eq!(account("Elaine@Example.org/phone", &hosts).as_deref(), Some(ELAINE));
        for other in ["elaine@example.org.evil/x", "example.org", "elaine@sub.example.org", "@", ""] {
            assert_eq!(account(other, &hosts), None, "{other}");
        }
    }

    #[test]
    fn registering_binds_and_renewing_extends() {
        let identity = elaine();
        let first = decide(None, ELAINE, &card(&identity, "Elaine@example.org", NOW), NOW, LIFE).unwrap();
        assert_eq!(first, Registration { key: identity.key(), issued_s: NOW, until_s: NOW + LIFE });
        let later = NOW + 1_000;
        let same = decide(Some(&first), ELAINE, &card(&identity, ELAINE, NOW), later, LIFE).unwrap();
        assert_eq!(same.until_s, later + LIFE);
        let newer = decide(Some(&same), ELAINE, &card(&identity, ELAINE, later), later, LIFE).unwrap();
        assert_eq!(newer.issued_s, later);
    }

    #[test]
    fn an_older_card_changes_nothing() {
        let identity = elaine();
        let held = Registration { key: identity.key(), issued_s: NOW, until_s: NOW + 5 };
        let answer = decide(Some(&held), ELAINE, &card(&identity, ELAINE, NOW - 1), NOW, LIFE).unwrap();
        assert_eq!(answer, held);
    }

    #[test]
    fn another_key_waits_until_the_first_has_lapsed() {
        let (first, second) = (elaine(), elaine());
        let held = Registration { key: first.key(), issued_s: NOW, until_s: NOW + 5 };
        let card = card(&second, ELAINE, NOW + 1);
        let refused = decide(Some(&held), ELAINE, &card, NOW + 4, LIFE).unwrap_err();
        assert_eq!(refused, RegistrationError::OtherKey { until_s: NOW + 5 });
        assert_eq!(refused.condition(), Condition::Forbidden);
        assert_eq!(decide(Some(&held), ELAINE, &card, NOW + 5, LIFE).unwrap().key, second.key());
    }

    #[test]
    fn somebody_elses_card_and_one_from_the_future_are_refused() {
        let identity = elaine();
        let other = decide(None, "newman@example.org", &card(&identity, ELAINE, NOW), NOW, LIFE);
        assert_eq!(other, Err(RegistrationError::NotOnCard));
        let ahead = card(&identity, ELAINE, NOW + ISSUED_AHEAD_MAX_S + 1);
        assert!(matches!(
            decide(None, ELAINE, &ahead, NOW, LIFE),
            Err(RegistrationError::IssuedAhead { .. })
        ));
    }
}
