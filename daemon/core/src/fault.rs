//! Known mistakes, built in with the feature `faults` only, so that the simulation can show that it finds them.

/// A mistake somebody could make in this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    not(feature = "faults"),
    allow(dead_code, unreachable_pub, reason = "only named where a fault would act")
)]
pub enum Fault {
    /// A hand-over does not reduce the giver's copies.
    BudgetNotHalved,
    /// The hand-over is spent when the last segment is sent, before `Stored`.
    SpentBeforeStored,
    /// The taker counts the offered copies when it stores the bundle, before `Granted`.
    CopiesBeforeGranted,
    /// `Stored` is sent before the commit that holds the bundle.
    StoredBeforeCommit,
    /// A tombstone kills nothing.
    TombstoneIgnored,
    /// Eviction takes own mail as well.
    OwnMailEvicted,
    /// A link that ends after `Granted` gives its copies back: the frame may have been lost.
    RefundAfterLostGranted,
    /// Nobody looks whether a bundle is too old.
    ExpiredDelivered,
    /// A last copy moves to every node it meets.
    MovesUncapped,
    /// The giver does not reserve what it has promised to somebody else.
    NothingReserved,
}

/// Which mistake is switched on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    #[cfg(feature = "faults")]
    active: Option<Fault>,
}

impl Faults {
    #[cfg(feature = "faults")]
    pub(crate) fn of(fault: Fault) -> Self {
        Self { active: Some(fault) }
    }

    #[cfg(feature = "faults")]
    pub(crate) fn has(self, fault: Fault) -> bool {
        self.active == Some(fault)
    }

    #[cfg(not(feature = "faults"))]
    #[expect(clippy::unused_self, reason = "the same signature with and without the feature")]
    pub(crate) fn has(self, _fault: Fault) -> bool {
        false
    }
}
