//! Which accounts are there: a name without an account speaks for nobody, and mail for it would vanish.
//!
//! A server tells neither the bridge nor the author when a message has no recipient, and it does not say when an
//! account goes and its name is given to somebody else. So the server is asked before a name is used, and again when
//! the answer is old.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pigeon_xmpp::ComponentHandle;

/// So soon after the start no account is gone before the server has said so again. ejabberd 23.01 was seen to send the
/// question back while it took leave of the killed bridge's connection, and to end the new one half a second later.
const SETTLING: Duration = Duration::from_secs(5);
/// Until the server is asked a second time before a key is forgotten for good.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Most accounts whose answers are remembered.
const ACCOUNTS_MAX: usize = 65_536;

/// Accounts that were there when the server was asked last.
#[derive(Debug)]
pub struct Accounts {
    /// How long an answer holds.
    good_for: Duration,
    settled: tokio::time::Instant,
    seen: Mutex<BTreeMap<String, Instant>>,
}

impl Accounts {
    /// Asks again after `good_for`.
    #[must_use]
    pub fn new(good_for: Duration) -> Self {
        Self { good_for, settled: tokio::time::Instant::now() + SETTLING, seen: Mutex::default() }
    }

    /// Whether the account is gone, as far as the server says. Where it cannot be asked, accounts are there.
    pub async fn is_gone(&self, component: &ComponentHandle, account: &str) -> bool {
        if self.is_known(account, Instant::now()) {
            return false;
        }
        let mut there = component.account_exists(account).await;
        if there == Some(false) && tokio::time::Instant::now() < self.settled {
            tokio::time::sleep_until(self.settled).await;
            there = component.account_exists(account).await;
        }
        match there {
            Some(true) => self.note(account, Instant::now()),
            Some(false) => return true,
            None => {}
        }
        false
    }

    /// The same, and the server says so twice: a key is forgotten for good.
    pub async fn is_surely_gone(&self, component: &ComponentHandle, account: &str) -> bool {
        if !self.is_gone(component, account).await {
            return false;
        }
        tokio::time::sleep(ASK_AGAIN).await;
        self.is_gone(component, account).await
    }

    /// Whether the account was there when the server was asked last, and that is not long ago.
    pub fn is_known(&self, account: &str, now: Instant) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(account).is_some_and(|at| now.saturating_duration_since(*at) < self.good_for)
    }

    fn note(&self, account: &str, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ACCOUNTS_MAX {
            seen.retain(|_, at| now.saturating_duration_since(*at) < self.good_for);
        }
        // What finds no room is asked about again.
        if seen.len() < ACCOUNTS_MAX {
            seen.insert(account.to_owned(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_grows_old_and_their_number_is_bounded() {
        let accounts = Accounts::new(Duration::from_secs(60));
        let start = Instant::now();
        for n in 0..=ACCOUNTS_MAX {
            accounts.note(&n.to_string(), start);
        }
        assert!(accounts.is_known("0", start + Duration::from_secs(59)));
        assert!(!accounts.is_known("0", start + Duration::from_secs(60)));
        assert!(!accounts.is_known(&ACCOUNTS_MAX.to_string(), start));
        accounts.note("new", start + Duration::from_secs(60));
        assert!(accounts.is_known("new", start + Duration::from_secs(61)));
    }
}
