//! How good this node is at getting mail delivered: own counts only, decayed.
//!
//! x is a sum of events, meetings with the recipient and uplink windows, each worth [`WORTH`] and halved every two
//! days. On the wire it is q = 1 − exp(−x): the chance that such an event comes again while the bundle lives.
//! Meetings are known by reachability lists: whoever is met tells all its tags, of today, the past and the coming
//! days, in one list, and a later list that shares tags with it is of the same recipient.

use std::collections::BTreeMap;

use pigeon_bundle::Tag;

use crate::action::{STATE_VALUE_MAX, StoreOp};
use crate::context::Context;
use crate::core::Core;
use crate::event::Now;

/// Half-life of a meeting or an uplink window, in seconds.
pub(crate) const HALF_LIFE_S: u64 = 2 * 86_400;
/// What one meeting or window adds to x.
pub(crate) const WORTH: f64 = 0.5;
/// Recipients whose meetings are counted.
pub(crate) const RECIPIENTS_MAX: usize = 1024;
/// Their tags, all together.
pub(crate) const TAGS_MAX: usize = 32_768;
/// Name of the kept state.
pub(crate) const STATE_KEY: &str = "quality";

const VERSION: u8 = 2;
const TAG_SIZE: usize = 16;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Decayed {
    x: f64,
    at_s: u64,
}

impl Decayed {
    #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
    fn at(self, time_s: u64) -> f64 {
        let passed_s = time_s.saturating_sub(self.at_s);
        self.x * (-(passed_s as f64) / HALF_LIFE_S as f64).exp2()
    }

    fn count(&mut self, time_s: u64) {
        *self = Self { x: self.at(time_s) + 1.0, at_s: time_s.max(self.at_s) };
    }

    fn to_bytes(self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.x.to_bits().to_be_bytes());
        out[8..].copy_from_slice(&self.at_s.to_be_bytes());
        out
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bytes);
        let x = f64::from_bits(u64::try_from(bits >> 64).unwrap_or(0));
        let at_s = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        Self { x: if x.is_finite() && x >= 0.0 { x } else { 0.0 }, at_s }
    }
}

/// One recipient: how often it was met, and the tags it told last.
#[derive(Debug, Clone, Default)]
struct Met {
    times: Decayed,
    tags: Vec<Tag>,
}

/// The node's own counts. Their time base is the wall clock where there is one, else the running time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quality {
    uplink: Decayed,
    met: BTreeMap<u64, Met>,
    by_tag: BTreeMap<Tag, u64>,
    next: u64,
    /// Counted since the last write.
    changed: bool,
}

impl Quality {
    /// The uplink came up: one window.
    pub(crate) fn uplink_window(&mut self, time_s: u64) {
        self.uplink.count(time_s);
        self.changed = true;
    }

    /// A node that can be reached under these tags was met.
    pub(crate) fn met(&mut self, time_s: u64, tags: &[Tag]) {
        if tags.is_empty() {
            return;
        }
        let number = self.known_as(tags).unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.rename(number, tags);
        self.met.entry(number).or_default().times.count(time_s);
        self.changed = true;
        while self.met.len() > RECIPIENTS_MAX || self.by_tag.len() > TAGS_MAX {
            self.forget_weakest(time_s, number);
        }
    }

    /// The recipient that told most of these tags before.
    fn known_as(&self, tags: &[Tag]) -> Option<u64> {
        let mut shared: BTreeMap<u64, usize> = BTreeMap::new();
        for number in tags.iter().filter_map(|tag| self.by_tag.get(tag)) {
            *shared.entry(*number).or_default() += 1;
        }
        shared.into_iter().max_by_key(|(number, count)| (*count, u64::MAX - number)).map(|(number, _)| number)
    }

    /// Its tags are these from now on. What others have told as theirs stays theirs.
    fn rename(&mut self, number: u64, tags: &[Tag]) {
        let met = self.met.entry(number).or_default();
        for tag in met.tags.drain(..) {
            self.by_tag.remove(&tag);
        }
        for tag in tags {
            if !self.by_tag.contains_key(tag) {
                self.by_tag.insert(*tag, number);
                met.tags.push(*tag);
            }
        }
    }

    fn forget_weakest(&mut self, time_s: u64, except: u64) {
        let others = self.met.iter().filter(|(number, _)| **number != except);
        let weakest = others.min_by(|a, b| a.1.times.at(time_s).total_cmp(&b.1.times.at(time_s)));
        let Some(number) = weakest.map(|(number, _)| *number) else { return };
        for tag in self.met.remove(&number).unwrap_or_default().tags {
            self.by_tag.remove(&tag);
        }
    }

    /// Quality towards a recipient; towards anybody (uplink only) where the tag is not known.
    pub(crate) fn towards(&self, time_s: u64, tag: Option<&Tag>) -> u16 {
        let met = tag.and_then(|tag| self.met.get(self.by_tag.get(tag)?));
        let meetings = met.map_or(0.0, |met| met.times.at(time_s));
        on_the_wire(WORTH * (self.uplink.at(time_s) + meetings))
    }

    /// Bytes to keep, when there is something new.
    fn take_changed(&mut self, time_s: u64) -> Option<Vec<u8>> {
        std::mem::take(&mut self.changed).then(|| self.to_bytes(time_s))
    }

    /// The uplink's count, then the recipients, those met most often first, as many as fit.
    fn to_bytes(&self, time_s: u64) -> Vec<u8> {
        let mut met: Vec<&Met> = self.met.values().filter(|met| !met.tags.is_empty()).collect();
        met.sort_by(|a, b| b.times.at(time_s).total_cmp(&a.times.at(time_s)));
        let mut out = vec![VERSION];
        out.extend(self.uplink.to_bytes());
        for met in met {
            let Ok(count) = u16::try_from(met.tags.len()) else { continue };
            if out.len() + 18 + met.tags.len() * TAG_SIZE > STATE_VALUE_MAX {
                break;
            }
            out.extend(met.times.to_bytes());
            out.extend(count.to_be_bytes());
            out.extend(met.tags.iter().flat_map(|tag| tag.0));
        }
        out
    }

    /// What was kept; nothing where it does not read (it is only an estimate).
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut quality = Self::default();
        let Some((&[VERSION], rest)) = bytes.split_first_chunk::<1>() else { return quality };
        let Some((uplink, mut rest)) = rest.split_first_chunk::<16>() else { return quality };
        quality.uplink = Decayed::from_bytes(*uplink);
        while let Some((times, tail)) = rest.split_first_chunk::<16>() {
            let Some((count, tail)) = tail.split_first_chunk::<2>() else { break };
            let size = usize::from(u16::from_be_bytes(*count)) * TAG_SIZE;
            let Some((tags, tail)) = tail.split_at_checked(size) else { break };
            if quality.met.len() == RECIPIENTS_MAX {
                break;
            }
            let tags: Vec<Tag> = tags.as_chunks::<TAG_SIZE>().0.iter().map(|tag| Tag(*tag)).collect();
            quality.next += 1;
            quality.rename(quality.next, &tags);
            quality.met.entry(quality.next).or_default().times = Decayed::from_bytes(*times);
            rest = tail;
        }
        quality
    }
}

impl Core {
    /// Our quality towards the recipient behind a tag, now.
    pub(crate) fn quality_now(&self, cx: &Context<'_>, tag: Option<&Tag>) -> u16 {
        self.quality.towards(time_s(cx.now), tag)
    }

    /// The counts are written with the ledger, now and then.
    pub(crate) fn keep_quality(&mut self, cx: &Context<'_>, ops: &mut Vec<StoreOp>) {
        if let Some(value) = self.quality.take_changed(time_s(cx.now)) {
            ops.push(StoreOp::SetState { key: STATE_KEY.into(), value });
        }
    }
}

/// Seconds for decay: wall time where known. The two bases are never compared: the other one is far away,
/// and decay over a huge or negative time only makes the estimate smaller or keeps it.
pub(crate) fn time_s(now: Now) -> u64 {
    now.wall_s.unwrap_or(now.mono_ms / 1000)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "1 − exp(−x) of a non-negative x is in 0..=1, so the product is in 0..=65535"
)]
fn on_the_wire(x: f64) -> u16 {
    ((1.0 - (-x).exp()) * 65_535.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(n: u16) -> Tag {
        let mut tag = [0; 16];
        tag[..2].copy_from_slice(&n.to_be_bytes());
        Tag(tag)
    }

    #[test]
    fn half_is_gone_after_two_days() {
        let mut quality = Quality::default();
        assert_eq!(quality.towards(0, None), 0);
        quality.uplink_window(1000);
        assert_eq!(quality.towards(1000, None), on_the_wire(WORTH));
        assert_eq!(quality.towards(1000 + HALF_LIFE_S, None), on_the_wire(WORTH / 2.0));
        assert!(quality.towards(0, None) >= on_the_wire(WORTH), "a clock that went back takes nothing away");
        assert_eq!(on_the_wire(1e9), u16::MAX);
    }

    #[test]
    fn a_list_is_one_meeting_and_the_next_list_goes_on_counting() {
        let mut quality = Quality::default();
        quality.met(5, &[tag(7), tag(8), tag(9)]);
        assert_eq!(quality.towards(5, Some(&tag(7))), on_the_wire(WORTH));
        quality.met(5, &[tag(8), tag(9), tag(10)]);
        assert_eq!(
            quality.towards(5, Some(&tag(10))),
            on_the_wire(2.0 * WORTH),
            "a day later: the same recipient"
        );
        assert_eq!(quality.towards(5, Some(&tag(7))), 0, "it does not listen to that tag any more");
        assert_eq!(quality.towards(5, Some(&tag(1))), 0);
    }

    #[test]
    fn whoever_tells_tags_of_two_recipients_does_not_make_them_one() {
        let mut quality = Quality::default();
        quality.met(5, &[tag(1), tag(2)]);
        quality.met(5, &[tag(3), tag(4)]);
        quality.met(5, &[tag(1), tag(3), tag(4), tag(5)]);
        assert_eq!(quality.towards(5, Some(&tag(2))), on_the_wire(WORTH));
        assert_eq!(quality.towards(5, Some(&tag(1))), on_the_wire(WORTH), "it stays with who told it first");
        assert_eq!(quality.towards(5, Some(&tag(5))), on_the_wire(2.0 * WORTH));
    }

    #[test]
    fn the_table_is_bounded_and_what_counts_most_is_kept() {
        let mut quality = Quality::default();
        quality.met(5, &[tag(7)]);
        quality.met(5, &[tag(7)]);
        for n in 100..100 + u16::try_from(RECIPIENTS_MAX).unwrap_or(0) {
            quality.met(6, &[tag(n)]);
        }
        assert_eq!((quality.met.len(), quality.by_tag.len()), (RECIPIENTS_MAX, RECIPIENTS_MAX));
        assert_eq!(quality.towards(5, Some(&tag(7))), on_the_wire(2.0 * WORTH), "the strongest stays");
        quality.uplink_window(6);
        let kept = quality.take_changed(6).unwrap_or_default();
        assert!(kept.len() <= STATE_VALUE_MAX);
        assert_eq!(quality.take_changed(6), None, "nothing new");
        let read = Quality::from_bytes(&kept);
        for known in [tag(7), tag(1), tag(120)] {
            assert_eq!(read.towards(6, Some(&known)), quality.towards(6, Some(&known)));
        }
    }

    #[test]
    fn damaged_state_is_no_quality() {
        assert_eq!(Quality::from_bytes(&[]).towards(0, None), 0);
        assert_eq!(Quality::from_bytes(&[9; 40]).towards(0, None), 0);
        let mut nan = vec![VERSION];
        nan.extend([0xff; 16]);
        assert_eq!(Quality::from_bytes(&nan).towards(0, None), 0);
        nan.extend([0xff; 30]);
        assert!(Quality::from_bytes(&nan).met.is_empty(), "cut in the middle of a list");
    }
}
