//! From content to parts.

use core::fmt;

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateEncoder, RateEncoder as _};

use super::error::AttachmentError;
use super::layout::Layout;
use super::manifest::{ATTACHMENT_SIZE_MAX, Manifest, hash_of_part};
use crate::attachment::ManifestError;

/// Content that was cut: its manifest, and all its parts in memory (content, padding and spare parts).
#[derive(Clone)]
pub struct Cut {
    manifest: Manifest,
    layout: Layout,
    /// The content, filled up with zeros.
    content: Vec<u8>,
    /// The spare parts, one after the other.
    spare: Vec<u8>,
}

impl Cut {
    /// Cuts `content`. It takes some 3 times its size of memory for as long as it runs, and keeps 1.13 times of it.
    ///
    /// # Errors
    /// A size, name or media type that is not allowed.
    pub fn new(name: &str, media_type: &str, mut content: Vec<u8>) -> Result<Self, AttachmentError> {
        let size = content.len();
        if size == 0 || size > ATTACHMENT_SIZE_MAX {
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            return Err(ManifestError::Size { size }.into());
        }
        let layout = Layout::for_size(size);
        content.resize(layout.padded_size(), 0);
        let spare = spare_parts(&layout, &content)?;
        let parts = content.chunks(layout.part_size()).chain(spare.chunks(layout.part_size()));
        let hashes = parts.enumerate().map(|(index, data)| hash_of_part(index, data)).collect();
        // The padding is at the end: `size` was the length before it.
        let whole = content.get(..size).unwrap_or_default();
        let manifest = Manifest::of_parts(name, media_type, whole, layout, hashes)?;
        Ok(Self { manifest, layout, content, spare })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How it is cut.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Part `index`, from 0; `None` where there is none.
    #[must_use]
    pub fn part(&self, index: usize) -> Option<&[u8]> {
        let size = self.layout.part_size();
        match index.checked_sub(self.layout.needed()) {
            None => self.content.chunks(size).nth(index),
            Some(spare) => self.spare.chunks(size).nth(spare),
        }
    }
}

/// The spare parts by the erasure code; copies where there is but one part to make them of.
fn spare_parts(layout: &Layout, padded: &[u8]) -> Result<Vec<u8>, AttachmentError> {
    let (needed, spare, size) = (layout.needed(), layout.spare(), layout.part_size());
    if needed == 1 {
        return Ok(padded.repeat(spare));
    }
    let mut encoder = HighRateEncoder::new(needed, spare, size, DefaultEngine::new(), None)?;
    for part in padded.chunks(size) {
        encoder.add_original_shard(part)?;
    }
    let mut out = Vec::with_capacity(spare * size);
    for part in encoder.encode()?.recovery_iter() {
        out.extend_from_slice(part);
    }
    Ok(out)
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}
