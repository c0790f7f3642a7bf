//! Manifests and the parts they promise.

use pigeon_bundle::attachment::{
    ATTACHMENT_SIZE_MAX, Assembly, Cut, FILE_NAME_MAX, MEDIA_TYPE_MAX, Manifest, NEEDED_MAX, PARTS_MAX,
};

use super::input::Input;

/// More than this is not put together here: it takes time and finds nothing.
const SIZE_MAX: usize = 1 << 17;

/// A manifest is within its limits and never gives other content than it names; an honest one gives its content
/// from any parts that suffice.
///
/// An even first byte: the rest is a manifest and a part of somebody. Odd: the rest is content, and which parts come.
pub fn manifest(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() & 1 == 0 { of_somebody(&mut input) } else { honest(&mut input) }
}

fn of_somebody(input: &mut Input<'_>) {
    let name = String::from_utf8_lossy(input.piece());
    let media_type = String::from_utf8_lossy(input.piece());
    let size = input.any_number();
    let digest_size = usize::from(input.byte() % 40);
    let digest = input.take(digest_size);
    let number = |input: &mut Input<'_>| input.any_number() as u32;
    let layout = (input.byte() & 1 == 1).then(|| [number(input), number(input), number(input)]);
    let count = input.below(PARTS_MAX + 1);
    let hashes = input.take(count * 32);
    let Ok(manifest) = Manifest::parse(&name, &media_type, size, digest, layout, hashes) else { return };
    assert!(
        (1..=FILE_NAME_MAX).contains(&manifest.name().len()) && !manifest.name().contains(['/', '\\', '\0'])
    );
    assert!(manifest.media_type().len() <= MEDIA_TYPE_MAX);
    assert!((1..=ATTACHMENT_SIZE_MAX).contains(&manifest.size()));
    let part = input.0;
    assert!(!manifest.is_content(part));
    let Some(layout) = manifest.layout() else { return };
    assert!(
        layout.needed() <= NEEDED_MAX && layout.parts() <= PARTS_MAX && layout.needed() <= layout.parts()
    );
    assert_eq!(manifest.part_hashes().len(), layout.parts());
    assert!(layout.padded_size() >= manifest.size());
    for index in [0, layout.parts() - 1, layout.parts(), usize::MAX] {
        assert!(manifest.check_part(index, part).is_err());
    }
    if layout.padded_size() <= SIZE_MAX {
        let mut assembly = Assembly::new(&manifest).unwrap();
        assert!(assembly.add(0, part).is_err() && assembly.is_empty());
        assert!(assembly.finish().is_err());
    }
}

fn honest(input: &mut Input<'_>) {
    let times = input.below(512) + 1;
    let order = input.piece();
    let content = input.0.repeat(times);
    if content.is_empty() || content.len() > SIZE_MAX {
        return;
    }
    let cut = Cut::new("name", "", content.clone()).unwrap();
    let manifest = cut.manifest();
    assert!(manifest.is_content(&content));
    read_again(manifest);
    let parts = cut.layout().parts();
    let mut assembly = Assembly::new(manifest).unwrap();
    let chosen = order.iter().map(|&byte| usize::from(byte)).chain(0..parts);
    for index in chosen {
        match cut.part(index) {
            Some(part) => {
                let mut changed = part.to_vec();
                let at = changed.len() - 1 - index % changed.len();
                changed[at] ^= 1;
                assert!(assembly.add(index, &changed).is_err(), "a changed part was taken");
                assembly.add(index, part).unwrap();
            }
            None => assert!(assembly.add(index, &content).is_err()),
        }
        if assembly.is_ready() {
            break;
        }
    }
    assert!(assembly.finish().unwrap() == content, "other content came out");
}

fn read_again(manifest: &Manifest) {
    let number = |number: usize| u32::try_from(number).unwrap();
    let layout = manifest.layout().unwrap();
    let numbers = [layout.needed(), layout.parts(), layout.part_size()].map(number);
    let hashes = manifest.part_hashes().concat();
    let size = manifest.size() as u64;
    let again = Manifest::parse("name", "", size, manifest.digest(), Some(numbers), &hashes).unwrap();
    assert_eq!(again.part_hashes(), manifest.part_hashes());
}
