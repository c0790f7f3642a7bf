//! What sessions ask beside uploads: to be registered, and to have it known that messages have arrived.

use pigeon_bundle::{Card, Commitment, Reveal};
use pigeon_xmpp::{Condition, IqAnswer, IqToken};

use super::desk::{Desk, now_s};
use super::ledger::{Books, LedgerError};
use super::registration::{self, RegistrationError};

/// Registers the key on a session's card, or says why not.
///
/// # Errors
/// [`LedgerError`]; the session has been told to try again.
pub async fn register(desk: &Desk, from: &str, card: &[u8], iq: IqToken) -> Result<(), LedgerError> {
    let answer = match registered(desk, from, card).await {
        Ok(Ok(until_s)) => {
            tracing::info!(target: "pigeon_bridge::audit", until_s, "key registered");
            IqAnswer::Registered(until_s)
        }
        Ok(Err(refused)) => {
            tracing::info!(target: "pigeon_bridge::audit", condition = refused.condition().name(), "key refused");
            IqAnswer::Error { condition: refused.condition(), text: refused.to_string() }
        }
        Err(error) => {
            answer_iq(desk, iq, failed()).await;
            return Err(error);
        }
    };
    answer_iq(desk, iq, answer).await;
    Ok(())
}

async fn registered(
    desk: &Desk,
    from: &str,
    card: &[u8],
) -> Result<Result<u64, RegistrationError>, LedgerError> {
    let Some(account) = registration::account(from, &desk.hosts) else {
        return Ok(Err(RegistrationError::ForeignHost));
    };
    let card = match Card::parse(card) {
        Ok(card) => card,
        Err(error) => return Ok(Err(error.into())),
    };
    let held = desk.ledger.registration(&account)?;
    let decided = registration::decide(held.as_ref(), &account, &card, now_s(), desk.registration_s);
    let registration = match decided {
        Ok(registration) => registration,
        Err(refused) => return Ok(Err(refused)),
    };
    if held.as_ref() != Some(&registration) {
        desk.ledger.register(&account, held.as_ref(), &registration).await?;
    }
    Ok(Ok(registration.until_s))
}

/// Keeps the reveals of messages that this session wrote or received. The answer says nothing about the others.
///
/// # Errors
/// [`LedgerError`]; the session has been told to try again.
pub async fn reveal(desk: &Desk, from: &str, reveals: Vec<[u8; 32]>, iq: IqToken) -> Result<(), LedgerError> {
    let outcome = keep_reveals(desk, from, reveals).await;
    answer_iq(desk, iq, if outcome.is_ok() { IqAnswer::Done } else { failed() }).await;
    outcome
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

/// Answers an IQ; without a connection the asker asks again.
pub(super) async fn answer_iq(desk: &Desk, iq: IqToken, answer: IqAnswer) {
    if let Err(error) = desk.component.answer(iq, answer).await {
        tracing::debug!(%error, "an answer was not sent");
    }
}

/// The ledger could not be used.
pub(super) fn failed() -> IqAnswer {
    IqAnswer::Error {
        condition: Condition::InternalServerError,
        text: "the bridge cannot write to its ledger; try again later".to_owned(),
    }
}
