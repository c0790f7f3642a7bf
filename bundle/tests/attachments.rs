//! Attachments: any k of n parts, nothing less, nothing wrong, and no belief in numbers from outside.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use pigeon_bundle::attachment::{
    ATTACHMENT_SIZE_MAX, Assembly, AttachmentError, Cut, Manifest, ManifestError, PartError,
};
use pigeon_bundle::context::sha256;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// Bytes that look random and are the same in every run.
fn content(size: usize, seed: u8) -> Vec<u8> {
    let block = |n: usize| sha256("attachment", &[&[seed], &n.to_be_bytes()]);
    (0..size.div_ceil(32)).flat_map(block).take(size).collect()
}

fn cut(content: &[u8]) -> Cut {
    Cut::new("picture.png", "image/png", content.to_vec()).unwrap()
}

/// Sizes around the steps at which another part is needed.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![1_usize..=300, 65_300_usize..=65_400, 130_600_usize..=130_800, 1_usize..=1_000_000]
}

fn assemble(cut: &Cut, order: &[usize]) -> Result<Vec<u8>, AttachmentError> {
    let mut assembly = Assembly::new(cut.manifest()).unwrap();
    for &index in order {
        assembly.add(index, cut.part(index).unwrap()).unwrap();
    }
    assembly.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_k_of_n_parts_in_any_order_make_the_content(
        (size, order, seed) in sizes().prop_flat_map(|size| {
            let layout = *cut(&vec![0; size]).layout();
            let chosen = subsequence((0..layout.parts()).collect::<Vec<_>>(), layout.needed());
            (Just(size), chosen.prop_shuffle(), any::<u8>())
        }),
    ) {
        let content = content(size, seed);
        let cut = cut(&content);
        prop_assert!(assemble(&cut, &order).unwrap() == content);
        let needed = order.len();
        // One less never does.
        let fewer = assemble(&cut, order.split_last().unwrap().1);
        prop_assert_eq!(fewer, Err(AttachmentError::TooFew { have: needed - 1, needed }));
    }

    #[test]
    fn a_flipped_bit_in_any_part_is_refused_and_harms_nothing(
        size in sizes(), seed: u8, part in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8,
    ) {
        let content = content(size, seed);
        let cut = cut(&content);
        let layout = cut.layout();
        let index = part.index(layout.parts());
        let mut wrong = cut.part(index).unwrap().to_vec();
        let at = at.index(wrong.len());
        wrong[at] ^= 1_u8 << bit;
        let mut assembly = Assembly::new(cut.manifest()).unwrap();
        prop_assert_eq!(assembly.add(index, &wrong), Err(PartError::Hash { index }));
        prop_assert!(assembly.is_empty());
        // The right part at another place is a wrong part too, unless all are copies.
        let other = (index + 1) % layout.parts();
        if layout.needed() > 1 {
            prop_assert_eq!(assembly.add(other, cut.part(index).unwrap()), Err(PartError::Hash { index: other }));
        }
        // The last k parts: as many spare ones as there are.
        for right in (layout.spare()..layout.parts()).rev() {
            prop_assert!(assembly.add(right, cut.part(right).unwrap()).unwrap());
            prop_assert!(!assembly.add(right, cut.part(right).unwrap()).unwrap(), "a duplicate changes nothing");
            prop_assert_eq!(assembly.add(index, &wrong), Err(PartError::Hash { index }));
        }
        prop_assert!(assembly.finish().unwrap() == content);
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_and_its_lies_are_refused(size in sizes(), lie in -3_i64..=3, which in 0..4) {
        let cut = cut(&content(size, 1));
        let (manifest, layout) = (cut.manifest(), cut.layout());
        let numbers = [layout.needed(), layout.parts(), layout.part_size()].map(|n| n as u32);
        let parse = |size: u64, numbers| {
            let hashes = manifest.part_hashes().as_flattened();
            Manifest::parse("picture.png", "image/png", size, manifest.digest(), Some(numbers), hashes)
        };
        prop_assert_eq!(&parse(size as u64, numbers).unwrap(), manifest);
        let changed = |n: u32| n.wrapping_add_signed(lie as i32);
        let [needed, parts, part_size] = numbers;
        let lied = match which {
            0 => parse((size as u64).wrapping_add_signed(lie * 65_536), numbers),
            1 => parse(size as u64, [changed(needed), parts, part_size]),
            2 => parse(size as u64, [needed, changed(parts), part_size]),
            _ => parse(size as u64, [needed, parts, changed(part_size)]),
        };
        prop_assert_eq!(lied.is_ok(), lie == 0, "{:?}", lied);
    }

    #[test]
    fn no_numbers_from_outside_panic_or_allocate(
        size: u64, needed: u32, parts: u32, part_size: u32, hashes in prop::collection::vec(any::<u8>(), 0..200),
        small in prop::array::uniform3(0_u32..700), name in ".{0,20}", media in ".{0,20}",
    ) {
        for layout in [None, Some([needed, parts, part_size]), Some(small)] {
            for size in [size, size % 100_000] {
                if let Ok(manifest) = Manifest::parse(&name, &media, size, &[0; 32], layout, &hashes) {
                    prop_assert!(manifest.layout().is_none_or(|layout| layout.padded_size() < manifest.size() + 65_536));
                    prop_assert_eq!(manifest.part_hashes().len() * 32, hashes.len());
                }
            }
        }
    }
}

#[test]
fn sixteen_mebibytes_arrive_with_every_spare_part_used_and_one_byte_more_is_refused() {
    let mut whole = content(ATTACHMENT_SIZE_MAX, 9);
    let cut = cut(&whole);
    let layout = *cut.layout();
    assert_eq!((layout.needed(), layout.parts(), layout.part_size()), (257, 289, 65_344));
    let order: Vec<usize> = (layout.spare()..layout.parts()).collect();
    assert!(assemble(&cut, &order).unwrap() == whole);
    whole.push(0);
    let refused = Cut::new("a", "", whole).unwrap_err();
    assert_eq!(refused, ManifestError::Size { size: ATTACHMENT_SIZE_MAX as u64 + 1 }.into());
    assert_eq!(Cut::new("a", "", Vec::new()).unwrap_err(), ManifestError::Size { size: 0 }.into());
}

#[test]
fn parts_of_a_manifest_that_names_other_content_are_not_content() {
    let honest = cut(&content(200_000, 3));
    let (manifest, layout) = (honest.manifest(), honest.layout());
    let numbers = Some([layout.needed(), layout.parts(), layout.part_size()].map(|n| n as u32));
    let lying =
        Manifest::parse("a", "", 200_000, &[7; 32], numbers, manifest.part_hashes().as_flattened()).unwrap();
    let mut assembly = Assembly::new(&lying).unwrap();
    for index in 0..layout.needed() {
        assembly.add(index, honest.part(index).unwrap()).unwrap();
    }
    assert_eq!(assembly.finish(), Err(AttachmentError::Content));
}

#[test]
fn names_stay_in_their_folder_and_media_types_are_such() {
    let manifest = |name: &str, media: &str| Manifest::whole(name, media, b"x");
    let long = "é".repeat(127);
    for good in ["a", "a b.png", "…", ".hidden", &long] {
        assert!(manifest(good, "").is_ok(), "{good}");
    }
    let too_long = "a".repeat(256);
    for bad in ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "a\n", "\u{1b}[2J", "\u{85}", &too_long]
    {
        assert_eq!(manifest(bad, ""), Err(ManifestError::Name), "{bad:?}");
    }
    for good in ["", "image/png", "application/vnd.oasis.opendocument.text+xml"] {
        assert!(manifest("a", good).is_ok(), "{good}");
    }
    let too_long = format!("a/{}", "b".repeat(126));
    for bad in ["image", "/", "a/", "/b", "a/b/c", "image/p ng", "image/\u{e9}", &too_long] {
        assert_eq!(manifest("a", bad), Err(ManifestError::MediaType), "{bad:?}");
    }
}

#[test]
fn whole_content_has_no_parts() {
    let manifest = Manifest::whole("a", "", b"soup").unwrap();
    assert!(manifest.is_content(b"soup") && !manifest.is_content(b"sou") && !manifest.is_content(b"soap"));
    assert!(manifest.layout().is_none() && Assembly::new(&manifest).is_none());
    assert_eq!(manifest.check_part(0, b"soup"), Err(PartError::Index { index: 0, parts: 0 }));
    let hashes = Manifest::parse("a", "", 4, manifest.digest(), None, &[0; 32]);
    assert_eq!(hashes, Err(ManifestError::Hashes { found: 32, wanted: 0 }));
    let digest = Manifest::parse("a", "", 4, &[0; 31], None, &[]);
    assert_eq!(digest, Err(ManifestError::Digest { found: 31 }));
}

#[test]
fn nothing_of_the_content_is_in_a_debug_output() {
    let cut = Cut::new("soup.txt", "text/soup", b"soup".repeat(100)).unwrap();
    let assembly = Assembly::new(cut.manifest()).unwrap();
    let shown = format!("{cut:?} {:?} {assembly:?}", cut.manifest());
    assert!(shown.contains("400") && !shown.contains("soup"), "{shown}");
}

/// The erasure code as `docs/wire-format.md` section 8 says it, without any of the fast transforms.
mod reference {
    const BASIS: [u16; 16] = [
        0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72, 0xb900,
        0xfdb8, 0xfb34, 0xff38, 0x991e,
    ];

    fn element(number: usize) -> u16 {
        (0..16).filter(|bit| number >> bit & 1 == 1).fold(0, |sum, bit| sum ^ BASIS[bit])
    }

    fn number(element: u16, all: &[usize]) -> u16 {
        all[usize::from(element)] as u16
    }

    fn times(a: u16, b: u16) -> u16 {
        let (mut product, mut a) = (0_u32, u32::from(a));
        for bit in 0..16 {
            if b >> bit & 1 == 1 {
                product ^= a;
            }
            a <<= 1;
            if a & 0x1_0000 != 0 {
                a ^= 0x1_002d;
            }
        }
        product as u16
    }

    fn inverse(a: u16) -> u16 {
        // a to the power of 2^16 − 2.
        (1..16)
            .fold((1, a), |(result, power), _| {
                let power = times(power, power);
                (times(result, power), power)
            })
            .0
    }

    fn symbols(part: &[u8]) -> Vec<u16> {
        part.chunks(64)
            .flat_map(|block| (0..32).map(move |i| u16::from(block[i + 32]) << 8 | u16::from(block[i])))
            .collect()
    }

    /// The spare parts of `parts`.
    pub(super) fn spare(parts: &[&[u8]], count: usize) -> Vec<Vec<u8>> {
        let mut numbers = vec![0; 1 << 16];
        for n in 0..1 << 16 {
            numbers[usize::from(element(n))] = n;
        }
        let chunk = count.next_power_of_two();
        let mut out = vec![vec![0_u8; parts[0].len()]; count];
        for (index, part) in parts.iter().enumerate() {
            let first = chunk + index / chunk * chunk;
            let at = element(chunk + index);
            for (spare, sum) in out.iter_mut().enumerate() {
                // Lagrange: the polynomial that is 1 at this point of the chunk and 0 at its others.
                let weight = (first..first + chunk)
                    .map(element)
                    .filter(|&other| other != at)
                    .fold(1, |w, other| times(w, times(element(spare) ^ other, inverse(at ^ other))));
                for (i, symbol) in symbols(part).into_iter().enumerate() {
                    let value = number(times(weight, element(usize::from(symbol))), &numbers);
                    sum[i / 32 * 64 + i % 32] ^= value as u8;
                    sum[i / 32 * 64 + 32 + i % 32] ^= (value >> 8) as u8;
                }
            }
        }
        out
    }
}

#[test]
fn the_spare_parts_are_those_of_the_written_format() {
    for (size, parts) in [(150_000, 5), (600_000, 12)] {
        let cut = cut(&content(size, 5));
        let layout = cut.layout();
        assert_eq!(layout.parts(), parts);
        // The first blocks will do: the code works on each alone.
        let of = |index: usize| &cut.part(index).unwrap()[..128];
        let originals: Vec<&[u8]> = (0..layout.needed()).map(of).collect();
        for (index, expected) in reference::spare(&originals, layout.spare()).iter().enumerate() {
            assert_eq!(of(layout.needed() + index), expected, "spare part {index} of {size} bytes");
        }
    }
    let copies = cut(&content(5_000, 5));
    assert_eq!(copies.layout().needed(), 1);
    assert!((1..3).all(|index| copies.part(index) == copies.part(0)), "spare parts of one are copies");
}
