//! How good this node is at getting mail delivered: own counts only, decayed.
//!
//! x is a sum of events, each worth 1 and halved every two days; on the wire it is q = 1 − exp(−x).

use std::collections::BTreeMap;

use pigeon_bundle::Tag;

use crate::event::Now;

/// Half-life of a meeting or an uplink window, in seconds.
pub(crate) const HALF_LIFE_S: u64 = 2 * 86_400;
/// Recipients whose meetings are counted.
pub(crate) const RECIPIENTS_MAX: usize = 1024;
/// Name of the kept state.
pub(crate) const STATE_KEY: &str = "quality";

const VERSION: u8 = 1;
const RECORD_SIZE: usize = 16 + 16;

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

/// The node's own counts. Their time base is the wall clock where there is one, else the running time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Quality {
    uplink: Decayed,
    meetings: BTreeMap<Tag, Decayed>,
}

impl Quality {
    /// The uplink came up: one window.
    pub(crate) fn uplink_window(&mut self, time_s: u64) {
        self.uplink.count(time_s);
    }

    /// A node that can be reached under these tags was met.
    pub(crate) fn met(&mut self, time_s: u64, tags: &[Tag]) {
        for tag in tags {
            if self.meetings.len() >= RECIPIENTS_MAX && !self.meetings.contains_key(tag) {
                self.forget_weakest(time_s);
            }
            self.meetings.entry(*tag).or_default().count(time_s);
        }
    }

    fn forget_weakest(&mut self, time_s: u64) {
        let weakest = self
            .meetings
            .iter()
            .min_by(|a, b| a.1.at(time_s).total_cmp(&b.1.at(time_s)))
            .map(|(tag, _)| *tag);
        if let Some(tag) = weakest {
            self.meetings.remove(&tag);
        }
    }

    /// Quality towards a recipient; towards anybody (uplink only) where the tag is not known.
    pub(crate) fn towards(&self, time_s: u64, tag: Option<&Tag>) -> u16 {
        let meetings = tag.and_then(|tag| self.meetings.get(tag)).map_or(0.0, |met| met.at(time_s));
        on_the_wire(self.uplink.at(time_s) + meetings)
    }

    /// Bytes to keep.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.uplink.to_bytes());
        for (tag, met) in &self.meetings {
            out.extend(tag.0);
            out.extend(met.to_bytes());
        }
        out
    }

    /// What was kept; nothing where it does not read (it is only an estimate).
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let Some((&[VERSION], rest)) = bytes.split_first_chunk::<1>() else { return Self::default() };
        let Some((uplink, rest)) = rest.split_first_chunk::<16>() else { return Self::default() };
        let (records, _) = rest.as_chunks::<RECORD_SIZE>();
        let meetings = records.iter().take(RECIPIENTS_MAX).filter_map(|record| {
            let (tag, met) = record.split_first_chunk::<16>()?;
            Some((Tag(*tag), Decayed::from_bytes(met.try_into().ok()?)))
        });
        Self { uplink: Decayed::from_bytes(*uplink), meetings: meetings.collect() }
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

    #[test]
    fn half_is_gone_after_two_days() {
        let mut quality = Quality::default();
        assert_eq!(quality.towards(0, None), 0);
        quality.uplink_window(1000);
        assert_eq!(quality.towards(1000, None), on_the_wire(1.0));
        assert_eq!(quality.towards(1000 + HALF_LIFE_S, None), on_the_wire(0.5));
        assert!(quality.towards(0, None) >= on_the_wire(1.0), "a clock that went back takes nothing away");
        assert_eq!(on_the_wire(1e9), u16::MAX);
    }

    #[test]
    fn meetings_count_for_their_recipient_and_the_table_is_bounded() {
        let mut quality = Quality::default();
        let tag = |n: u16| {
            let mut tag = [0; 16];
            tag[..2].copy_from_slice(&n.to_be_bytes());
            Tag(tag)
        };
        quality.met(5, &[tag(7), tag(7)]);
        assert_eq!(quality.towards(5, Some(&tag(7))), on_the_wire(2.0));
        assert_eq!(quality.towards(5, Some(&tag(8))), 0);
        for n in 100..100 + u16::try_from(RECIPIENTS_MAX).unwrap_or(0) {
            quality.met(6, &[tag(n)]);
        }
        assert_eq!(quality.meetings.len(), RECIPIENTS_MAX);
        assert_ne!(quality.towards(6, Some(&tag(7))), 0, "the strongest stays");
        assert_eq!(Quality::from_bytes(&quality.to_bytes()), quality);
    }

    #[test]
    fn damaged_state_is_no_quality() {
        assert_eq!(Quality::from_bytes(&[]), Quality::default());
        assert_eq!(Quality::from_bytes(&[9; 40]), Quality::default());
        let mut nan = vec![VERSION];
        nan.extend([0xff; 16]);
        assert_eq!(Quality::from_bytes(&nan).towards(0, None), 0);
    }
}
