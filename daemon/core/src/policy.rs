//! Who gets how many copies (PROTOCOL.md section 5, b and c). Small, and behind a trait, so that another
//! routing can be tried against the same simulation.

use crate::entry::{Entry, HOPS_MAX, Pool};
use pigeon_proto::COPIES_PER_OFFER_MAX;

/// Moves of a last copy.
pub const MOVES_MAX: u8 = 4;
/// What a move must add to the chance that one of the copy's holders delivers, of 65,535: 2 %.
pub const GAIN_MIN: u16 = 1_311;
/// The quality that a node answers while it has the internet: it delivers at once.
pub(crate) const ONLINE: u16 = u16::MAX;

/// What to offer a neighbour that does not hold the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Give {
    /// Nothing.
    Nothing,
    /// So many copies, and we keep the rest.
    Split(u8),
    /// Our last copy, if the neighbour's quality is worth the move.
    Last,
}

/// A routing policy: a pure function of what is known. Qualities are q = 1 − exp(−x) in 16 bits.
pub trait Policy: std::fmt::Debug + Send {
    /// What to offer, with `reserved` copies promised to others on links that are up.
    fn give(&self, entry: &Entry, reserved: u8) -> Give;
    /// Whether the last copy moves to a taker of quality `theirs`, after what it has seen.
    fn moves_to(&self, seen: u16, theirs: u16) -> bool;
    /// What a copy has seen when a holder of quality `own` gets it: the best, or what the policy makes of it.
    fn seen(&self, before: u16, own: u16) -> u16 {
        before.max(own)
    }
}

/// Which routing a node uses, as its configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// [`Delegate`], the default.
    #[default]
    Delegate,
    /// [`Spray`].
    Spray,
    /// [`SourceSpray`].
    SourceSpray,
}

impl Routing {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Delegate, Self::Spray, Self::SourceSpray];

    /// The name in configurations and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delegate => "delegate",
            Self::Spray => "spray",
            Self::SourceSpray => "source-spray",
        }
    }

    /// The routing with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|routing| routing.name() == name)
    }

    pub(crate) fn policy(self) -> Box<dyn Policy> {
        match self {
            Self::Delegate => Box::new(Delegate),
            Self::Spray => Box::new(Spray),
            Self::SourceSpray => Box::new(SourceSpray),
        }
    }
}

/// Binary spray; then the last copy is delegated to nodes whose quality adds something, a few times.
///
/// Who gives a copy away keeps the bundle, for the recipient and for the uplink. So a copy's holders deliver together,
/// each with its own chance q, and what the copy has seen is the joint chance Q = 1 − Π(1 − q). A taker adds
/// q (1 − Q): at least [`GAIN_MIN`], or the move is not worth its transmission.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delegate;

impl Policy for Delegate {
    fn give(&self, entry: &Entry, reserved: u8) -> Give {
        match Spray.give(entry, reserved) {
            Give::Nothing if may_leave(entry) && (entry.copies, reserved) == (1, 0) => {
                if entry.moves < MOVES_MAX { Give::Last } else { Give::Nothing }
            }
            give => give,
        }
    }

    fn moves_to(&self, seen: u16, theirs: u16) -> bool {
        theirs == ONLINE || self.seen(seen, theirs) - seen >= GAIN_MIN
    }

    fn seen(&self, before: u16, own: u16) -> u16 {
        let missing = u32::from(u16::MAX - before) * u32::from(u16::MAX - own) / u32::from(u16::MAX);
        u16::MAX - u16::try_from(missing).unwrap_or(u16::MAX)
    }
}

/// Binary spray and wait: half of the copies to each node met, until one is left.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spray;

impl Policy for Spray {
    fn give(&self, entry: &Entry, reserved: u8) -> Give {
        match entry.copies.saturating_sub(reserved) {
            free @ 2.. if may_leave(entry) => Give::Split((free / 2).min(COPIES_PER_OFFER_MAX)),
            _ => Give::Nothing,
        }
    }

    fn moves_to(&self, _seen: u16, _theirs: u16) -> bool {
        false
    }
}

/// Source spray and wait: the author hands single copies to the first five nodes it meets, which give them to the
/// recipient only.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceSpray;

impl Policy for SourceSpray {
    fn give(&self, entry: &Entry, reserved: u8) -> Give {
        let free = entry.copies.saturating_sub(reserved);
        if entry.pool == Pool::Own && free > 1 && may_leave(entry) { Give::Split(1) } else { Give::Nothing }
    }

    fn moves_to(&self, _seen: u16, _theirs: u16) -> bool {
        false
    }
}

fn may_leave(entry: &Entry) -> bool {
    !entry.at_bridge && entry.hops < HOPS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(copies: u8, reserved: u8) -> Give {
        let entry = Entry { copies, ..Entry::own(0, None) };
        Delegate.give(&entry, reserved)
    }

    #[test]
    fn budgets_are_halved_and_promises_count() {
        let table = [(6, 0, 3), (6, 3, 1), (6, 4, 1), (5, 0, 2), (3, 0, 1), (2, 0, 1)];
        for (copies, reserved, expected) in table {
            assert_eq!(give(copies, reserved), Give::Split(expected), "{copies} with {reserved} promised");
        }
        for (copies, reserved) in [(6, 5), (6, 6), (2, 1), (1, 1), (0, 0)] {
            assert_eq!(give(copies, reserved), Give::Nothing, "{copies} with {reserved} promised");
        }
    }

    #[test]
    fn the_last_copy_moves_a_few_times_and_only_where_it_gains() {
        assert_eq!(give(1, 0), Give::Last);
        let entry = Entry { copies: 1, moves: MOVES_MAX, ..Entry::own(0, None) };
        assert_eq!(Delegate.give(&entry, 0), Give::Nothing);
        let half = u16::MAX / 2;
        assert!(
            Delegate.moves_to(0, half) && Delegate.moves_to(half, half / 2),
            "each adds a chance of its own"
        );
        assert!(!Delegate.moves_to(0, 1_000), "too little");
        assert!(!Delegate.moves_to(64_000, half), "it is as good as delivered");
        assert!(Delegate.moves_to(u16::MAX, ONLINE), "it is delivered at once");
        let joint = Delegate.seen(half, half);
        assert!((49_000..49_300).contains(&joint), "{joint}");
        assert_eq!((Delegate.seen(0, 7), Delegate.seen(7, 0), Delegate.seen(u16::MAX, 9)), (7, 7, u16::MAX));
    }

    #[test]
    fn source_spray_is_one_hop_of_single_copies() {
        assert_eq!(SourceSpray.give(&Entry::own(0, None), 2), Give::Split(1));
        assert_eq!(SourceSpray.give(&Entry::own(0, None), 5), Give::Nothing);
        let carried = Entry { pool: Pool::Stranger, ..Entry::own(0, None) };
        assert_eq!(SourceSpray.give(&carried, 0), Give::Nothing);
        assert_eq!(Spray.give(&Entry { copies: 1, ..carried }, 0), Give::Nothing);
    }

    #[test]
    fn names_are_read_back() {
        for routing in Routing::ALL {
            assert_eq!(Routing::named(routing.name()), Some(routing));
        }
        assert_eq!((Routing::ALL[0], Routing::named("epidemic")), (Routing::default(), None));
    }

    #[test]
    fn what_is_at_the_bridge_or_went_too_far_is_not_sprayed() {
        let entry = Entry { at_bridge: true, ..Entry::own(0, None) };
        assert_eq!(Delegate.give(&entry, 0), Give::Nothing);
        let entry = Entry { hops: HOPS_MAX, ..Entry::own(0, None) };
        assert_eq!(Delegate.give(&entry, 0), Give::Nothing);
    }
}
