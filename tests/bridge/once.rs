//! However often and in whatever form a message comes, it is delivered once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;
use pigeon_bundle::{BundleId, MessageId, VerdictCode};
use pigeon_harness::Kind;

use crate::mint::{self, Claim};
use crate::world::{Person, World, bytes_of, now_s};

pub async fn three_carriers_with_the_same_messages_make_one_delivery_of_each(kind: Kind) {
    const MESSAGES: usize = 40;
    let world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let messages: Vec<_> = (0..MESSAGES).map(|_| elaine.writes(&jerry, &world.card)).collect();
    let carriers = join_all(["kramer", "newman", "george"].map(|name| world.login(name))).await;
    // All at once, each carrier in an order of its own, and each message twice.
    let carry = carriers.into_iter().enumerate().map(async |(n, mut carrier)| {
        let mut answers = BTreeMap::new();
        for _ in 0..2 {
            for at in 0..MESSAGES {
                carrier.upload(&bytes_of(&messages[(at + n * 7) % MESSAGES])).await;
            }
            let mut answered = BTreeSet::new();
            while answered.len() < MESSAGES {
                let (verdict, reveal) = carrier.verdict(&world.card).await;
                assert_eq!((verdict.code, reveal), (VerdictCode::Accepted, None));
                answered.insert(verdict.bundle);
                let time_s = *answers.entry(verdict.bundle).or_insert(verdict.time_s);
                assert_eq!(time_s, verdict.time_s, "the answer about {:?} changed", verdict.bundle);
            }
        }
        answers
    });
    let answers = join_all(carry).await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "carriers got different answers");
    let last = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&last), &world.card).await, VerdictCode::Accepted);
    let mut delivered: Vec<_> =
        to.receive_until(&last.bundle).await.iter().map(|received| received.bundle.id()).collect();
    let mut sent: Vec<_> = messages.iter().map(|message| message.bundle.id()).collect();
    delivered.sort_unstable();
    sent.sort_unstable();
    assert_eq!(delivered, sent);
}

pub async fn several_in_one_message_get_each_a_verdict_of_its_own(kind: Kind) {
    let world = World::new(kind).await;
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    world.login("elaine").await.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let mut carrier = world.login("kramer").await;
    let good = [elaine.writes(&jerry, &world.card), elaine.writes(&jerry, &world.card)];
    let strange = newman.writes(&jerry, &world.card);
    let all = [
        bytes_of(&good[0]),
        bytes_of(&strange),
        Bytes::from_static(b"no bundle"),
        bytes_of(&good[0]),
        bytes_of(&good[1]),
    ];
    carrier.upload_together(&world.card, &all).await;
    let mut codes = BTreeMap::new();
    while codes.len() < 4 {
        let (verdict, _) = carrier.verdict(&world.card).await;
        codes.insert(verdict.bundle, verdict.code);
    }
    for (bundle, code) in [
        (good[0].bundle.id(), VerdictCode::Accepted),
        (good[1].bundle.id(), VerdictCode::Accepted),
        (strange.bundle.id(), VerdictCode::AuthorNotRegistered),
        (BundleId([0; 32]), VerdictCode::Malformed),
    ] {
        assert_eq!(codes.get(&bundle), Some(&code), "{codes:?}");
    }
    let last = elaine.writes(&jerry, &world.card);
    carrier.upload(&bytes_of(&last)).await;
    // What was in the message twice may have been answered twice.
    while carrier.verdict(&world.card).await.0.bundle != last.bundle.id() {}
    let delivered: Vec<_> =
        to.receive_until(&last.bundle).await.iter().map(|received| received.bundle.id()).collect();
    assert_eq!(delivered, good.each_ref().map(|message| message.bundle.id()));
}

pub async fn a_stripped_or_re_encoded_uplink_block_makes_no_second_delivery(kind: Kind) {
    let world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let mut carrier = world.login("newman").await;
    let message = elaine.writes(&jerry, &world.card);
    let uplink = message.bundle.uplink().unwrap();
    let data = mint::uplink_data(world.card.domain(), world.card.key(), &uplink.route);
    let mut altered = uplink.route.to_vec();
    altered[200] ^= 4;
    let altered = mint::uplink_data(world.card.domain(), world.card.key(), &altered);
    let spelled = [&[0x9f], &data[1..], &[0xff]].concat();
    let claim = Claim {
        author: &elaine.jid(),
        recipient: &jerry.jid(),
        message_id: MessageId([9; 16]),
        sent_ms: now_s() * 1_000,
    };
    let of = |data: Option<&[u8]>| mint::with_uplink(&message.bundle, data);
    let variants: [(&str, Bytes, VerdictCode); 4] = [
        ("stripped", of(None), VerdictCode::RouteDoesNotOpen),
        ("altered", of(Some(&altered)), VerdictCode::RouteDoesNotOpen),
        ("spelled otherwise", of(Some(&spelled)), VerdictCode::Malformed),
        (
            "the author's own second bundle of the message",
            mint::with_route(&message.bundle, &world.card, &elaine.identity, &claim),
            VerdictCode::Accepted,
        ),
    ];
    for (what, variant, code) in &variants[..3] {
        assert_eq!(carrier.brings(variant, &world.card).await, *code, "{what}, before");
    }
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    for (what, variant, code) in &variants {
        assert_eq!(carrier.brings(variant, &world.card).await, *code, "{what}, after");
    }
    let last = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&last), &world.card).await, VerdictCode::Accepted);
    let delivered = to.receive_until(&last.bundle).await;
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].bundle, message.bundle);
}
