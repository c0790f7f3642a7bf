//! Who gets how many copies (PROTOCOL.md section 5, b and c). Small, and behind a trait, so that another
//! routing can be tried against the same simulation.

use crate::entry::{Entry, HOPS_MAX};
use pigeon_proto::COPIES_PER_OFFER_MAX;

/// Moves of a last copy.
pub const MOVES_MAX: u8 = 3;

/// What to offer a neighbour that does not hold the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Give {
    /// Nothing.
    Nothing,
    /// So many copies, and we keep the rest.
    Split(u8),
    /// Our last copy, if the neighbour's quality is above the best it has seen.
    Last,
}

/// A routing policy: a pure function of what is known.
pub trait Policy: std::fmt::Debug + Send {
    /// What to offer, with `reserved` copies promised to others on links that are up.
    fn give(&self, entry: &Entry, reserved: u8) -> Give;
    /// Whether the last copy moves to a taker of quality `theirs`, when the best it has seen is `best`.
    fn moves_to(&self, best: u16, theirs: u16) -> bool;
}

/// Binary spray, then focus of the last copy on quality.
#[derive(Debug, Clone, Copy, Default)]
pub struct SprayAndFocus;

impl Policy for SprayAndFocus {
    fn give(&self, entry: &Entry, reserved: u8) -> Give {
        if entry.at_bridge || entry.hops >= HOPS_MAX {
            return Give::Nothing;
        }
        match (entry.copies, entry.copies.saturating_sub(reserved)) {
            (1, 1) if entry.moves < MOVES_MAX => Give::Last,
            (_, 0 | 1) => Give::Nothing,
            (_, free) => Give::Split((free / 2).min(COPIES_PER_OFFER_MAX)),
        }
    }

    fn moves_to(&self, best: u16, theirs: u16) -> bool {
        theirs > best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(copies: u8, reserved: u8) -> Give {
        let entry = Entry { copies, ..Entry::own(0, None) };
        SprayAndFocus.give(&entry, reserved)
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
    fn the_last_copy_moves_three_times_and_only_upwards() {
        assert_eq!(give(1, 0), Give::Last);
        let entry = Entry { copies: 1, moves: MOVES_MAX, ..Entry::own(0, None) };
        assert_eq!(SprayAndFocus.give(&entry, 0), Give::Nothing);
        assert!(SprayAndFocus.moves_to(5, 6) && !SprayAndFocus.moves_to(5, 5));
    }

    #[test]
    fn what_is_at_the_bridge_or_went_too_far_is_not_sprayed() {
        let entry = Entry { at_bridge: true, ..Entry::own(0, None) };
        assert_eq!(SprayAndFocus.give(&entry, 0), Give::Nothing);
        let entry = Entry { hops: HOPS_MAX, ..Entry::own(0, None) };
        assert_eq!(SprayAndFocus.give(&entry, 0), Give::Nothing);
    }
}
