//! Neighbours that lie. Each runs a real core, and what leaves it is twisted.

use bytes::Bytes;
use pigeon_bundle::{BundleId, Reveal, Tag};
use pigeon_core::{Event, StoreOp};
use pigeon_proto::{Accept, DeclineReason, Frame, Offer};

use crate::model::Broken;
use crate::plan::Dice;
use crate::support::pool::variant;
use crate::world::World;

/// Frames that a liar remembers to say again.
const REMEMBERED_MAX: usize = 64;
/// Frames of a flood, on each link.
const FLOOD: u64 = 60;

/// A way to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Claims the best quality there is, to get every last copy.
    BestQuality,
    /// Says `Stored` and throws away: a black hole for copies.
    NeverStores,
    /// Says again what it said before, on this link or another.
    Replays,
    /// Sends lists and offers without end.
    Floods,
    /// Sends garbage in place of what it should.
    Garbage,
    /// Refuses whatever it is offered.
    Refuses,
    /// Makes variants of bundles (another B for the same P), and copies from nothing.
    Mints,
}

impl Lie {
    pub const ALL: [Self; 7] = [
        Self::BestQuality,
        Self::NeverStores,
        Self::Replays,
        Self::Floods,
        Self::Garbage,
        Self::Refuses,
        Self::Mints,
    ];

    pub fn any(dice: &mut Dice) -> Self {
        Self::ALL[dice.index(Self::ALL.len())]
    }
}

impl World {
    pub fn lies(&self, node: usize) -> Option<Lie> {
        self.plan.liars[node]
    }

    /// What leaves a node in place of a frame.
    pub fn twist(&mut self, node: usize, frame: Frame) -> Vec<Frame> {
        match (self.lies(node), frame) {
            (Some(Lie::BestQuality), Frame::Accept(accept)) => {
                vec![Frame::Accept(Accept { quality: u16::MAX, ..accept })]
            }
            (Some(Lie::Refuses), Frame::Accept(accept)) => {
                vec![Frame::Decline { bundle: accept.bundle, reason: any_reason(&mut self.dice) }]
            }
            (Some(Lie::Replays), frame) => {
                let said = &mut self.said[node];
                if said.len() < REMEMBERED_MAX {
                    said.push(frame.clone());
                }
                let mut frames = vec![frame];
                if self.dice.percent(15) {
                    let again = self.dice.index(said.len());
                    frames.push(said[again].clone());
                }
                frames
            }
            (Some(Lie::Floods), frame @ Frame::Recognise { .. }) => {
                let flood =
                    (0..1 + self.dice.below(FLOOD)).map(|_| garbage(&mut self.dice)).collect::<Vec<_>>();
                std::iter::once(frame).chain(flood).collect()
            }
            (Some(Lie::Garbage), frame) => {
                if self.dice.percent(10) {
                    vec![garbage(&mut self.dice)]
                } else {
                    vec![frame]
                }
            }
            (_, frame) => vec![frame],
        }
    }

    /// After a liar has written, and has said so.
    pub fn after_liars_write(&mut self, node: usize, ops: &[StoreOp]) -> Result<(), Broken> {
        let puts = ops.iter().filter_map(|op| match op {
            StoreOp::Put { bundle, entry } => Some((bundle, entry)),
            _ => None,
        });
        for (bundle, entry) in puts {
            match self.lies(node) {
                Some(Lie::NeverStores) => {
                    let reason = pigeon_core::RemovalReason::Evicted;
                    self.nodes[node].catalog.apply(&[StoreOp::Remove { id: bundle.id(), reason }]);
                }
                Some(Lie::Mints) => {
                    let mut minted = entry.clone();
                    minted.copies = 6;
                    let id = bundle.id();
                    self.nodes[node].catalog.apply(&[StoreOp::Update { id, entry: minted.clone() }]);
                    if let Some(bundle) = variant(&id) {
                        let id = bundle.id();
                        self.nodes[node].catalog.apply(&[StoreOp::Put { bundle, entry: minted }]);
                        self.event(node, Event::Submitted { bundle: id })?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn any_reason(dice: &mut Dice) -> DeclineReason {
    let reasons = [
        DeclineReason::Known,
        DeclineReason::Tombstoned,
        DeclineReason::Bucket,
        DeclineReason::PoolFull,
        DeclineReason::Expired,
        DeclineReason::QualityTooLow,
        DeclineReason::StorageFailed,
        DeclineReason::CarriageClosed,
    ];
    reasons[dice.index(reasons.len())]
}

/// A frame that could be one.
fn garbage(dice: &mut Dice) -> Frame {
    let mut mac16 = [0; 16];
    mac16.copy_from_slice(&dice.bytes()[..16]);
    let mut mac8 = [0; 8];
    mac8.copy_from_slice(&dice.bytes()[..8]);
    let bundle = BundleId(dice.bytes());
    let last = dice.percent(50);
    match dice.below(10) {
        0 => Frame::Recognise { macs: vec![mac16], last },
        1 => Frame::TombstonesRevealed { reveals: vec![Reveal(dice.bytes())] },
        2 => Frame::Have { macs: vec![mac16], last },
        3 => Frame::Carrying { macs: vec![mac8], last },
        4 => Frame::Pull { macs: vec![mac8] },
        5 => Frame::Reachable { tags: vec![Tag(mac16)], last: true },
        6 => {
            let (quality, age_s) = (u16::MAX, dice.below(1 << 20));
            let offer =
                Offer { bundle, size: 5_000, copies: 3, quality, moves: 0, age_s, hops: 0, tag: None };
            Frame::Offer(offer)
        }
        7 => Frame::Segment { bundle, offset: 0, data: Bytes::from_static(b"garbage") },
        8 => Frame::Granted { bundle, copies: 3 },
        _ => Frame::Stored { bundle },
    }
}
