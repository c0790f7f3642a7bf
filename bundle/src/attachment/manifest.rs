//! What an attachment is, and how to know its parts.

use core::fmt;

use super::error::{ManifestError, PartError};
use super::layout::Layout;
use crate::context::sha256;

/// Largest attachment in bytes.
pub const ATTACHMENT_SIZE_MAX: usize = 16 << 20;
/// Longest name of an attachment, in bytes of UTF-8: what file systems take.
pub const FILE_NAME_MAX: usize = 255;
/// Longest media type in bytes.
pub const MEDIA_TYPE_MAX: usize = 127;
/// Bytes of a part's hash.
pub const PART_HASH_SIZE: usize = 32;

const CONTENT: &str = "attachment";
const PART: &str = "part";

/// A checked manifest: name and hash of the content, and how it is cut, if it is cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    name: String,
    media_type: String,
    size: usize,
    digest: [u8; 32],
    cut: Option<Hashes>,
}

#[derive(Clone, PartialEq, Eq)]
struct Hashes {
    layout: Layout,
    parts: Vec<[u8; PART_HASH_SIZE]>,
}

impl Manifest {
    /// The manifest of content that is not cut, but stands beside it in the same message.
    ///
    /// # Errors
    /// A size, name or media type that is not allowed.
    pub fn whole(name: &str, media_type: &str, content: &[u8]) -> Result<Self, ManifestError> {
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        Self::checked(name, media_type, size, &digest_of(content), None)
    }

    /// A manifest from outside. `layout` is absent where the content was not cut; `hashes` are those of all parts,
    /// one after the other.
    ///
    /// # Errors
    /// The first rule of `docs/wire-format.md` section 8 that it breaks. Nothing is allocated by its numbers.
    pub fn parse(
        name: &str,
        media_type: &str,
        size: u64,
        digest: &[u8],
        layout: Option<[u32; 3]>,
        hashes: &[u8],
    ) -> Result<Self, ManifestError> {
        let digest = digest.try_into().map_err(|_| ManifestError::Digest { found: digest.len() })?;
        let size_checked = checked_size(size)?;
        let layout = layout
            .map(|[needed, parts, part_size]| Layout::checked(size_checked, needed, parts, part_size))
            .transpose()?;
        let wanted = layout.map_or(0, |layout| layout.parts() * PART_HASH_SIZE);
        if hashes.len() != wanted {
            return Err(ManifestError::Hashes { found: hashes.len(), wanted });
        }
        let (parts, _) = hashes.as_chunks::<PART_HASH_SIZE>();
        let cut = layout.map(|layout| Hashes { layout, parts: parts.to_vec() });
        Self::checked(name, media_type, size, &digest, cut)
    }

    /// The manifest of content that was cut into parts with these hashes.
    pub(super) fn of_parts(
        name: &str,
        media_type: &str,
        content: &[u8],
        layout: Layout,
        parts: Vec<[u8; PART_HASH_SIZE]>,
    ) -> Result<Self, ManifestError> {
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        Self::checked(name, media_type, size, &digest_of(content), Some(Hashes { layout, parts }))
    }

    fn checked(
        name: &str,
        media_type: &str,
        size: u64,
        digest: &[u8; 32],
        cut: Option<Hashes>,
    ) -> Result<Self, ManifestError> {
        let size = checked_size(size)?;
        check_name(name)?;
        check_media_type(media_type)?;
        Ok(Self { name: name.to_owned(), media_type: media_type.to_owned(), size, digest: *digest, cut })
    }

    /// The author's name for the file: one component of a path, never `.` or `..`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `type/subtype` as the author says, or empty.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Bytes of the content.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// SHA-256(`ctx("attachment")` ‖ content).
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// How the content is cut; `None` where it is whole in the manifest's own message.
    #[must_use]
    pub fn layout(&self) -> Option<&Layout> {
        self.cut.as_ref().map(|cut| &cut.layout)
    }

    /// Parts that suffice. Content that is whole counts as one part.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.layout().map_or(1, Layout::needed)
    }

    /// Hashes of all parts, one after the other.
    #[must_use]
    pub fn part_hashes(&self) -> &[[u8; PART_HASH_SIZE]] {
        self.cut.as_ref().map_or(&[], |cut| &cut.parts)
    }

    /// Whether `data` is part `index`. Whole content has no parts.
    ///
    /// # Errors
    /// [`PartError`]; the part is worth nothing then.
    pub fn check_part(&self, index: usize, data: &[u8]) -> Result<(), PartError> {
        let hashes = self.part_hashes();
        let (Some(layout), Some(promised)) = (self.layout(), hashes.get(index)) else {
            return Err(PartError::Index { index, parts: hashes.len() });
        };
        if data.len() != layout.part_size() {
            return Err(PartError::Size { index, size: data.len(), wanted: layout.part_size() });
        }
        if hash_of_part(index, data) != *promised {
            return Err(PartError::Hash { index });
        }
        Ok(())
    }

    /// Whether this is the content that the manifest names.
    #[must_use]
    pub fn is_content(&self, content: &[u8]) -> bool {
        content.len() == self.size && digest_of(content) == self.digest
    }
}

fn digest_of(content: &[u8]) -> [u8; 32] {
    sha256(CONTENT, &[content])
}

/// SHA-256(`ctx("part")` ‖ u32(index) ‖ data).
pub(super) fn hash_of_part(index: usize, data: &[u8]) -> [u8; PART_HASH_SIZE] {
    // Indexes are below PARTS_MAX.
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    sha256(PART, &[&index.to_be_bytes(), data])
}

fn checked_size(size: u64) -> Result<usize, ManifestError> {
    match usize::try_from(size) {
        Ok(checked) if (1..=ATTACHMENT_SIZE_MAX).contains(&checked) => Ok(checked),
        _ => Err(ManifestError::Size { size }),
    }
}

/// The name of a file that will be written into a folder of the recipient's choice, and nowhere else.
fn check_name(name: &str) -> Result<(), ManifestError> {
    let length = (1..=FILE_NAME_MAX).contains(&name.len());
    let component = !matches!(name, "." | "..") && !name.contains(['/', '\\']);
    if length && component && !name.chars().any(char::is_control) { Ok(()) } else { Err(ManifestError::Name) }
}

fn check_media_type(text: &str) -> Result<(), ManifestError> {
    let graphic = text.len() <= MEDIA_TYPE_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let halves = text
        .split_once('/')
        .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty() && !subtype.contains('/'));
    if text.is_empty() || graphic && halves { Ok(()) } else { Err(ManifestError::MediaType) }
}

/// The name and the hashes say what people send: sizes only.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("size", &self.size)
            .field("layout", &self.layout())
            .finish_non_exhaustive()
    }
}
