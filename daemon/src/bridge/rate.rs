//! How much one account may ask for.

use std::collections::BTreeMap;
use std::time::Instant;

/// Most accounts that are counted at once.
const ACCOUNTS_MAX: usize = 16_384;
/// An idle account may use this many minutes' worth at once.
const BURST_MIN: u32 = 10;

/// A token bucket for each account.
#[derive(Debug)]
pub struct Rate {
    per_minute: f64,
    accounts: BTreeMap<String, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// Lets every account have `per_minute` on average.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: f64::from(per_minute), accounts: BTreeMap::new() }
    }

    /// Whether the account of the session `from` may ask once more.
    pub fn allow(&mut self, from: &str, now: Instant) -> bool {
        let account = from.split('/').next().unwrap_or(from);
        let full = self.per_minute * f64::from(BURST_MIN);
        if !self.accounts.contains_key(account) {
            if self.accounts.len() >= ACCOUNTS_MAX {
                let per_minute = self.per_minute;
                self.accounts.retain(|_, bucket| bucket.filled(now, per_minute, full) < full);
            }
            if self.accounts.len() >= ACCOUNTS_MAX {
                return false;
            }
        }
        let bucket = self.accounts.entry(account.to_owned()).or_insert(Bucket { tokens: full, at: now });
        bucket.tokens = bucket.filled(now, self.per_minute, full);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

impl Bucket {
    fn filled(&self, now: Instant, per_minute: f64, full: f64) -> f64 {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / 60.0;
        (self.tokens + minutes * per_minute).min(full)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_the_average_and_each_account_for_itself() {
        let start = Instant::now();
        let mut rate = Rate::new(6);
        let used = (0..100).filter(|_| rate.allow("a@h/phone", start)).count();
        assert_eq!(used, 60);
        assert!(!rate.allow("a@h/laptop", start));
        assert!(rate.allow("b@h/x", start));
        let later = start + Duration::from_secs(10);
        assert!(rate.allow("a@h", later) && !rate.allow("a@h", later));
    }

    #[test]
    fn the_number_of_accounts_is_bounded_and_idle_ones_make_room() {
        let start = Instant::now();
        let mut rate = Rate::new(1);
        for n in 0..ACCOUNTS_MAX {
            assert!(rate.allow(&format!("{n}@h"), start));
        }
        assert!(!rate.allow("new@h", start));
        assert!(rate.allow("1@h", start));
        assert!(rate.allow("new@h", start + Duration::from_secs(60)));
    }
}
