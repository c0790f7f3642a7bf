//! From parts to content.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, RateDecoder as _};

use super::error::{AttachmentError, PartError};
use super::layout::Layout;
use super::manifest::Manifest;

/// Parts on their way to being content again. Needs a manifest of content that was cut.
///
/// 1. [`Assembly::add`] as many parts as there are, in any order, until [`Assembly::is_ready`].
/// 2. [`Assembly::finish`] gives the content.
///
/// It holds the content once, and for `finish` with missing parts about twice more.
pub struct Assembly<'a> {
    manifest: &'a Manifest,
    layout: Layout,
    /// The parts that make the content, each at its place.
    content: Vec<u8>,
    /// Which of them are there.
    have: BTreeSet<usize>,
    /// Spare parts, by their number among the spare ones.
    spare: BTreeMap<usize, Vec<u8>>,
}

impl<'a> Assembly<'a> {
    /// An assembly without parts; `None` where the manifest has none. Allocates the size of the content.
    #[must_use]
    pub fn new(manifest: &'a Manifest) -> Option<Self> {
        let layout = *manifest.layout()?;
        Some(Self {
            manifest,
            layout,
            content: vec![0; layout.padded_size()],
            have: BTreeSet::new(),
            spare: BTreeMap::new(),
        })
    }

    /// Takes a part, if it is the manifest's. True where it was not there yet; beyond what is needed parts are checked
    /// and not kept.
    ///
    /// # Errors
    /// [`PartError`]; nothing has changed then.
    pub fn add(&mut self, index: usize, data: &[u8]) -> Result<bool, PartError> {
        self.manifest.check_part(index, data)?;
        if self.is_ready() {
            return Ok(false);
        }
        let needed = self.layout.needed();
        match index.checked_sub(needed) {
            None => {
                let start = index * self.layout.part_size();
                if let Some(place) = self.content.get_mut(start..start + data.len()) {
                    place.copy_from_slice(data);
                }
                Ok(self.have.insert(index))
            }
            Some(spare) => Ok(self.spare.insert(spare, data.to_vec()).is_none()),
        }
    }

    /// Parts that are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.have.len() + self.spare.len()
    }

    /// Whether no part is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the parts suffice.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.len() >= self.layout.needed()
    }

    /// Makes the content.
    ///
    /// # Errors
    /// [`AttachmentError::TooFew`] before it is ready; [`AttachmentError::Content`] where the manifest lies.
    pub fn finish(mut self) -> Result<Vec<u8>, AttachmentError> {
        let needed = self.layout.needed();
        if !self.is_ready() {
            return Err(AttachmentError::TooFew { have: self.len(), needed });
        }
        if self.have.len() < needed {
            self.restore()?;
        }
        self.content.truncate(self.manifest.size());
        if self.manifest.is_content(&self.content) { Ok(self.content) } else { Err(AttachmentError::Content) }
    }

    fn restore(&mut self) -> Result<(), AttachmentError> {
        let (needed, size) = (self.layout.needed(), self.layout.part_size());
        if needed == 1 {
            // Spare parts of one part are copies of it.
            if let Some(copy) = self.spare.pop_first() {
                self.content = copy.1;
            }
            return Ok(());
        }
        let mut decoder =
            HighRateDecoder::new(needed, self.layout.spare(), size, DefaultEngine::new(), None)?;
        for &index in &self.have {
            if let Some(part) = self.content.chunks(size).nth(index) {
                decoder.add_original_shard(index, part)?;
            }
        }
        for (index, part) in core::mem::take(&mut self.spare) {
            decoder.add_recovery_shard(index, part)?;
        }
        for (index, part) in decoder.decode()?.restored_original_iter() {
            let start = index * size;
            if let Some(place) = self.content.get_mut(start..start + part.len()) {
                place.copy_from_slice(part);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Assembly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly").field("manifest", self.manifest).field("parts", &self.len()).finish()
    }
}
