//! Bundles, our blocks in them, and what foreign agents send.

use bytes::Bytes;
use pigeon_bundle::{
    BUNDLE_SIZE_MAX, Bundle, BundleError, Epoch, LIFETIME_MAX_S, LIFETIME_MIN_S, STEPS, SecretRandom as _,
    from_foreign, open, open_route, to_foreign,
};

use super::input::Input;
use super::{WORLD, World};
use crate::common::letter::hpke_seal;
use crate::common::wire::{self, Block, Wire};
use crate::common::{FixedRandom, NOW_S};

/// What is accepted is the one encoding that its parts have, and no byte of it can be changed.
///
/// An even first byte: the rest as it stands. Odd: the rest are edits of a bundle, with a source that fits.
pub fn bundle(data: &[u8]) {
    let world = &*WORLD;
    let Some(bundle) = accepted(world, &bytes_of(world, data), data) else { return };
    if data[0] & 1 == 1
        && let Ok(opened) = open(&bundle, &world.jerry.identity, &world.jerry.ring, Some(NOW_S))
    {
        assert_eq!(opened.message, world.bundle.message_digest(), "no change to a sealed message opens");
        assert_eq!(opened.reveal, world.reveal);
    }
}

/// What comes out of a foreign encoding is in the fixed form, and comes back through the foreign form.
pub fn foreign(data: &[u8]) {
    let world = &*WORLD;
    let bytes = bytes_of(world, data);
    foreign_accepted(&bytes);
    // Whatever is in the fixed form is also taken from foreign agents, unless an age is missing there.
    if let Ok(bundle) = Bundle::parse(bytes.clone())
        && bundle.creation_s().is_some()
    {
        assert_eq!(from_foreign(&bytes).unwrap().bundle, bundle);
    }
}

/// The data of a Carriage block, in a bundle that is otherwise right: what is accepted is canonical.
pub fn carriage(data: &[u8]) {
    let world = &*WORLD;
    // Without a creation time the epoch is free.
    let mut wire = Wire { creation_ms: 0, ..Wire::of(&world.bundle) };
    wire.block(240).item = wire::bytes(data);
    let bytes = Bytes::from(wire.clone().lie().encode());
    if let Some(bundle) = accepted(world, &bytes, data) {
        assert_eq!(wire::carriage(bundle.epoch().0.into(), bundle.commitment().as_bytes()), data);
        assert!(open(&bundle, &world.jerry.identity, &world.jerry.ring, None).is_err());
    }
    // Foreign agents must tell the age of a bundle without a creation time.
    wire.blocks.insert(0, Block::new(7, 4, &wire::uint(1)));
    foreign_accepted(&wire.lie().encode().into());
}

/// The data of an Uplink block; its route is the bridge's only if it was sealed for this message.
///
/// An even first byte: the rest is the data. Odd: the rest is the plaintext of the route.
pub fn uplink(data: &[u8]) {
    let world = &*WORLD;
    let mut input = Input(data);
    let mut wire = Wire::of(&world.bundle);
    let honest = world.bundle.uplink().unwrap();
    let block = if input.byte() & 1 == 0 {
        input.0.to_vec()
    } else {
        let mut plaintext = vec![0; 512];
        let taken = input.take(512);
        plaintext[..taken.len()].copy_from_slice(taken);
        let message = world.bundle.message_digest();
        let associated = [message.as_ref(), honest.domain.as_bytes()].concat();
        let route = hpke_seal(world.bridge.card.x25519(), "route", &associated, &plaintext);
        wire::uplink_data(&honest.domain, &honest.bridge_key, &route)
    };
    wire.block(241).item = wire::bytes(&block);
    let bytes = Bytes::from(wire.lie().encode());
    if let Some(bundle) = accepted(world, &bytes, data) {
        let uplink = bundle.uplink().unwrap();
        assert_eq!(wire::uplink_data(&uplink.domain, &uplink.bridge_key, &uplink.route), block);
        assert_eq!(bundle.message_digest(), world.bundle.message_digest(), "a variant of the same message");
        if let Ok(route) = open_route(&bundle, &world.bridge.identity)
            && route.verify(&bundle, &world.elaine.identity.key()).is_ok()
        {
            let original = open_route(&world.bundle, &world.bridge.identity).unwrap();
            assert_eq!(route, original, "only what the author signed passes as the author's");
        }
    }
    foreign_accepted(&bytes);
}

/// Everything that must hold of bytes that are taken as a bundle.
fn accepted(world: &World, bytes: &Bytes, choice: &[u8]) -> Option<Bundle> {
    let bundle = match Bundle::parse(bytes.clone()) {
        Ok(bundle) => bundle,
        Err(BundleError::NotFixedForm { offset }) => {
            assert!(offset < bytes.len(), "refused, but in nothing different from its fixed form");
            return None;
        }
        Err(_) => return None,
    };
    assert_eq!(bundle.as_bytes(), bytes);
    assert!(bundle.size() <= BUNDLE_SIZE_MAX);
    assert!(STEPS.contains(&bundle.payload_step()));
    assert!((LIFETIME_MIN_S..=LIFETIME_MAX_S).contains(&bundle.lifetime_s()));
    assert!(bundle.creation_s().is_none_or(|creation_s| Epoch::at(creation_s) == bundle.epoch()));
    // The encoding written a second time, from nothing but the values.
    assert_eq!(Wire::of(&bundle).encode(), bytes[..]);
    for at in places(choice, bytes.len()) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (at % 8);
        assert!(Bundle::parse(changed.into()).is_err(), "byte {at} may be changed");
    }
    if let Ok(opened) = open(&bundle, &world.jerry.identity, &world.jerry.ring, Some(NOW_S)) {
        assert_eq!(opened.author, world.elaine.identity.key(), "nobody else has written to him");
    }
    Some(bundle)
}

fn foreign_accepted(bytes: &Bytes) {
    let Ok(read) = from_foreign(bytes) else { return };
    assert_eq!(Bundle::parse(read.bundle.as_bytes().clone()).unwrap(), read.bundle);
    let source = format!("//{}/", wire::base32(&read.bundle.id().as_bytes()[..16]));
    assert!(
        bytes.windows(source.len()).any(|window| window == source.as_bytes()),
        "the source is not the id of what it carries"
    );
    let (age_ms, hops) = (read.age_ms.unwrap_or(0), read.hops.map_or(0, |hops| hops.count.min(16)));
    let sent = to_foreign(&read.bundle, age_ms, u8::try_from(hops).unwrap());
    let again = from_foreign(&sent).unwrap();
    assert_eq!(again.bundle, read.bundle);
    assert_eq!((again.age_ms, again.hops.map(|hops| hops.count)), (Some(age_ms), Some(hops)));
    assert!(again.unprocessed.is_empty() && !again.report_wanted);
}

/// Some places of the bytes, others for other choices.
pub fn places(choice: &[u8], size: usize) -> impl Iterator<Item = usize> {
    let seed = u64::from_be_bytes(wire::hash("places", &[choice])[..8].try_into().unwrap());
    (0..4).map(move |i| (seed.rotate_left(i * 16) % size as u64) as usize)
}

fn bytes_of(world: &World, data: &[u8]) -> Bytes {
    match data.split_first() {
        Some((kind, edits)) if kind & 1 == 1 => edited(world, edits),
        Some((_, rest)) => Bytes::copy_from_slice(rest),
        None => Bytes::new(),
    }
}

/// A bundle with its parts changed, and with the source that these parts have.
fn edited(world: &World, edits: &[u8]) -> Bytes {
    let mut input = Input(edits);
    let mut wire = Wire::of(&world.bundle);
    let mut sound = true;
    while !input.is_empty() {
        sound &= edit(&mut wire, &mut input);
    }
    // Without byte strings in our blocks there is no source that fits.
    if sound { wire.lie().encode() } else { wire.encode() }.into()
}

/// False where the id cannot be computed any more.
fn edit(wire: &mut Wire, input: &mut Input<'_>) -> bool {
    const HOUR_MS: u64 = 3_600_000;
    let blocks = wire.blocks.len().max(1);
    match input.byte() % 20 {
        0 => wire.version = input.any_number(),
        1 => wire.flags = input.any_number(),
        2 => wire.crc = u64::from(input.byte() % 4),
        3 => wire.destination = input.piece().to_vec(),
        4 => wire.destination = wire::dtn(&String::from_utf8_lossy(input.piece())),
        5 => wire.report_to = input.piece().to_vec(),
        6 => wire.creation_ms = input.any_number(),
        7 => wire.creation_ms = 0,
        8 => wire.sequence = input.any_number(),
        9 => wire.lifetime_ms = input.any_number(),
        10 => wire.lifetime_ms = u64::from(input.byte()) * HOUR_MS,
        11 if wire.blocks.len() < 12 => {
            let mut block = Block::new(input.any_number(), input.any_number(), input.piece());
            block.flags = u64::from(input.byte());
            block.crc = u64::from(input.byte() % 3);
            wire.blocks.insert(input.below(blocks).min(wire.blocks.len()), block);
        }
        12 => {
            let (a, b) = (input.below(blocks), input.below(blocks));
            if a.max(b) < wire.blocks.len() {
                wire.blocks.swap(a, b);
            }
        }
        13 if !wire.blocks.is_empty() => drop(wire.blocks.remove(input.below(blocks))),
        14 => {
            let at = input.below(blocks);
            if let Some(block) = wire.blocks.get_mut(at) {
                match input.byte() % 4 {
                    0 => block.kind = input.any_number(),
                    1 => block.number = input.any_number(),
                    2 => block.flags = input.any_number(),
                    _ => block.crc = u64::from(input.byte() % 3),
                }
            }
        }
        15 => {
            let at = input.below(blocks);
            if let Some(block) = wire.blocks.get_mut(at) {
                block.item = wire::bytes(input.piece());
            }
        }
        16 => {
            let at = input.below(blocks);
            if let Some(block) = wire.blocks.get_mut(at) {
                block.item = input.piece().to_vec();
                return false;
            }
        }
        17 => {
            // Age and hops, as foreign agents write them.
            let (number, age) = (input.any_number(), input.any_number());
            let data = if input.byte() & 1 == 0 {
                (7, wire::uint(age))
            } else {
                (10, wire::array(&[wire::uint(age), wire::uint(input.any_number())]))
            };
            wire.blocks.insert(0, Block::new(data.0, number, &data.1));
        }
        18 => {
            let mut payload = vec![0; STEPS[input.below(4)] + 48];
            FixedRandom::new("payload").fill(&mut payload);
            if let Some(block) = wire.blocks.iter_mut().find(|block| block.kind == 1) {
                block.item = wire::bytes(&payload);
            }
        }
        _ => wire.blocks.retain(|block| block.kind != 241),
    }
    true
}
