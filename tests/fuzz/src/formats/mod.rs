//! Properties of what `pigeon-bundle` reads.

#![allow(unreachable_pub, reason = "included by a test too")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a panic is the finding")]

mod attachment;
mod bundle;
mod cards;
mod input;
mod introduction;
mod keys;
mod pickup;
mod sealed;

pub use attachment::manifest;
pub use bundle::{bundle, carriage, foreign, uplink};
pub use cards::{bridge_card, card, verdict};
pub use introduction::introduction;
pub use keys::{one_time, prekey_ring};
pub use pickup::pickup;
pub use sealed::sealed;

use std::sync::LazyLock;

use pigeon_bundle::{Bundle, Draft, Reveal, seal};

use crate::common::{Bridge, FixedRandom, Person, draft, uplink as uplink_draft};

/// Who and what the bytes are tried on.
struct World {
    elaine: Person,
    jerry: Person,
    bridge: Bridge,
    /// From Elaine to Jerry, by way of the bridge.
    bundle: Bundle,
    reveal: Reveal,
}

const CONTENT: &[u8] = b"hello";

/// Made once: sealing is what takes time here.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let bridge = Bridge::new("bridge.example");
    let by_bridge = Some(uplink_draft(&bridge, &elaine, &jerry));
    let draft = Draft { uplink: by_bridge, ..draft(&jerry.card, CONTENT) };
    let sealed = seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap();
    World { elaine, jerry, bridge, bundle: sealed.bundle, reveal: sealed.reveal }
});
