//! Messages whose fate is found out later than their upload: not settled when a connection ended, or returned after they
//! were accepted.

use bytes::Bytes;
use pigeon_bundle::{Verdict, VerdictCode};

use super::desk::{Desk, now_s};
use super::flights::{Claim, Returned};
use super::judge::Order;
use super::ledger::{Books, LedgerError};
use super::record::{LedgerKey, Record, State};

/// A message that was accepted came back: from now on it is refused, and its author learns of it.
///
/// # Errors
/// [`LedgerError`].
pub async fn returned(desk: &Desk, key: &LedgerKey, what: Returned) -> Result<(), LedgerError> {
    let Some(record) = desk.ledger.record(key)? else { return Ok(()) };
    if !record.state.is_accepted() {
        return Ok(());
    }
    let code = match what {
        Returned::Refused(code) => code,
        Returned::NotAllowed => VerdictCode::Policy,
    };
    let time_s = now_s();
    let record = Record { state: State::Decided { code, time_s }, ..record };
    desk.ledger.decide(key, &record).await?;
    desk.audit(&record.bundle, &key.message(), code, "returned by the server after it was accepted");
    let verdict = Verdict { bundle: record.bundle, message: key.message(), code, time_s };
    desk.verdict(&record.author, &verdict, None).await;
    Ok(())
}

/// The order for a message that this bridge has accepted and the server may have lost, unless its arrival is known.
///
/// # Errors
/// [`LedgerError`]; it is tried again later.
pub fn repeat(desk: &Desk, key: &LedgerKey) -> Result<Option<Order>, LedgerError> {
    if desk.flights.claim_lost(key) == Claim::Joined {
        return Ok(None);
    }
    let order = lost(desk, key);
    match &order {
        Ok(Some(_)) => {}
        // What is in the queue is decided there: by `reopen`.
        Ok(None) => drop(desk.flights.land(key)),
        Err(_) => desk.flights.stall(key),
    }
    order
}

fn lost(desk: &Desk, key: &LedgerKey) -> Result<Option<Order>, LedgerError> {
    let Some(record) = desk.ledger.record(key)? else { return Ok(None) };
    let judge = desk.judge();
    if record.expires_s <= judge.now_s || desk.ledger.revealed(&record.commitment)?.is_some() {
        return Ok(None);
    }
    let bytes = desk.ledger.bundle(key)?;
    Ok(bytes.and_then(|bytes| judge.again(bytes, key, &record)))
}

/// The order for a message in the queue, if it is nobody else's, is in doubt, has not arrived, and can still be delivered.
///
/// # Errors
/// [`LedgerError`].
pub async fn reopen(desk: &Desk, key: &LedgerKey, bytes: Bytes) -> Result<Option<Order>, LedgerError> {
    let Some(record) = desk.ledger.record(key)? else { return Ok(None) };
    if record.state.is_accepted() && !desk.flights.contains(key) {
        // By a bridge that was killed within the second after: it is the server's now.
        desk.ledger.settle(&[*key]).await?;
    }
    if record.state != State::InDoubt {
        return Ok(None);
    }
    let has_arrived = desk.ledger.revealed(&record.commitment)?.is_some();
    let judge = desk.judge();
    let code = match judge.again(bytes, key, &record) {
        Some(order) => {
            if desk.flights.claim(&order, None) == Claim::Joined {
                return Ok(None);
            }
            // Between the look into the ledger and the claim it may have been decided: look again.
            let still = in_doubt(desk, key);
            if !matches!(still, Ok(true)) {
                desk.flights.land(key);
                return still.map(|_| None);
            }
            if has_arrived {
                VerdictCode::Accepted
            } else if record.expires_s > judge.now_s {
                return Ok(Some(order));
            } else {
                VerdictCode::Expired
            }
        }
        None => VerdictCode::RouteDoesNotOpen,
    };
    let time_s = now_s();
    let record = Record { state: State::Decided { code, time_s }, ..record };
    if let Err(error) = desk.ledger.decide(key, &record).await {
        // Later, by whoever comes to it.
        desk.flights.stall(key);
        return Err(error);
    }
    let reason = if code.is_accepted() { "has arrived" } else { "was in doubt and cannot be sent any more" };
    desk.audit(&record.bundle, &key.message(), code, reason);
    let verdict = Verdict { bundle: record.bundle, message: key.message(), code, time_s };
    let (waiters, _) = desk.flights.land(key);
    for waiter in waiters {
        desk.verdict(&waiter.to, &Verdict { bundle: waiter.bundle, ..verdict }, None).await;
    }
    desk.verdict(&record.author, &verdict, None).await;
    Ok(None)
}

fn in_doubt(desk: &Desk, key: &LedgerKey) -> Result<bool, LedgerError> {
    Ok(desk.ledger.record(key)?.is_some_and(|record| record.state == State::InDoubt))
}
