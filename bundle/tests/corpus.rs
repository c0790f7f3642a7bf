//! What the fuzz targets have found (`tests/fuzz/corpus`), given to the same properties again.

mod common;
#[path = "../../tests/fuzz/src/formats/mod.rs"]
mod formats;
#[path = "../../tests/fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn bundle() {
    replay("bundle", formats::bundle);
}

#[test]
fn foreign() {
    replay("foreign", formats::foreign);
}

#[test]
fn carriage() {
    replay("carriage", formats::carriage);
}

#[test]
fn uplink() {
    replay("uplink", formats::uplink);
}

#[test]
fn card() {
    replay("card", formats::card);
}

#[test]
fn bridge_card() {
    replay("bridge_card", formats::bridge_card);
}

#[test]
fn verdict() {
    replay("verdict", formats::verdict);
}

#[test]
fn sealed() {
    replay("sealed", formats::sealed);
}

#[test]
fn manifest() {
    replay("manifest", formats::manifest);
}

#[test]
fn introduction() {
    replay("introduction", formats::introduction);
}

#[test]
fn one_time() {
    replay("one_time", formats::one_time);
}

#[test]
fn prekey_ring() {
    replay("prekey_ring", formats::prekey_ring);
}

#[test]
fn pickup() {
    replay("pickup", formats::pickup);
}
