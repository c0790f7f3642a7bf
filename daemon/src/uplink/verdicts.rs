//! The bridge's word on what went up.

use std::collections::BTreeMap;

use pigeon_bundle::{Acceptances, Bundle, BundleId, Reveal, Verdict, VerdictCode};
use pigeon_core::{Catalog as _, Event as CoreEvent};
use tokio::time::Instant;

use super::Driver;

impl Driver {
    /// A verdict counts only with the signature of the bridge that the bundle itself names.
    pub(super) async fn verdict(&mut self, bytes: &[u8], reveal: Option<[u8; 32]>) {
        let Some(named) = Verdict::bundle_of(bytes) else { return };
        let Some((bundle, bridge_key)) = self.uploaded(&named) else { return };
        let Some(verdict) = on_this(&bundle, Verdict::parse_verified(bytes, &bridge_key).ok()) else {
            return;
        };
        if verdict.code.is_accepted() {
            self.accepted(vec![named]).await;
        } else {
            self.refused(named, verdict.code).await;
        }
        if let Some(reveal) = reveal.map(Reveal).filter(|r| r.commitment() == bundle.commitment()) {
            self.core(CoreEvent::Revealed { reveals: vec![reveal] }).await;
        }
    }

    /// [`Self::verdict`] on several bundles. Those of another bridge among them are none of this one's business.
    pub(super) async fn acceptances(&mut self, bytes: &[u8]) {
        let accepted = confirmed(bytes, |named| self.uploaded(named));
        if !accepted.is_empty() {
            self.accepted(accepted).await;
        }
    }

    /// A bundle that may have gone up, and the key of its bridge; `None` if it was purged meanwhile, or never ours.
    fn uploaded(&self, id: &BundleId) -> Option<(Bundle, [u8; 32])> {
        let bundle = self.uplink.store.bundle(id).ok().flatten()?;
        let bridge_key = bundle.uplink()?.bridge_key;
        Some((bundle, bridge_key))
    }

    async fn accepted(&mut self, bundles: Vec<BundleId>) {
        for bundle in &bundles {
            self.uploads.end(bundle);
            // An earlier refusal that could pass has passed.
            if let Err(error) = self.uplink.mailbox.unrefused(bundle).await {
                tracing::error!(%error, "an acceptance cannot be kept");
            }
        }
        self.core(CoreEvent::Verdict { bundles, accepted: true }).await;
    }

    async fn refused(&mut self, bundle: BundleId, code: VerdictCode) {
        match self.uplink.mailbox.refused(&bundle, &code.to_string()).await {
            Ok(true) => tracing::warn!(%bundle, reason = %code, "the bridge refused an own message"),
            Ok(false) => tracing::info!(%bundle, reason = %code, "the bridge refused a carried bundle"),
            Err(error) => tracing::error!(%error, "a refusal cannot be kept"),
        }
        if code.is_passing() {
            // It goes up again when its wait is over.
            self.uploads.refused_for_now(bundle, Instant::now());
            self.core(CoreEvent::UploadDeferred { bundle }).await;
        } else {
            self.uploads.end(&bundle);
            self.core(CoreEvent::Verdict { bundles: vec![bundle], accepted: false }).await;
        }
    }
}

/// Those of a stanza's bundles on which its signature says that they are accepted. `uploaded` finds a bundle, and the key of the
/// bridge that it names.
fn confirmed(bytes: &[u8], uploaded: impl Fn(&BundleId) -> Option<(Bundle, [u8; 32])>) -> Vec<BundleId> {
    // By the bridges that the bundles name; all but one at most come to nothing.
    let mut checked: BTreeMap<[u8; 32], Option<Acceptances>> = BTreeMap::new();
    let mut accepted = Vec::new();
    for (at, named) in Acceptances::bundles_of(bytes).unwrap_or_default().iter().enumerate() {
        let Some((bundle, bridge_key)) = uploaded(named) else { continue };
        let check = || Acceptances::parse_verified(bytes, &bridge_key).ok();
        let acceptances = checked.entry(bridge_key).or_insert_with(check);
        let verdict = acceptances.as_ref().and_then(|all| all.verdicts().nth(at));
        accepted.extend(on_this(&bundle, verdict).map(|_verdict| *named));
    }
    accepted
}

/// The verdict, if its bridge has signed one on this bundle.
fn on_this(bundle: &Bundle, verdict: Option<Verdict>) -> Option<Verdict> {
    let verdict = verdict.filter(|verdict| verdict.message == bundle.message_digest());
    if verdict.is_none() {
        tracing::warn!(bundle = %bundle.id(), "a verdict without the bridge's signature is ignored");
    }
    verdict
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_bundle::{BridgeIdentity, MessageDigest};

    use super::*;
    use crate::random::OsRandom;
    use crate::samples::bundle;

    const NOW_S: u64 = 1_800_000_000;

    /// What a bridge signs, as a carrier reads it that has handed up these bundles, each of which names a bridge.
    fn heard(
        signer: &BridgeIdentity,
        of: Vec<(BundleId, MessageDigest)>,
        up: &[(&Bundle, &BridgeIdentity)],
    ) -> Vec<BundleId> {
        let bytes = Acceptances { bundles: of, time_s: NOW_S }.sign(signer);
        confirmed(&bytes, |id| {
            let (bundle, bridge) = up.iter().find(|(bundle, _)| bundle.id() == *id)?;
            Some(((*bundle).clone(), bridge.key()))
        })
    }

    #[test]
    fn a_bridge_accepts_for_the_bundles_that_name_it_and_for_no_others() {
        let [ours, theirs] = [(); 2].map(|()| BridgeIdentity::generate(&mut OsRandom));
        let [first, second, foreign, purged] = [(); 4].map(|()| bundle());
        let up = [(&first, &ours), (&foreign, &theirs), (&second, &ours)];
        let named = |bundle: &Bundle| (bundle.id(), bundle.message_digest());
        let all = || [&purged, &first, &foreign, &second].map(named).to_vec();
        assert_eq!(heard(&ours, all(), &up), [first.id(), second.id()]);
        assert_eq!(heard(&theirs, all(), &up), [foreign.id()]);
        let nobody = BridgeIdentity::generate(&mut OsRandom);
        assert!(heard(&nobody, all(), &up).is_empty(), "not signed by a bridge that any of them names");
    }

    #[test]
    fn an_acceptance_of_another_message_is_none_of_this_bundle() {
        let bridge = BridgeIdentity::generate(&mut OsRandom);
        let [first, second] = [(); 2].map(|()| bundle());
        let up = [(&first, &bridge), (&second, &bridge)];
        let mixed = vec![(first.id(), second.message_digest()), (second.id(), second.message_digest())];
        assert_eq!(heard(&bridge, mixed, &up), [second.id()]);
    }
}
