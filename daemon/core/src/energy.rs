//! How much the transports look for neighbours, which is what a radio's battery goes for.
//!
//! | when | looks for |
//! | --- | --- |
//! | the battery is nearly empty and nothing charges it | nothing |
//! | just started, or a neighbour was just met | nearly all the time |
//! | there is new mail that does not go up over an uplink | nearly all the time |
//! | the uplink is up | 5 s of 5 minutes |
//! | mail is held | 5 s of 30 |
//! | else | 5 s of 2 minutes |
//!
//! Nodes announce themselves and can be dialled whenever discovery is not off, so one side that looks is enough.

use crate::action::Action;
use crate::context::Context;
use crate::core::Core;
use crate::trouble::Flow;

/// New mail is looked after this eagerly for so long, in milliseconds; after that it waits with the rest.
pub const NEWS_MS: u64 = 10 * 60_000;
/// After a meeting (and after a start) more neighbours are likely: people come in groups.
pub const MET_MS: u64 = 2 * 60_000;
/// The pace is looked at again at least this often.
const CHECK_MS: u64 = 60_000;

/// When to look: for `window_ms` at the beginning of each `period_ms`. Discovery is off where `window_ms` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windows {
    /// Milliseconds; at most `period_ms`.
    pub window_ms: u64,
    /// Milliseconds from one beginning to the next.
    pub period_ms: u64,
}

impl Windows {
    /// Nothing is looked for.
    pub const OFF: Self = Self { window_ms: 0, period_ms: CHECK_MS };
    /// Mail to hand over, or company.
    pub const EAGER: Self = Self { window_ms: 10_000, period_ms: 12_000 };
    /// Mail that has waited for a while.
    pub const STEADY: Self = Self { window_ms: 5_000, period_ms: 30_000 };
    /// Nothing to hand over.
    pub const SPARSE: Self = Self { window_ms: 5_000, period_ms: 120_000 };
    /// The uplink carries what there is.
    pub const RARE: Self = Self { window_ms: 5_000, period_ms: 300_000 };

    /// Whether discovery is off.
    pub fn is_off(self) -> bool {
        self.window_ms == 0
    }

    /// Milliseconds of looking in so much time.
    fn looked_ms(self, passed_ms: u64) -> u64 {
        let whole = passed_ms / self.period_ms * self.window_ms;
        whole + (passed_ms % self.period_ms).min(self.window_ms)
    }
}

/// The battery, as the platform tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Battery {
    /// 0 to 100.
    pub percent: u8,
    /// Something charges it, or feeds the machine in its place.
    pub charging: bool,
}

/// What decides the pace, and what it has cost.
#[derive(Debug, Default)]
pub(crate) struct Energy {
    battery: Option<Battery>,
    news_until_ms: u64,
    /// The same for mail that no uplink takes.
    local_news_until_ms: u64,
    met_until_ms: u64,
    due_ms: Option<u64>,
    now: Option<Windows>,
    since_ms: u64,
    looked_ms: u64,
}

impl Energy {
    /// The node has started.
    pub(crate) fn start(&mut self, now_ms: u64) {
        self.met(now_ms);
    }

    /// A link came up or went down.
    pub(crate) fn met(&mut self, now_ms: u64) {
        self.met_until_ms = now_ms + MET_MS;
        self.look_again(now_ms);
    }

    /// There is new mail to hand over.
    pub(crate) fn news(&mut self, now_ms: u64, has_uplink: bool) {
        self.news_until_ms = now_ms + NEWS_MS;
        if !has_uplink {
            self.local_news_until_ms = now_ms + NEWS_MS;
        }
        self.look_again(now_ms);
    }

    pub(crate) fn set_battery(&mut self, now_ms: u64, battery: Option<Battery>) {
        self.battery = battery;
        self.look_again(now_ms);
    }

    /// Something has changed that decides the pace.
    pub(crate) fn look_again(&mut self, now_ms: u64) {
        self.due_ms = Some(now_ms);
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.due_ms
    }

    fn pace(&self, now_ms: u64, battery_min_percent: u8, uplink: bool, holds_mail: bool) -> Windows {
        let empty =
            self.battery.is_some_and(|battery| battery.percent < battery_min_percent && !battery.charging);
        let news_until_ms = if uplink { self.local_news_until_ms } else { self.news_until_ms };
        if empty {
            Windows::OFF
        } else if now_ms < self.met_until_ms || now_ms < news_until_ms {
            Windows::EAGER
        } else if uplink {
            Windows::RARE
        } else if holds_mail {
            Windows::STEADY
        } else {
            Windows::SPARSE
        }
    }

    /// Milliseconds spent looking so far.
    pub(crate) fn looked_ms(&self, now_ms: u64) -> u64 {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        self.looked_ms + self.now.map_or(0, |windows| windows.looked_ms(passed_ms))
    }

    /// The new pace, if it differs.
    fn set(&mut self, now_ms: u64, windows: Windows) -> bool {
        if self.now == Some(windows) {
            return false;
        }
        self.looked_ms = self.looked_ms(now_ms);
        self.since_ms = now_ms;
        self.now = Some(windows);
        true
    }
}

impl Core {
    /// Decides how much is looked for, if it is time to.
    pub(crate) fn pace_discovery(&mut self, cx: &mut Context<'_>) -> Flow {
        let now_ms = cx.now.mono_ms;
        if self.energy.due_ms.is_none_or(|due_ms| now_ms < due_ms) {
            return Ok(());
        }
        self.energy.due_ms = Some(now_ms + CHECK_MS);
        let holds_mail = cx.catalog.usage()?.bundles() > 0;
        let (least, uplink) = (self.config.battery_min_percent, self.uplink.is_up());
        let windows = self.energy.pace(now_ms, least, uplink, holds_mail);
        if self.energy.set(now_ms, windows) {
            cx.out.push(Action::Discover(windows));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_and_company_make_eager_and_an_empty_battery_stops() {
        let mut energy = Energy::default();
        let pace = |energy: &Energy, now_ms, uplink| energy.pace(now_ms, 15, uplink, true);
        energy.start(0);
        assert_eq!(pace(&energy, MET_MS - 1, false), Windows::EAGER);
        assert_eq!(pace(&energy, MET_MS, false), Windows::STEADY);
        assert_eq!(energy.pace(MET_MS, 15, false, false), Windows::SPARSE);
        assert_eq!(pace(&energy, MET_MS, true), Windows::RARE);
        energy.news(MET_MS, true);
        assert_eq!(pace(&energy, MET_MS, false), Windows::EAGER);
        assert_eq!(pace(&energy, MET_MS, true), Windows::RARE, "it goes up");
        energy.news(MET_MS, false);
        assert_eq!(pace(&energy, MET_MS, true), Windows::EAGER, "this one does not");
        energy.set_battery(0, Some(Battery { percent: 14, charging: false }));
        assert_eq!(pace(&energy, 0, false), Windows::OFF);
        energy.set_battery(0, Some(Battery { percent: 14, charging: true }));
        assert_eq!(pace(&energy, 0, false), Windows::EAGER);
        energy.set_battery(0, Some(Battery { percent: 15, charging: false }));
        assert_eq!(pace(&energy, 0, false), Windows::EAGER);
    }

    #[test]
    fn the_time_spent_looking_is_counted() {
        let mut energy = Energy::default();
        assert!(energy.set(0, Windows::STEADY) && !energy.set(10, Windows::STEADY));
        assert_eq!(energy.looked_ms(3_000), 3_000);
        assert_eq!(energy.looked_ms(30_000), 5_000);
        assert!(energy.set(61_000, Windows::OFF));
        assert_eq!(energy.looked_ms(1_000_000), 11_000);
    }
}
