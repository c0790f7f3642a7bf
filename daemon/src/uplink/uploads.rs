//! Uploads without a verdict, and when each goes up again. Does no IO.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pigeon_bundle::BundleId;
use pigeon_xmpp::{SLOW_LINK_BYTES_PER_S, UPLOAD_BYTES_MAX};
use tokio::time::Instant;

/// An upload without a verdict is sent again after this, then after twice as long, and so on.
const WAIT: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(300);

struct Upload {
    wait: Duration,
    again_at: Instant,
    /// The id of the message that it went up in.
    message: BundleId,
}

/// Bundles that go up in one message. The first gives it its id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    /// One of the bridge's.
    pub(super) address: String,
    /// At least one; more than one have at most [`UPLOAD_BYTES_MAX`] together.
    pub(super) bundles: Vec<(BundleId, Bytes)>,
}

impl Parcel {
    fn has_room_for(&self, bytes: usize) -> bool {
        let sum: usize = self.bundles.iter().map(|(_, bundle)| bundle.len()).sum();
        sum + bytes <= UPLOAD_BYTES_MAX
    }
}

/// Puts what is for one address into as few messages as its order allows.
pub(super) fn parcels(bundles: impl IntoIterator<Item = (String, BundleId, Bytes)>) -> Vec<Parcel> {
    let mut parcels: Vec<Parcel> = Vec::new();
    for (address, id, bundle) in bundles {
        match parcels.iter_mut().rfind(|parcel| parcel.address == address) {
            Some(last) if last.has_room_for(bundle.len()) => last.bundles.push((id, bundle)),
            _ => parcels.push(Parcel { address, bundles: vec![(id, bundle)] }),
        }
    }
    parcels
}

/// All of an account's.
#[derive(Default)]
pub(super) struct Uploads(BTreeMap<BundleId, Upload>);

impl Uploads {
    /// One is to go up. False if it has been sent and its wait is not over.
    pub(super) fn begin(&mut self, id: BundleId, now: Instant) -> bool {
        if self.0.get(&id).is_some_and(|upload| now < upload.again_at) {
            return false;
        }
        self.0.insert(id, Upload { wait: WAIT, again_at: now + WAIT, message: id });
        true
    }

    /// It has been handed to the session in this message, with so many bytes on their way. Its wait begins when a slow line is
    /// through with them: a second copy would only come after the first.
    pub(super) fn sent(&mut self, id: &BundleId, message: BundleId, under_way: usize, now: Instant) {
        if let Some(upload) = self.0.get_mut(id) {
            upload.again_at = now + upload.wait + line_time(under_way);
            upload.message = message;
        }
    }

    /// The server gave a message back: no line is to be waited for. What was in it.
    pub(super) fn returned(&mut self, message: &BundleId, now: Instant) -> Vec<BundleId> {
        let of_it = self.0.iter_mut().filter(|(_, upload)| upload.message == *message);
        of_it
            .map(|(id, upload)| {
                upload.again_at = now + upload.wait;
                *id
            })
            .collect()
    }

    /// It was refused for a reason that passes.
    pub(super) fn refused_for_now(&mut self, id: BundleId, now: Instant) {
        self.0.insert(id, Upload { wait: WAIT_MAX, again_at: now + WAIT_MAX, message: id });
    }

    /// It needs to go up no more.
    pub(super) fn end(&mut self, id: &BundleId) {
        self.0.remove(id);
    }

    /// The connection is over. What was on its way may come again, and is known then.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// When to look for [`due`](Self::due) ones.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|upload| upload.again_at).min()
    }

    /// Those that go up again now. The next time each waits twice as long.
    pub(super) fn due(&mut self, now: Instant) -> Vec<BundleId> {
        let late = self.0.iter_mut().filter(|(_, upload)| upload.again_at <= now);
        late.map(|(id, upload)| {
            upload.wait = (upload.wait * 2).min(WAIT_MAX);
            upload.again_at = now + upload.wait;
            *id
        })
        .collect()
    }
}

/// What a slow line needs for so many bytes.
fn line_time(bytes: usize) -> Duration {
    Duration::from_secs(u64::try_from(bytes).unwrap_or(u64::MAX) / SLOW_LINK_BYTES_PER_S)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn id(n: u8) -> BundleId {
        BundleId([n; 32])
    }

    #[test]
    fn without_a_verdict_it_goes_up_again_each_time_later() {
        let (mut uploads, start) = (Uploads::default(), Instant::now());
        assert_eq!(uploads.next(), None);
        uploads.begin(id(1), start);
        let mut now = start;
        for wait_s in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(uploads.next().unwrap() - now, Duration::from_secs(wait_s));
            assert!(uploads.due(uploads.next().unwrap() - Duration::from_millis(1)).is_empty());
            now = uploads.next().unwrap();
            assert_eq!(uploads.due(now), [id(1)]);
        }
        uploads.end(&id(1));
        assert_eq!(uploads.next(), None);
    }

    #[test]
    fn what_came_back_together_goes_up_again_after_its_wait() {
        let (mut uploads, now) = (Uploads::default(), Instant::now());
        for (n, message) in [(1, 1), (2, 1), (3, 3)] {
            uploads.begin(id(n), now);
            uploads.sent(&id(n), id(message), 120_000, now);
        }
        assert_eq!(uploads.returned(&id(1), now), [id(1), id(2)]);
        assert_eq!(uploads.due(now + WAIT), [id(1), id(2)], "the third is on its way");
        assert!(uploads.returned(&id(9), now).is_empty());
    }

    #[test]
    fn small_ones_for_one_address_go_together_in_their_order() {
        let bundle = |n: u8, bytes: usize| (id(n), Bytes::from(vec![n; bytes]));
        let at = |address: &str, (id, bytes)| (address.to_owned(), id, bytes);
        let (most, few) = (UPLOAD_BYTES_MAX, 1_000);
        let all = [
            at("a", bundle(1, few)),
            at("b", bundle(2, few)),
            at("a", bundle(3, most - few)),
            at("a", bundle(4, few)),
            at("b", bundle(5, 90_000)),
            at("b", bundle(6, few)),
            at("a", bundle(7, few)),
        ];
        let parcel = |address: &str, bundles: Vec<_>| Parcel { address: address.to_owned(), bundles };
        let expected = [
            parcel("a", vec![bundle(1, few), bundle(3, most - few)]),
            parcel("b", vec![bundle(2, few)]),
            parcel("a", vec![bundle(4, few), bundle(7, few)]),
            parcel("b", vec![bundle(5, 90_000)]),
            parcel("b", vec![bundle(6, few)]),
        ];
        assert_eq!(parcels(all), expected);
        assert!(parcels([]).is_empty());
    }

    #[test]
    fn a_slow_line_gets_the_time_that_it_needs_for_all_that_is_on_its_way() {
        let (mut uploads, now) = (Uploads::default(), Instant::now());
        for (n, under_way) in [(1, 120_000), (2, 240_000)] {
            assert!(uploads.begin(id(n), now));
            uploads.sent(&id(n), id(n), under_way, now);
        }
        // 2,000 bytes a second.
        assert_eq!(uploads.next().unwrap() - now, Duration::from_secs(70));
        let later = now + Duration::from_secs(69);
        assert!(!uploads.begin(id(1), later), "it is on its way");
        assert_eq!(uploads.next().unwrap() - now, Duration::from_secs(70));
        assert!(uploads.begin(id(1), later + Duration::from_secs(1)));
        uploads.end(&id(1));
        assert_eq!(uploads.next().unwrap() - now, Duration::from_secs(130));
        assert_eq!(uploads.returned(&id(2), now), [id(2)]);
        assert_eq!(uploads.next().unwrap() - now, Duration::from_secs(10), "it is not on its way");
        uploads.refused_for_now(id(2), now);
        assert_eq!(uploads.next().unwrap() - now, Duration::from_secs(300));
        assert!(!uploads.begin(id(2), later), "it may not go up yet");
        uploads.sent(&id(9), id(9), 1, now);
        uploads.clear();
        assert_eq!(uploads.next(), None);
    }
}
