//! Messages whose fate is found out later than their upload: in doubt at a start, or returned after they were accepted.

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
    let accepted = matches!(record.state, State::Decided { code, .. } if code.is_accepted());
    if !accepted {
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

/// The order for a message in doubt, if it is nobody else's and can still be delivered.
///
/// # Errors
/// [`LedgerError`].
pub async fn reopen(desk: &Desk, key: &LedgerKey, bytes: Bytes) -> Result<Option<Order>, LedgerError> {
    let Some(record) = in_doubt(desk, key)? else { return Ok(None) };
    let judge = desk.judge();
    let code = match judge.again(bytes, key, &record) {
        Some(order) => {
            if desk.flights.claim(&order, None) == Claim::Joined {
                return Ok(None);
            }
            // Between the look into the ledger and the claim it may have been settled: look again.
            let still = in_doubt(desk, key);
            if !matches!(still, Ok(Some(_))) {
                desk.flights.land(key);
                return still.map(|_| None);
            }
            if record.expires_s > judge.now_s {
                return Ok(Some(order));
            }
            VerdictCode::Expired
        }
        None => VerdictCode::RouteDoesNotOpen,
    };
    let time_s = now_s();
    let record = Record { state: State::Decided { code, time_s }, ..record };
    desk.ledger.decide(key, &record).await?;
    desk.audit(&record.bundle, &key.message(), code, "was in doubt and cannot be sent any more");
    let verdict = Verdict { bundle: record.bundle, message: key.message(), code, time_s };
    let (waiters, _) = desk.flights.land(key);
    for waiter in waiters {
        desk.verdict(&waiter.to, &Verdict { bundle: waiter.bundle, ..verdict }, None).await;
    }
    desk.verdict(&record.author, &verdict, None).await;
    Ok(None)
}

fn in_doubt(desk: &Desk, key: &LedgerKey) -> Result<Option<Record>, LedgerError> {
    Ok(desk.ledger.record(key)?.filter(|record| record.state == State::InDoubt))
}
