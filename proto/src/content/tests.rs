#![allow(clippy::unwrap_used, reason = "tests")]

use data_encoding::HEXLOWER;
use pigeon_bundle::attachment::{Cut, Manifest, PART_SIZE_MAX};
use proptest::prelude::*;

use super::*;

const ID: MessageId = MessageId([0x1d; 16]);

fn text(text: &str) -> Content {
    Content::new(Body::Text(Text { id: ID, thread: None, sent_ms: 1_000, text: text.into() }))
}

fn with_keys(mut content: Content, count: usize) -> Content {
    content.one_time = Some(OneTimeKeys { keys: vec![[7; 32]; count], expires_s: DAY_S });
    content
}

/// A change here is a change of the wire format.
#[test]
fn every_body_has_these_bytes() {
    let id = "1d".repeat(16);
    let mut first = text("moin");
    first.author_card = Some(b"card".to_vec());
    let receipt = Receipt { kind: ReceiptKind::Delivered, messages: vec![ID, ID], time_ms: 5 };
    let app = Application { id: ID, service: "sensor".into(), data: Bytes::from_static(b"21C") };
    let thread = Text { id: ID, thread: Some([2; 16]), sent_ms: 0, text: String::new() };
    let snapshots = [
        (text("moin"), format!("0a1b0a10{id}18e80722046d6f696e")),
        (first, format!("0a1b0a10{id}18e80722046d6f696e7a0463617264")),
        (
            with_keys(text("moin"), 2),
            format!("0a1b0a10{id}18e80722046d6f696e72460a40{}1080a305", "07".repeat(64)),
        ),
        (Content::new(Body::Text(thread)), format!("0a240a10{id}1210{}", "02".repeat(16))),
        (Content::new(Body::Receipt(receipt)), format!("12280801 1210{id}1210{id}1805").replace(' ', "")),
        (Content::new(Body::CardUpdate(Bytes::from_static(b"card"))), "1a060a0463617264".into()),
        (Content::new(Body::Refusal(Bytes::from_static(b"no"))), "3a040a026e6f".into()),
        (Content::new(Body::Application(app)), format!("221f0a10{id}120673656e736f721a03323143")),
    ];
    for (content, hex) in snapshots {
        assert_eq!(HEXLOWER.encode(&content.encode().unwrap()), hex);
        assert_eq!(Content::decode(&HEXLOWER.decode(hex.as_bytes()).unwrap()).unwrap(), content);
    }
}

/// "Content is ... at most 65,536 bytes" (wire-format section 3)
#[test]
fn the_whole_is_held_to_its_limit() {
    assert_eq!(CONTENT_SIZE_MAX, 65_536);
    let overhead = text("").encode().unwrap().len() + 3 + 2 + 1; // heads grow with the text
    let mut content = text(&"x".repeat(CONTENT_SIZE_MAX - overhead - 2));
    while content.encode().is_ok() {
        let Body::Text(text) = &mut content.body else { unreachable!() };
        text.text.push('x');
    }
    assert_eq!(content.encode(), Err(ContentError::Oversize { size: CONTENT_SIZE_MAX + 1 }));
    let bytes = vec![0; CONTENT_SIZE_MAX + 1];
    assert_eq!(Content::decode(&bytes), Err(ContentError::Oversize { size: CONTENT_SIZE_MAX + 1 }));
}

#[test]
fn what_is_outside_the_schema_is_refused() {
    let decode = |hex: &str| Content::decode(&HEXLOWER.decode(hex.as_bytes()).unwrap());
    let id = "1d".repeat(16);
    assert_eq!(decode(""), Err(ContentError::NoBody));
    assert_eq!(decode("4200"), Err(ContentError::NoBody), "a body of a later version");
    assert!(matches!(decode("0aff"), Err(ContentError::Malformed(_))));
    let size = |field, size, min, max| Err(ContentError::Size { field, size, min, max });
    assert_eq!(decode("0a030a011d"), size("id", 1, 16, 16));
    assert_eq!(decode(&format!("0a150a10{id}120102")), size("thread", 1, 16, 16));
    assert_eq!(decode(&format!("12121210{id}")), Err(ContentError::ReceiptKind(0)));
    assert_eq!(decode("12020801"), size("message", 0, 1, 64));
    assert_eq!(decode("1a00"), size("card", 0, 1, 4_096));
    assert_eq!(decode("3a00"), size("verdict", 0, 1, 256));
    assert_eq!(decode(&format!("22120a10{id}")), size("service", 0, 1, 64));
}

#[test]
fn a_receipt_names_at_most_64_messages() {
    let receipt = |count| {
        Content::new(Body::Receipt(Receipt {
            kind: ReceiptKind::Read,
            messages: vec![ID; count],
            time_ms: 0,
        }))
    };
    assert_eq!(Content::decode(&receipt(64).encode().unwrap()).unwrap(), receipt(64));
    assert_eq!(receipt(65).encode(), Err(ContentError::Size { field: "message", size: 65, min: 1, max: 64 }));
}

#[test]
fn a_message_gives_one_to_eight_one_time_keys_that_end_with_a_day() {
    fn outside<T>(size: usize, min: usize, max: usize) -> Result<T, ContentError> {
        Err(ContentError::Size { field: "one_time", size, min, max })
    }
    assert!(with_keys(text("x"), 8).encode().is_ok());
    assert_eq!(with_keys(text("x"), 0).encode(), outside(0, 1, 8));
    assert_eq!(with_keys(text("x"), 9).encode(), outside(9, 1, 8));
    for expires_s in [0, DAY_S - 1, DAY_S + 1] {
        let mut content = with_keys(text("x"), 1);
        content.one_time.as_mut().unwrap().expires_s = expires_s;
        assert_eq!(content.encode(), Err(ContentError::OneTimeExpiry(expires_s)));
    }
    // The same said by somebody else's encoder.
    let bytes = |one_time: &str| {
        let hex = format!("{}{one_time}", HEXLOWER.encode(&text("").encode().unwrap()));
        Content::decode(&HEXLOWER.decode(hex.as_bytes()).unwrap())
    };
    assert_eq!(bytes("72041080a305"), outside(0, 1, 8));
    assert_eq!(bytes(&format!("72250a1f{}1080a305", "07".repeat(31))), outside(31, 32, 256));
    assert_eq!(
        bytes(&format!("72a7020a a002{}1080a305", "07".repeat(288)).replace(' ', "")),
        outside(9, 1, 8)
    );
    assert_eq!(bytes(&format!("72220a20{}", "07".repeat(32))), Err(ContentError::OneTimeExpiry(0)));
}

#[test]
fn a_card_update_without_a_card_cannot_be_made() {
    let empty = Content::new(Body::CardUpdate(Bytes::new()));
    assert!(matches!(empty.encode(), Err(ContentError::Size { field: "card", .. })));
}

fn attached(data: &'static [u8], manifest: Manifest, whole: bool) -> Content {
    let message = Text { id: ID, thread: None, sent_ms: 1, text: "look".into() };
    let data = whole.then(|| Bytes::from_static(data));
    Content::new(Body::Attachment(Attachment { message, manifest, data }))
}

#[test]
fn attachments_and_parts_have_these_bytes() {
    let id = "1d".repeat(16);
    let whole = Manifest::whole("a", "b/c", b"soup").unwrap();
    let digest = HEXLOWER.encode(whole.digest());
    let cut = Cut::new("a", "", b"soup".to_vec()).unwrap().manifest().clone();
    let hashes = HEXLOWER.encode(cut.part_hashes().as_flattened());
    let part = Part { attachment: ID, index: 2, data: vec![7; 64].into() };
    let snapshots = [
        (
            attached(b"soup", whole, true),
            format!("2a500a1a0a10{id}180122046c6f6f6b122c0a0161 1203622f631804 2220{digest} 1a04736f7570"),
        ),
        (
            attached(b"soup", cut, false),
            format!(
                "2aae010a1a0a10{id}180122046c6f6f6b128f010a0161 18042220{digest} 280130033840 4260{hashes}"
            ),
        ),
        (Content::new(Body::Part(part)), format!("32560a10{id}10021a40{}", "07".repeat(64))),
    ];
    for (content, hex) in snapshots {
        let hex = hex.replace(' ', "");
        assert_eq!(HEXLOWER.encode(&content.encode().unwrap()), hex);
        assert_eq!(Content::decode(&HEXLOWER.decode(hex.as_bytes()).unwrap()).unwrap(), content);
        for end in 0..hex.len() / 2 {
            let cut = Content::decode(&HEXLOWER.decode(&hex.as_bytes()[..2 * end]).unwrap());
            assert!(cut.is_err(), "cut at {end}");
        }
    }
}

#[test]
fn attached_data_are_what_the_manifest_names_or_refused() {
    let whole = Manifest::whole("a", "", b"soup").unwrap();
    let parts = Cut::new("a", "", b"soup".to_vec()).unwrap().manifest().clone();
    for wrong in [
        attached(b"soap", whole.clone(), true),
        attached(b"sou", whole.clone(), true),
        attached(b"", whole.clone(), false),
        attached(b"soup", parts.clone(), true),
    ] {
        assert_eq!(wrong.encode(), Err(ContentError::AttachedData));
    }
    let mut bytes = attached(b"soup", whole, true).encode().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(Content::decode(&bytes), Err(ContentError::AttachedData));
    // The number of parts of a manifest on the wire, changed from 3 to 100.
    let bytes = attached(b"", parts, false).encode().unwrap();
    let hex = HEXLOWER.encode(&bytes).replacen("280130033840", "280130643840", 1);
    let lie = Content::decode(&HEXLOWER.decode(hex.as_bytes()).unwrap());
    assert!(matches!(lie, Err(ContentError::Manifest(ManifestError::Layout(_)))), "{lie:?}");
    assert!(Content::decode(&[0x2a, 0]).is_err(), "nothing in it");
}

#[test]
fn parts_are_blocks_with_a_number_in_range() {
    let part = |index, size: usize| {
        Content::new(Body::Part(Part { attachment: ID, index, data: vec![7; size].into() })).encode()
    };
    assert!(part(639, PART_SIZE_MAX).unwrap().len() <= CONTENT_SIZE_MAX);
    assert_eq!(part(640, 64), Err(ContentError::Size { field: "index", size: 640, min: 0, max: 639 }));
    assert_eq!(part(0, 65), Err(ContentError::PartBlock));
    for size in [0, 63, PART_SIZE_MAX + 64] {
        assert_eq!(
            part(0, size),
            Err(ContentError::Size { field: "part", size, min: 64, max: PART_SIZE_MAX })
        );
    }
    assert_eq!(
        Content::decode(&[0x32, 0]),
        Err(ContentError::Size { field: "attachment", size: 0, min: 16, max: 16 })
    );
}

/// "All parts have the padding step of 65,536 bytes" (wire-format section 8).
#[test]
fn a_full_part_fills_its_step_and_the_manifest_of_the_largest_attachment_fits() {
    let cut = Cut::new(&"n".repeat(255), "image/png", vec![7; 16 << 20]).unwrap();
    let part = Part { attachment: ID, index: 288, data: cut.part(288).unwrap().to_vec().into() };
    let content = Content::new(Body::Part(part)).encode().unwrap();
    // author 34, reveal 34, signature 66, head of the content 4, length 4 (wire-format section 3)
    let plaintext = content.len() + 34 + 34 + 66 + 4 + 4;
    assert!((49_152..=65_536).contains(&plaintext), "{plaintext}");
    assert!(65_536 - plaintext < 64, "another block would fit: {plaintext}");
    assert!(attached(b"", cut.manifest().clone(), false).encode().unwrap().len() < 10_000);
}

#[test]
fn debug_prints_nothing_that_people_wrote() {
    let mut content = text("the soup is a secret");
    content.author_card = Some(b"the soup card".to_vec());
    content.one_time =
        Some(OneTimeKeys { keys: vec![*b"soup soup soup soup soup soup..!"], expires_s: DAY_S });
    let app = Application { id: ID, service: "soup".into(), data: Bytes::from_static(b"soup") };
    let update = Body::CardUpdate(Bytes::from_static(b"soup"));
    let attachment = attached(b"soup", Manifest::whole("soup", "text/soup", b"soup").unwrap(), true);
    let part = Body::Part(Part { attachment: ID, index: 0, data: b"soup".repeat(16).into() });
    let shown = format!("{content:?} {:?} {update:?} {attachment:?} {part:?}", Body::Application(app));
    assert!(shown.contains("size"), "{shown}");
    assert!(!shown.contains("soup"), "{shown}");
}

proptest! {
    #[test]
    fn content_comes_back_as_it_was(
        id in any::<[u8; 16]>(), thread in any::<Option<[u8; 16]>>(), sent_ms in any::<u64>(),
        text in ".{0,200}", card in prop::option::of(prop::collection::vec(any::<u8>(), 1..200)),
        keys in prop::option::of((prop::collection::vec(any::<[u8; 32]>(), 1..=8), 1_u64..1_000_000)),
    ) {
        let body = Body::Text(Text { id: MessageId(id), thread, sent_ms, text });
        let one_time = keys.map(|(keys, day)| OneTimeKeys { keys, expires_s: day * DAY_S });
        let content = Content { body, author_card: card, one_time };
        prop_assert_eq!(Content::decode(&content.encode().unwrap()).unwrap(), content);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(content) = Content::decode(&bytes) {
            prop_assert_eq!(Content::decode(&content.encode().unwrap()).unwrap(), content);
        }
    }
}
