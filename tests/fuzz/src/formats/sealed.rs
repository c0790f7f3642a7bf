//! Sealed content: what opens is what was sealed.

use bytes::Bytes;
use pigeon_bundle::{Bundle, OpenError, Opened, STEPS, open};

use super::input::Input;
use super::{CONTENT, WORLD};
use crate::common::NOW_S;
use crate::common::letter::{Letter, field, hpke_seal, sign};
use crate::common::wire::{self, Wire};

/// Nothing opens but what the author has sealed, whole and for this recipient.
///
/// The first byte says what the rest is: a payload, a plaintext, fields behind those of a true envelope, content, or
/// changes to a sealed bundle.
pub fn sealed(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 5 {
        0 => payload(&mut input),
        1 => plaintext(input.0),
        2 => envelope(&mut input),
        3 => content(&mut input),
        _ => tampered(&mut input),
    }
}

fn opened(bytes: Vec<u8>) -> Result<Opened, OpenError> {
    let jerry = &WORLD.jerry;
    open(&Bundle::parse(Bytes::from(bytes)).unwrap(), &jerry.identity, &jerry.ring, Some(NOW_S))
}

/// A bundle around this payload, with the source that fits it.
fn around(payload: &[u8]) -> Vec<u8> {
    let mut wire = Wire::of(&WORLD.bundle);
    wire.block(1).item = wire::bytes(payload);
    wire.lie().encode()
}

fn payload(input: &mut Input<'_>) {
    let mut payload = vec![0; STEPS[input.below(4)] + 48];
    let taken = input.take(payload.len());
    payload[..taken.len()].copy_from_slice(taken);
    assert_eq!(opened(around(&payload)).unwrap_err(), OpenError::NoKey);
}

/// Sealed to the right key by somebody who does not care what is inside.
fn plaintext(data: &[u8]) {
    let step = STEPS.into_iter().find(|&step| step >= data.len()).unwrap_or(STEPS[10]);
    let mut plaintext = data[..data.len().min(step)].to_vec();
    plaintext.resize(step, 0);
    let header = WORLD.bundle.header_digest();
    let payload = hpke_seal(WORLD.jerry.card.x25519(), "seal", header.as_ref(), &plaintext);
    let error = opened(around(&payload)).unwrap_err();
    assert!(!matches!(error, OpenError::NoKey | OpenError::Expired { .. }), "{error}");
}

/// Fields that are said again, or unknown, behind the author's own: the content stays the author's.
fn envelope(input: &mut Input<'_>) {
    let world = &*WORLD;
    let original = open(&world.bundle, &world.jerry.identity, &world.jerry.ring, Some(NOW_S)).unwrap();
    let letter = Letter::honest(&world.elaine, &world.jerry);
    let mut wire = wire_of(&letter);
    let header = wire.header();
    let length = u32::try_from(CONTENT.len()).unwrap().to_be_bytes();
    let parts: [&[u8]; 6] =
        [&letter.author.0, &letter.recipient.0, &letter.sealed_to, &header, &length, CONTENT];
    let signature = sign(&world.elaine.identity, "envelope", &parts);
    let own =
        [field(1, &letter.author.0), field(2, CONTENT), field(3, &letter.reveal.0), field(4, &signature)];
    let envelope = [&own.concat(), input.0].concat();
    let Some(step) = STEPS.into_iter().find(|step| step - 4 >= envelope.len()) else { return };
    let mut plaintext = u32::try_from(envelope.len()).unwrap().to_be_bytes().to_vec();
    plaintext.extend(&envelope);
    plaintext.resize(step, 0);
    let payload = hpke_seal(&letter.sealed_to, "seal", &header, &plaintext);
    wire.blocks.push(wire::Block::new(1, 1, &payload));
    match opened(wire.lie().encode()) {
        Ok(opened) => {
            assert_eq!(opened.author, original.author);
            assert_eq!(*opened.content, CONTENT, "content that the author did not sign");
            assert_eq!(opened.reveal, letter.reveal);
        }
        Err(error) => assert!(!input.is_empty() && error != OpenError::NoKey, "{error}"),
    }
}

/// The outside of a letter, without its payload.
fn wire_of(letter: &Letter<'_>) -> Wire {
    let epoch = NOW_S / 86_400;
    Wire {
        version: 7,
        flags: 4,
        crc: 2,
        destination: wire::dtn(&format!("//{}/m", wire::base32(&letter.tag))),
        source: wire::dtn_none(),
        report_to: wire::dtn_none(),
        creation_ms: 0,
        sequence: 0,
        lifetime_ms: 604_800_000,
        blocks: vec![wire::Block::new(240, 2, &wire::carriage(epoch, &letter.commitment))],
    }
}

/// A sealed letter gives its content; with a lie in it, it does not open.
fn content(input: &mut Input<'_>) {
    let world = &*WORLD;
    let mut letter = Letter::honest(&world.elaine, &world.jerry);
    let lie = input.byte() % 8;
    let which = input.below(32);
    match lie {
        1 => letter.author = world.jerry.identity.key(),
        2 => letter.recipient = world.elaine.identity.key(),
        3 => letter.signed_sealed_to[which] ^= 1,
        4 => letter.reveal.0[which] ^= 1,
        5 => letter.commitment[which] ^= 1,
        6 => letter.last = input.byte().max(1),
        7 => letter.signature = Some(vec![input.byte(); 64]),
        _ => {}
    }
    letter.content = input.0.to_vec();
    let size = letter.content.len() + 160;
    let Some(step) = STEPS.into_iter().find(|&step| step > size) else { return };
    letter.step = step;
    let result = opened(letter.bytes());
    // A step larger than the smallest is refused: near the boundary the letter may have chosen one.
    if lie == 0 && (step == STEPS[0] || size - 30 > step / 2) {
        assert_eq!(*result.unwrap().content, letter.content);
    } else if lie != 0 {
        assert!(result.is_err(), "lie {lie} was believed");
    }
}

/// Any change, with a source that fits it: it does not open any more.
fn tampered(input: &mut Input<'_>) {
    let world = &*WORLD;
    let mut wire = Wire::of(&world.bundle);
    let mut payload = world.bundle.payload().to_vec();
    let (mut tag, mut commitment) = (world.bundle.tag().0, *world.bundle.commitment().as_bytes());
    while !input.is_empty() {
        let bit = 1 << (input.byte() % 8);
        match input.byte() % 5 {
            0 => wire.creation_ms = 0,
            1 => wire.lifetime_ms = (u64::from(bit) + 1) * 3_600_000,
            2 => tag[input.below(16)] ^= bit,
            3 => commitment[input.below(32)] ^= bit,
            _ => {
                let at = input.below(payload.len());
                payload[at] ^= bit;
            }
        }
    }
    wire.destination = wire::dtn(&format!("//{}/m", wire::base32(&tag)));
    wire.block(240).item = wire::bytes(&wire::carriage(world.bundle.epoch().0.into(), &commitment));
    wire.block(1).item = wire::bytes(&payload);
    let bytes = wire.lie().encode();
    let same = bytes == world.bundle.as_bytes()[..];
    let result = opened(bytes);
    assert_eq!(result.is_ok(), same);
    if let Ok(opened) = result {
        assert_eq!(*opened.content, CONTENT);
    } else {
        assert!(matches!(result, Err(OpenError::NoKey | OpenError::Expired { .. })));
    }
}
