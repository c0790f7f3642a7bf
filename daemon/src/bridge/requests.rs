//! What sessions ask beside uploads: to be registered, and to have it known that messages have arrived.

use pigeon_bundle::{Card, Commitment, Reveal};
use pigeon_xmpp::{Condition, IqAnswer, IqToken, KeyNotice};

use super::answers::{Refused, answer_with};
use super::desk::{Desk, now_s, patiently};
use super::ledger::{Books, LedgerError};
use super::metrics::count;
use super::record::{Registration, Successor};
use super::registration::{self, RegistrationError, Request, Terms};

/// Accounts looked after in one go.
const SWEEP_PAGE: usize = 256;
/// Why the key of an account is forgotten.
pub const GONE: &str = "the account is gone";

/// Registers the key on a session's card, or says why not.
///
/// # Errors
/// [`LedgerError`]; the session has been told to try again.
pub async fn register(
    desk: &Desk,
    from: &str,
    card: &[u8],
    handover: Option<&[u8]>,
    iq: IqToken,
) -> Result<(), LedgerError> {
    let outcome = registered(desk, from, card, handover).await;
    match &outcome {
        Ok(Ok(until_s)) => {
            count(&desk.metrics.registrations);
            tracing::info!(target: "pigeon_bridge::audit", until_s, "key registered");
        }
        Ok(Err(refused)) => {
            tracing::info!(target: "pigeon_bridge::audit", condition = refused.condition().name(), "key refused");
        }
        Err(_) => {}
    }
    answer_with(desk, iq, outcome, IqAnswer::Registered).await
}

async fn registered(
    desk: &Desk,
    from: &str,
    card: &[u8],
    handover: Option<&[u8]>,
) -> Result<Result<u64, RegistrationError>, LedgerError> {
    let Some(account) = registration::account(from, &desk.hosts) else {
        return Ok(Err(RegistrationError::ForeignHost));
    };
    let card = match Card::parse(card) {
        Ok(card) => card,
        Err(error) => return Ok(Err(error.into())),
    };
    let held = desk.ledger.registration(&account)?;
    let request = Request {
        account: &account,
        card: &card,
        handover: handover.and_then(|signature| signature.try_into().ok()),
    };
    let terms = Terms {
        domain: &desk.domain,
        now_s: now_s(),
        lifetime_s: desk.registration_s,
        notice_s: desk.notice_s,
    };
    let decision = match registration::decide(held.as_ref(), &request, &terms) {
        Ok(decision) => decision,
        Err(refused) => return Ok(Err(refused)),
    };
    if held.as_ref() != Some(&decision.keep) {
        desk.ledger.register(&account, held.as_ref(), &decision.keep).await?;
    }
    if let Some(successor) = decision.keep.successor.filter(|_| decision.is_notice) {
        give_notice(desk, &account, successor).await;
    }
    Ok(decision.answer)
}

/// All of the account's clients hear that another key has asked. The notice is for people: one that cannot be sent now
/// changes nothing about its date, which the ledger has.
async fn give_notice(desk: &Desk, account: &str, successor: Successor) {
    let days = desk.notice_s.div_ceil(86_400);
    let text = format!(
        "A device with another CarrierPigeon key wants to send as {account}. It may do so in {days} days, unless the \
         device that does so now connects before. If this is not your doing, change your password now."
    );
    let notice = KeyNotice { key: successor.key.0, due_s: successor.due_s };
    tracing::info!(target: "pigeon_bridge::audit", due_s = successor.due_s, "another key has given notice");
    if let Err(error) = patiently(|| desk.component.notice(account, &text, notice)).await {
        tracing::warn!(%error, "a notice was not sent");
    }
}

/// Takes the right to speak from the key of a session's account, at once.
///
/// # Errors
/// [`LedgerError`]; the session has been told to try again.
pub async fn revoke(desk: &Desk, from: &str, iq: IqToken) -> Result<(), LedgerError> {
    let outcome = revoked(desk, from).await.map(|done| done.then_some(()).ok_or(NoKey));
    answer_with(desk, iq, outcome, |()| IqAnswer::Done).await
}

async fn revoked(desk: &Desk, from: &str) -> Result<bool, LedgerError> {
    let Some(account) = registration::account(from, &desk.hosts) else { return Ok(false) };
    let Some(held) = desk.ledger.registration(&account)? else { return Ok(false) };
    let revoked = Registration { is_revoked: true, successor: None, ..held.clone() };
    desk.ledger.register(&account, Some(&held), &revoked).await?;
    tracing::info!(target: "pigeon_bridge::audit", "key revoked");
    Ok(true)
}

/// Forgets the key of an account, if it has one: the account is gone, or the operator says so. Says whether it had.
///
/// # Errors
/// [`LedgerError`].
pub async fn forget(desk: &Desk, account: &str, why: &'static str) -> Result<bool, LedgerError> {
    let Some(held) = desk.ledger.registration(account)? else { return Ok(false) };
    desk.ledger.unregister(account, &held).await?;
    tracing::info!(target: "pigeon_bridge::audit", why, "key forgotten");
    Ok(true)
}

/// Forgets the keys of accounts that are not there any more.
///
/// # Errors
/// [`LedgerError`].
pub async fn sweep(desk: &Desk) -> Result<(), LedgerError> {
    let mut after: Option<String> = None;
    loop {
        let page = desk.ledger.registered(after.as_deref(), SWEEP_PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for account in &page {
            if desk.is_gone(account).await {
                forget(desk, account, GONE).await?;
            }
        }
    }
}

/// Keeps the reveals of messages that this session wrote or received. The answer says nothing about the others.
///
/// # Errors
/// [`LedgerError`]; the session has been told to try again.
pub async fn reveal(desk: &Desk, from: &str, reveals: Vec<[u8; 32]>, iq: IqToken) -> Result<(), LedgerError> {
    let outcome = keep_reveals(desk, from, reveals).await.map(Ok::<(), NoKey>);
    answer_with(desk, iq, outcome, |()| IqAnswer::Done).await
}

async fn keep_reveals(desk: &Desk, from: &str, reveals: Vec<[u8; 32]>) -> Result<(), LedgerError> {
    let Some(account) = registration::account(from, &desk.hosts) else { return Ok(()) };
    let mut kept = Vec::new();
    for reveal in reveals.into_iter().map(Reveal) {
        if may_reveal(desk, &account, &reveal.commitment())? {
            kept.push(reveal);
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    tracing::info!(target: "pigeon_bridge::audit", messages = kept.len(), "messages known to have arrived");
    desk.ledger.reveal(&kept).await
}

fn may_reveal(desk: &Desk, account: &str, commitment: &Commitment) -> Result<bool, LedgerError> {
    let records = desk.ledger.with_commitment(commitment)?;
    Ok(records.iter().any(|(_, record)| record.author == account || record.recipient == account))
}

/// Nothing to revoke.
#[derive(Debug, thiserror::Error)]
#[error("no key is registered for your account")]
struct NoKey;

impl Refused for NoKey {
    fn condition(&self) -> Condition {
        Condition::ItemNotFound
    }
}
