//! How many parts, and how large.

use super::error::LayoutError;

/// Most parts that may be needed to make the content.
pub const NEEDED_MAX: usize = 512;
/// Most parts of an attachment, the spare ones among them.
pub const PARTS_MAX: usize = 640;
/// Largest part in bytes: its message then fills the step of 65,536 bytes.
pub const PART_SIZE_MAX: usize = 65_344;
/// The erasure code works on blocks of this many bytes.
const BLOCK: usize = 64;
/// Spare parts at least, and one more for each [`SPARE_SHARE`] needed.
const SPARE_MIN: usize = 2;
const SPARE_SHARE: usize = 8;

/// Numbers that fit each other: `needed` parts of `part_size` bytes hold the content, and there are `parts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    needed: usize,
    parts: usize,
    part_size: usize,
}

impl Layout {
    /// How this program cuts content of `size` bytes, 1 to [`super::ATTACHMENT_SIZE_MAX`].
    pub(super) fn for_size(size: usize) -> Self {
        let needed = size.div_ceil(PART_SIZE_MAX).max(1);
        let part_size = size.div_ceil(needed).next_multiple_of(BLOCK);
        Self { needed, parts: needed + SPARE_MIN.max(needed / SPARE_SHARE), part_size }
    }

    /// Numbers from outside, for content of `size` bytes.
    ///
    /// # Errors
    /// The first rule of `docs/wire-format.md` section 8 that they break.
    pub fn checked(size: usize, needed: u32, parts: u32, part_size: u32) -> Result<Self, LayoutError> {
        // On a target where they do not fit a usize they are over every limit below.
        let [needed, parts, part_size] =
            [needed, parts, part_size].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let range = |field, found, min, max| {
            if (min..=max).contains(&found) {
                Ok(())
            } else {
                Err(LayoutError::Range { field, found, min, max })
            }
        };
        range("needed", needed, 1, NEEDED_MAX)?;
        range("parts", parts, needed, PARTS_MAX.min(needed + needed.max(SPARE_MIN)))?;
        range("part_size", part_size, BLOCK, PART_SIZE_MAX)?;
        if !part_size.is_multiple_of(BLOCK) {
            return Err(LayoutError::Block { part_size });
        }
        if !((needed - 1) * part_size < size && size <= needed * part_size) {
            return Err(LayoutError::Cover { size, needed, part_size });
        }
        Ok(Self { needed, parts, part_size })
    }

    /// Parts that suffice.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// Parts there are; those from [`Layout::needed`] on are spare.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Spare parts.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.parts - self.needed
    }

    /// Bytes of each part.
    #[must_use]
    pub fn part_size(&self) -> usize {
        self.part_size
    }

    /// Bytes of the parts that suffice: the content and the zeros that fill up the last of them.
    #[must_use]
    pub fn padded_size(&self) -> usize {
        self.needed * self.part_size
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::ATTACHMENT_SIZE_MAX;
    use super::*;

    #[test]
    fn our_own_layouts_pass_our_own_check() {
        let edges = (1..=257).flat_map(|k| [k * PART_SIZE_MAX - 1, k * PART_SIZE_MAX, k * PART_SIZE_MAX + 1]);
        for size in edges.chain([1, 63, 64, 65, 1 << 20, ATTACHMENT_SIZE_MAX]) {
            if size > ATTACHMENT_SIZE_MAX {
                continue;
            }
            let layout = Layout::for_size(size);
            let number = |n: usize| u32::try_from(n).unwrap();
            let Layout { needed, parts, part_size } = layout;
            let checked = Layout::checked(size, number(needed), number(parts), number(part_size));
            assert_eq!(checked, Ok(layout), "{size}");
        }
        let largest = Layout::for_size(ATTACHMENT_SIZE_MAX);
        assert_eq!((largest.needed, largest.parts), (257, 289));
    }

    #[test]
    fn numbers_that_lie_are_refused() {
        let checked = |size, needed, parts, part_size| Layout::checked(size, needed, parts, part_size);
        assert!(
            checked(100, 2, 4, 64).is_ok() && checked(1, 1, 3, 64).is_ok() && checked(64, 1, 1, 64).is_ok()
        );
        let field = |result: Result<Layout, LayoutError>| match result {
            Err(LayoutError::Range { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(checked(100, 0, 4, 64)), "needed");
        assert_eq!(field(checked(100, 513, 520, 64)), "needed");
        assert_eq!(field(checked(100, u32::MAX, u32::MAX, u32::MAX)), "needed");
        assert_eq!(field(checked(100, 2, 1, 64)), "parts", "fewer than are needed");
        assert_eq!(field(checked(100, 2, 5, 64)), "parts", "more spare ones than the code allows");
        assert_eq!(field(checked(64, 1, 4, 64)), "parts");
        assert_eq!(field(checked(1 << 20, 400, 641, 2_624)), "parts");
        assert_eq!(field(checked(100, 2, u32::MAX, 64)), "parts");
        assert_eq!(field(checked(100, 2, 4, 0)), "part_size");
        assert_eq!(field(checked(100, 2, 4, 65_408)), "part_size");
        assert_eq!(checked(100, 2, 4, 65), Err(LayoutError::Block { part_size: 65 }));
        for (size, needed) in [(129, 2), (64, 2), (1, 2), (65, 1)] {
            let cover = LayoutError::Cover { size, needed, part_size: 64 };
            assert_eq!(checked(size, u32::try_from(needed).unwrap(), 3, 64), Err(cover));
        }
    }
}
