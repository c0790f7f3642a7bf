//! What can be wrong with manifests, parts and content. None of it shows what is in them.

use thiserror::Error;

use super::layout::{NEEDED_MAX, PART_SIZE_MAX, PARTS_MAX};
use super::manifest::{ATTACHMENT_SIZE_MAX, FILE_NAME_MAX, MEDIA_TYPE_MAX};

/// Numbers of parts that do not fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// A number is outside its range.
    #[error(
        "{field} is {found}, must be {min} to {max} (of at most {NEEDED_MAX} needed, {PARTS_MAX} parts, {PART_SIZE_MAX} bytes)"
    )]
    Range {
        /// Name of the field.
        field: &'static str,
        /// Number found.
        found: usize,
        /// Least allowed here.
        min: usize,
        /// Greatest allowed here.
        max: usize,
    },
    /// The erasure code works on blocks of 64 bytes.
    #[error("part_size is {part_size}, must be a multiple of 64")]
    Block {
        /// Size found, in bytes.
        part_size: usize,
    },
    /// The parts that suffice hold too little, or one of them nothing.
    #[error("{needed} parts of {part_size} bytes do not just hold {size} bytes")]
    Cover {
        /// Size of the content in bytes.
        size: usize,
        /// Parts that are to suffice.
        needed: usize,
        /// Bytes of each.
        part_size: usize,
    },
}

/// Why there can be no such manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// Content of an attachment is 1 byte to 16 MiB.
    #[error("attachment of {size} bytes, must be 1 to {ATTACHMENT_SIZE_MAX}: send it in pieces")]
    Size {
        /// Size in bytes.
        size: u64,
    },
    /// The name is no file's name.
    #[error(
        "the attachment's name must have 1 to {FILE_NAME_MAX} bytes without control characters, `/` or `\\`, and be neither `.` nor `..`"
    )]
    Name,
    /// The media type is none.
    #[error(
        "the attachment's media type must be empty or `type/subtype` in ASCII, at most {MEDIA_TYPE_MAX} bytes"
    )]
    MediaType,
    /// The numbers of parts do not fit each other.
    #[error("the attachment's {0}")]
    Layout(#[from] LayoutError),
    /// There must be a hash of each part.
    #[error("the manifest has {found} bytes of hashes, {wanted} belong to its parts")]
    Hashes {
        /// Bytes found.
        found: usize,
        /// Bytes that there should be.
        wanted: usize,
    },
    /// SHA-256 has 32 bytes.
    #[error("the manifest's hash of the content has {found} bytes, must have 32")]
    Digest {
        /// Bytes found.
        found: usize,
    },
}

/// A part that does not belong to its manifest. It changes nothing: the right one may still come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartError {
    /// There is no such part.
    #[error("part {index} of an attachment that has {parts}")]
    Index {
        /// Number of the part, from 0.
        index: usize,
        /// Parts there are.
        parts: usize,
    },
    /// All parts have the same size.
    #[error("part {index} has {size} bytes, must have {wanted}")]
    Size {
        /// Number of the part, from 0.
        index: usize,
        /// Bytes found.
        size: usize,
        /// Bytes that there should be.
        wanted: usize,
    },
    /// The manifest promises other bytes.
    #[error("part {index} is not what the manifest promises")]
    Hash {
        /// Number of the part, from 0.
        index: usize,
    },
}

/// Why parts do not make content, or content no parts.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum AttachmentError {
    /// There can be no manifest of it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// More parts have to come.
    #[error("{have} parts are there, {needed} are needed")]
    TooFew {
        /// Parts added.
        have: usize,
        /// Parts needed.
        needed: usize,
    },
    /// The parts are those of the manifest, and the content is not: the author made a manifest that cannot be kept.
    #[error(
        "the parts are those of the manifest and do not make the content it names: the author must send it again"
    )]
    Content,
    /// The erasure code refused numbers that had been checked.
    #[error("the erasure code refused the parts: {0}")]
    Code(#[from] reed_solomon_simd::Error),
}
