//! The rules of registration (PROTOCOL.md section 6): which key may speak as which account.

use std::collections::BTreeSet;

use jid::{BareJid, Jid};
use pigeon_bundle::{Card, CardError, verify_handover};
use pigeon_xmpp::Condition;

use super::answers::Refused;
use super::record::{Registration, Successor};

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
    /// Another key speaks for this account, and this one has given notice.
    #[error(
        "another key is registered for this account; this one may be registered from {due_s} (Unix time) unless that \
         one is used before; at once with that key's signature, or by the bridge's operator"
    )]
    Notice {
        /// From when it may be registered, Unix seconds.
        due_s: u64,
    },
    /// The account's own session has revoked this very key.
    #[error(
        "this key was revoked for this account and cannot come back; make a new identity and register it"
    )]
    Revoked,
    /// The card's time of issue is in the future.
    #[error(
        "the card says that it was issued at {issued_s} (Unix time), which is in the future; set the clock of the device that made it"
    )]
    IssuedAhead {
        /// The card's time of issue.
        issued_s: u64,
    },
}

impl Refused for RegistrationError {
    fn condition(&self) -> Condition {
        match self {
            Self::Card(_) | Self::IssuedAhead { .. } => Condition::NotAcceptable,
            Self::ForeignHost | Self::NotOnCard | Self::Notice { .. } | Self::Revoked => Condition::Forbidden,
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

/// What a session of `account` asks.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The session's account, in normal form.
    pub account: &'a str,
    /// Its card.
    pub card: &'a Card,
    /// The signature by which the registered key passes the account on.
    pub handover: Option<&'a [u8; 64]>,
}

/// The terms on which keys are registered.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The bridge's domain.
    pub domain: &'a str,
    /// Unix seconds.
    pub now_s: u64,
    /// How long a registration lasts.
    pub lifetime_s: u64,
    /// How long another key waits.
    pub notice_s: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to keep from now on.
    pub keep: Registration,
    /// What the session is told: until when its key may speak, or why it may not.
    pub answer: Result<u64, RegistrationError>,
    /// Whether all of the account's clients are to hear that another key has asked.
    pub is_notice: bool,
}

impl Decision {
    fn registered(keep: Registration) -> Self {
        Self { answer: Ok(keep.until_s), keep, is_notice: false }
    }
}

/// Decides on a request while `held` is kept. A card older than the one seen before changes nothing. The registered key's
/// own renewal ends another key's notice: whoever has the account's password and the key is its owner.
///
/// # Errors
/// [`RegistrationError`]; then everything stays as it is.
pub fn decide(
    held: Option<&Registration>,
    request: &Request<'_>,
    terms: &Terms<'_>,
) -> Result<Decision, RegistrationError> {
    let card = request.card;
    let on_card = |jid: &String| BareJid::new(jid).is_ok_and(|jid| jid.as_str() == request.account);
    if !card.jids().iter().any(on_card) {
        return Err(RegistrationError::NotOnCard);
    }
    if card.issued_s() > terms.now_s.saturating_add(ISSUED_AHEAD_MAX_S) {
        return Err(RegistrationError::IssuedAhead { issued_s: card.issued_s() });
    }
    let fresh = Registration {
        key: card.identity(),
        issued_s: card.issued_s(),
        until_s: terms.now_s.saturating_add(terms.lifetime_s),
        is_revoked: false,
        successor: None,
        card: card.as_bytes().to_vec(),
    };
    match held.filter(|held| !held.has_lapsed(terms.now_s)) {
        None => Ok(Decision::registered(fresh)),
        Some(held) if held.key != fresh.key => Ok(succeed(held, fresh, request, terms)),
        Some(held) if held.is_revoked => Err(RegistrationError::Revoked),
        Some(held) if held.issued_s > fresh.issued_s => {
            Ok(Decision::registered(Registration { successor: None, ..held.clone() }))
        }
        // A clock set back must not shorten what was promised.
        Some(held) => {
            Ok(Decision::registered(Registration { until_s: fresh.until_s.max(held.until_s), ..fresh }))
        }
    }
}

/// Another key asks for an account.
fn succeed(held: &Registration, fresh: Registration, request: &Request<'_>, terms: &Terms<'_>) -> Decision {
    let passes_on =
        |signature| verify_handover(&held.key, &fresh.key, terms.domain, request.account, signature).is_ok();
    let is_passed_on = !held.is_revoked && request.handover.is_some_and(passes_on);
    let notice = held.successor.filter(|successor| successor.key == fresh.key);
    if is_passed_on || notice.is_some_and(|successor| successor.due_s <= terms.now_s) {
        return Decision::registered(fresh);
    }
    let (successor, is_notice) = match notice {
        Some(successor) => (successor, false),
        None => {
            let due_s = terms.now_s.saturating_add(terms.notice_s);
            (Successor { key: fresh.key, due_s }, true)
        }
    };
    let answer = Err(RegistrationError::Notice { due_s: successor.due_s });
    Decision { keep: Registration { successor: Some(successor), ..held.clone() }, answer, is_notice }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_bundle::{CardFields, Identity, MailboxSecret, sign_handover};

    use super::*;
    use crate::random::OsRandom;

    const NOW: u64 = 1_800_000_000;
    const LIFE: u64 = 90 * 86_400;
    const NOTICE: u64 = 7 * 86_400;
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

    /// Asks at a time, with a card, and says what is kept and answered.
    fn ask(held: Option<&Registration>, card: &Card, now_s: u64) -> Result<Decision, RegistrationError> {
        ask_over(held, card, now_s, None)
    }

    fn ask_over(
        held: Option<&Registration>,
        card: &Card,
        now_s: u64,
        handover: Option<&[u8; 64]>,
    ) -> Result<Decision, RegistrationError> {
        let request = Request { account: ELAINE, card, handover };
        let terms = Terms { domain: "bridge.example.org", now_s, lifetime_s: LIFE, notice_s: NOTICE };
        decide(held, &request, &terms)
    }

    #[test]
    fn registering_binds_and_renewing_extends() {
        let identity = elaine();
        let first = ask(None, &card(&identity, "Elaine@example.org", NOW), NOW).unwrap().keep;
        assert_eq!((first.key, first.issued_s, first.until_s), (identity.key(), NOW, NOW + LIFE));
        let later = NOW + 1_000;
        let same = ask(Some(&first), &card(&identity, ELAINE, NOW), later).unwrap();
        assert_eq!(same.answer, Ok(later + LIFE));
        let newer = ask(Some(&same.keep), &card(&identity, ELAINE, later), later).unwrap().keep;
        assert_eq!(newer.issued_s, later);
    }

    #[test]
    fn an_older_card_changes_nothing() {
        let identity = elaine();
        let held = ask(None, &card(&identity, ELAINE, NOW), NOW).unwrap().keep;
        let answer = ask(Some(&held), &card(&identity, ELAINE, NOW - 1), NOW + 5).unwrap();
        assert_eq!((answer.keep, answer.answer), (held, Ok(NOW + LIFE)));
    }

    #[test]
    fn another_key_gives_notice_and_speaks_when_it_is_over() {
        let (first, second) = (elaine(), elaine());
        let held = ask(None, &card(&first, ELAINE, NOW), NOW).unwrap().keep;
        let card = card(&second, ELAINE, NOW);
        let noticed = ask(Some(&held), &card, NOW).unwrap();
        assert_eq!(noticed.answer, Err(RegistrationError::Notice { due_s: NOW + NOTICE }));
        assert!(noticed.is_notice && noticed.keep.may_speak(NOW) && noticed.keep.key == first.key());
        let again = ask(Some(&noticed.keep), &card, NOW + NOTICE - 1).unwrap();
        assert!(!again.is_notice && again.keep == noticed.keep && again.answer == noticed.answer);
        assert_eq!(ask(Some(&again.keep), &card, NOW + NOTICE).unwrap().keep.key, second.key());
    }

    #[test]
    fn the_registered_keys_own_renewal_ends_a_notice() {
        let (first, second) = (elaine(), elaine());
        let held = ask(None, &card(&first, ELAINE, NOW), NOW).unwrap().keep;
        let noticed = ask(Some(&held), &card(&second, ELAINE, NOW), NOW).unwrap().keep;
        let renewed = ask(Some(&noticed), &card(&first, ELAINE, NOW), NOW + 1).unwrap().keep;
        assert_eq!(renewed.successor, None);
        let again = ask(Some(&renewed), &card(&second, ELAINE, NOW), NOW + NOTICE).unwrap();
        assert_eq!(again.answer, Err(RegistrationError::Notice { due_s: NOW + 2 * NOTICE }));
    }

    #[test]
    fn the_registered_keys_signature_passes_the_account_on_at_once() {
        let (first, second) = (elaine(), elaine());
        let held = ask(None, &card(&first, ELAINE, NOW), NOW).unwrap().keep;
        let card = card(&second, ELAINE, NOW);
        let sign = |old: &Identity, domain: &str, jid: &str| sign_handover(old, &second.key(), domain, jid);
        for wrong in [
            sign(&second, "bridge.example.org", ELAINE),
            sign(&first, "other.example.org", ELAINE),
            sign(&first, "bridge.example.org", "newman@example.org"),
        ] {
            assert!(ask_over(Some(&held), &card, NOW, Some(&wrong)).unwrap().answer.is_err());
        }
        let right = sign(&first, "bridge.example.org", ELAINE);
        let passed = ask_over(Some(&held), &card, NOW, Some(&right)).unwrap();
        assert_eq!((passed.keep.key, passed.answer), (second.key(), Ok(NOW + LIFE)));
        let revoked = Registration { is_revoked: true, ..held };
        assert!(ask_over(Some(&revoked), &card, NOW, Some(&right)).unwrap().answer.is_err());
    }

    #[test]
    fn a_revoked_key_never_comes_back_and_the_next_one_waits() {
        let (first, second) = (elaine(), elaine());
        let held = ask(None, &card(&first, ELAINE, NOW), NOW).unwrap().keep;
        let revoked = Registration { is_revoked: true, ..held };
        assert!(!revoked.may_speak(NOW));
        let again = ask(Some(&revoked), &card(&first, ELAINE, NOW + 9), NOW + 9);
        assert_eq!(again, Err(RegistrationError::Revoked));
        let next = ask(Some(&revoked), &card(&second, ELAINE, NOW), NOW).unwrap();
        assert_eq!(next.answer, Err(RegistrationError::Notice { due_s: NOW + NOTICE }));
        assert!(!next.keep.may_speak(NOW));
    }

    #[test]
    fn a_lapsed_key_makes_room() {
        let (first, second) = (elaine(), elaine());
        let held = ask(None, &card(&first, ELAINE, NOW), NOW).unwrap().keep;
        let second = card(&second, ELAINE, NOW);
        assert!(ask(Some(&held), &second, NOW + LIFE - 1).unwrap().answer.is_err());
        assert!(ask(Some(&held), &second, NOW + LIFE).unwrap().answer.is_ok());
    }

    #[test]
    fn somebody_elses_card_and_one_from_the_future_are_refused() {
        let identity = elaine();
        let others = card(&identity, "newman@example.org", NOW);
        assert_eq!(ask(None, &others, NOW), Err(RegistrationError::NotOnCard));
        let ahead = card(&identity, ELAINE, NOW + ISSUED_AHEAD_MAX_S + 1);
        assert!(matches!(ask(None, &ahead, NOW), Err(RegistrationError::IssuedAhead { .. })));
    }
}
