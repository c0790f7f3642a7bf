//! Which accounts are there: a name without an account speaks for nobody, and mail for it would vanish.
//!
//! A server tells neither the bridge nor the author when a message has no recipient, and it does not say when an
//! account goes and its name is given to somebody else. So the server is asked before a name is used, and again when
//! the answer is old.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pigeon_xmpp::ComponentHandle;

/// Most accounts whose answers are remembered.
const ACCOUNTS_MAX: usize = 65_536;

/// Accounts that were there when the server was asked last.
#[derive(Debug)]
pub struct Accounts {
    /// How long an answer holds.
    good_for: Duration,
    seen: Mutex<BTreeMap<String, Instant>>,
}

impl Accounts {
    /// Asks again after `good_for`.
    #[must_use]
    pub fn new(good_for: Duration) -> Self {
        Self { good_for, seen: Mutex::default() }
    }

    /// Whether the account is gone, as far as the server says; `None` where it cannot be asked.
    pub async fn is_gone(&self, component: &ComponentHandle, account: &str) -> Option<bool> {
        if self.is_known(account, Instant::now()) {
            return Some(false);
        }
        let there = component.account_exists(account).await?;
        if there {
            self.note(account, Instant::now());
        }
        Some(!there)
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
