//! Delegated pick-up (PROTOCOL.md section 6): a carrier hands in a token, the bridge hands out what waits for the token's
//! recipient. What was fetched is not delivered: it stays until its r is known or it expires.

use std::collections::BTreeSet;

use jid::BareJid;
use pigeon_bundle::{
    IdentityKey, PICKUP_LIFETIME_MAX_S, Pickup, PickupError, PickupRequest, PickupTerms, open_pickup,
};
use pigeon_xmpp::{Condition, IqAnswer, IqToken, PickedUp, SendError};

use super::answers::{Refused, answer_with};
use super::desk::{Desk, now_s, patiently};
use super::held::Waiting;
use super::ledger::{Books, LedgerError};
use super::registration;
use super::worker::is_session_of;

/// Most bundles handed out for one token: about half of what Prosody's stream management keeps for a client.
pub const BUNDLES_MAX: usize = 200;
/// A token may end this much later than a day from now, seconds: clocks differ.
pub const SKEW_S: u64 = 3_600;

/// Why a token is refused. The text goes to the carrier, and names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickupRefusal {
    /// The carrier's account belongs to another host, or the recipient's does.
    #[error("this bridge does not serve accounts of that host")]
    ForeignHost,
    /// Cannot be read, or a signature is wrong: stolen, altered, or for another bridge.
    #[error("the token cannot be used: {0}")]
    Token(#[from] PickupError),
    /// No key is registered for the recipient.
    #[error("nobody has registered with this bridge who could have made this token")]
    NotRegistered,
    /// It has ended.
    #[error("the token has expired; ask its recipient for a new one")]
    Expired,
    /// It ends too late.
    #[error(
        "the token lasts longer than {PICKUP_LIFETIME_MAX_S} s; check the clock of the device that made it"
    )]
    TooLong,
    /// It asks for more than is handed out at once.
    #[error("the token is made out for {asked} bytes, this bridge hands out {max} at most for one")]
    ByteLimit {
        /// What it asks for.
        asked: u64,
        /// What it may ask for.
        max: u64,
    },
    /// It was handed in before.
    #[error("the token was handed in before; ask its recipient for a new one")]
    Spent,
}

impl Refused for PickupRefusal {
    fn condition(&self) -> Condition {
        match self {
            Self::Token(PickupError::Malformed(_) | PickupError::Jid(_) | PickupError::Tags { .. }) => {
                Condition::BadRequest
            }
            Self::Expired | Self::TooLong | Self::ByteLimit { .. } => Condition::NotAcceptable,
            Self::Spent => Condition::PolicyViolation,
            Self::ForeignHost | Self::Token(_) | Self::NotRegistered => Condition::Forbidden,
        }
    }
}

/// Checks a token, spends it, and hands out what waits.
///
/// # Errors
/// [`LedgerError`]; the carrier has been told to try again.
pub async fn pick_up(desk: &Desk, from: &str, request: &[u8], iq: IqToken) -> Result<(), LedgerError> {
    let outcome = picked_up(desk, from, request).await;
    answer_with(desk, iq, outcome, IqAnswer::PickedUp).await
}

async fn picked_up(
    desk: &Desk,
    from: &str,
    request: &[u8],
) -> Result<Result<PickedUp, PickupRefusal>, LedgerError> {
    let terms = match spend(desk, from, request).await? {
        Ok(terms) => terms,
        Err(refused) => {
            let reason = refused.condition().name();
            tracing::info!(target: "pigeon_bridge::audit", reason, %refused, "pick-up refused");
            return Ok(Err(refused));
        }
    };
    let done = hand_out(desk, from, &terms).await?;
    let PickedUp { bundles, bytes, left } = done;
    tracing::info!(target: "pigeon_bridge::audit", bundles, bytes, left, "picked up");
    Ok(Ok(done))
}

/// Checks the token, and makes it durable that it was taken.
async fn spend(
    desk: &Desk,
    from: &str,
    request: &[u8],
) -> Result<Result<PickupTerms, PickupRefusal>, LedgerError> {
    let terms = match admit(desk, from, request)? {
        Ok(terms) => terms,
        Err(refused) => return Ok(Err(refused)),
    };
    // The worker does one thing after the other: nobody else spends it between the look and the write.
    if desk.ledger.is_spent(&terms)? {
        return Ok(Err(PickupRefusal::Spent));
    }
    desk.ledger.spend(&terms).await?;
    Ok(Ok(terms))
}

fn admit(desk: &Desk, from: &str, request: &[u8]) -> Result<Result<PickupTerms, PickupRefusal>, LedgerError> {
    let Some(carrier) = registration::account(from, &desk.hosts) else {
        return Ok(Err(PickupRefusal::ForeignHost));
    };
    let (request, pickup) = match read(desk, request) {
        Ok(read) => read,
        Err(error) => return Ok(Err(error.into())),
    };
    let Some(recipient) = account(&pickup.terms.recipient, &desk.hosts) else {
        return Ok(Err(PickupRefusal::ForeignHost));
    };
    let now_s = now_s();
    let owner = desk.ledger.registration(&recipient)?.filter(|registration| registration.may_speak(now_s));
    let Some(owner) = owner else { return Ok(Err(PickupRefusal::NotRegistered)) };
    let max = desk.pick_up.token_bytes;
    Ok(prove(desk, &carrier, &request, &pickup, &owner.key)
        .and_then(|()| in_bounds(&pickup.terms, now_s, max))
        .map(|()| PickupTerms { recipient, ..pickup.terms }))
}

fn read(desk: &Desk, request: &[u8]) -> Result<(PickupRequest, Pickup), PickupError> {
    let request = PickupRequest::parse(request)?;
    let pickup = open_pickup(&request.token, &desk.identity, &desk.domain)?;
    Ok((request, pickup))
}

/// The recipient made the token, and who hands it in is whom it was made out to.
fn prove(
    desk: &Desk,
    carrier: &str,
    request: &PickupRequest,
    pickup: &Pickup,
    owner: &IdentityKey,
) -> Result<(), PickupRefusal> {
    let key = desk.identity.key();
    pickup.verify(&desk.domain, &key, owner)?;
    request.verify(&desk.domain, &key, carrier, &pickup.terms.carrier)?;
    Ok(())
}

fn in_bounds(terms: &PickupTerms, now_s: u64, max: u64) -> Result<(), PickupRefusal> {
    if terms.expires_s <= now_s {
        return Err(PickupRefusal::Expired);
    }
    if terms.expires_s > now_s.saturating_add(PICKUP_LIFETIME_MAX_S + SKEW_S) {
        return Err(PickupRefusal::TooLong);
    }
    if terms.byte_limit > max {
        return Err(PickupRefusal::ByteLimit { asked: terms.byte_limit, max });
    }
    Ok(())
}

fn account(jid: &str, hosts: &BTreeSet<String>) -> Option<String> {
    let jid = BareJid::new(jid).ok().filter(|jid| jid.node().is_some())?;
    hosts.contains(jid.domain().as_str()).then(|| jid.to_string())
}

/// Sends what the token covers. What cannot be sent now stays, for another token.
async fn hand_out(desk: &Desk, to: &str, terms: &PickupTerms) -> Result<PickedUp, LedgerError> {
    let mut done = PickedUp { bundles: 0, bytes: 0, left: 0 };
    // The account's own session gets what was delivered to the account in any case, and need not tell its tags.
    let is_own = is_session_of(to, &terms.recipient);
    for Waiting { key, tag, size } in desk.ledger.held().waiting(&terms.recipient)? {
        if !is_own && !terms.tags.contains(&tag) {
            continue;
        }
        let fits = done.bytes + u64::from(size) <= terms.byte_limit;
        if !fits || usize::try_from(done.bundles).is_ok_and(|sent| sent >= BUNDLES_MAX) {
            done.left += 1;
            continue;
        }
        let Some(bundle) = desk.ledger.held().bundle(&key)? else { continue };
        let id = key.message().to_string();
        match patiently(|| desk.component.hand_out(to, &id, bundle.clone())).await {
            Ok(()) => {
                done.bundles += 1;
                done.bytes += u64::from(size);
            }
            Err(SendError::TooLarge { .. }) => {}
            Err(error) => {
                tracing::info!(%error, "a pick-up was broken off");
                done.left += 1;
            }
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use pigeon_bundle::NodeKey;

    use super::*;

    #[test]
    fn tokens_have_bounds() {
        let terms = |expires_s, byte_limit| PickupTerms {
            recipient: "e@h".to_owned(),
            tags: Vec::new(),
            carrier: NodeKey([1; 32]),
            nonce: [2; 16],
            expires_s,
            byte_limit,
        };
        let now_s = 1_800_000_000;
        let last_s = now_s + PICKUP_LIFETIME_MAX_S + SKEW_S;
        assert_eq!(in_bounds(&terms(now_s + 1, 5), now_s, 5), Ok(()));
        assert_eq!(in_bounds(&terms(last_s, 5), now_s, 5), Ok(()));
        assert_eq!(in_bounds(&terms(now_s, 5), now_s, 5), Err(PickupRefusal::Expired));
        assert_eq!(in_bounds(&terms(last_s + 1, 5), now_s, 5), Err(PickupRefusal::TooLong));
        let over = in_bounds(&terms(last_s, 6), now_s, 5);
        assert_eq!(over, Err(PickupRefusal::ByteLimit { asked: 6, max: 5 }));
        assert_eq!(PickupRefusal::Spent.condition(), Condition::PolicyViolation);
    }
}
