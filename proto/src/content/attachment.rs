//! Attachments and their parts (docs/wire-format.md section 8), checked.

use std::fmt;

use bytes::Bytes;
use pigeon_bundle::MessageId;
use pigeon_bundle::attachment::{Layout, Manifest, PART_SIZE_MAX, PARTS_MAX};

use super::{Body, ContentError, Text, bytes16, size};
use crate::wire::content as wire;

/// The least part in bytes, and what every part is a multiple of.
const PART_BLOCK: usize = 64;

/// A message with an attachment.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The message; its text may be empty. Its id names the attachment too.
    pub message: Text,
    /// What is attached.
    pub manifest: Manifest,
    /// The content itself, where the manifest has no parts.
    pub data: Option<Bytes>,
}

/// A part of an attachment. Whether it is the right one, its manifest knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// Message id of the attachment.
    pub attachment: MessageId,
    /// Number of the part, from 0, below [`PARTS_MAX`].
    pub index: usize,
    /// The part.
    pub data: Bytes,
}

impl Attachment {
    pub(super) fn check(&self) -> Result<(), ContentError> {
        let fits = match (&self.data, self.manifest.layout()) {
            (Some(data), None) => self.manifest.is_content(data),
            (None, Some(_)) => true,
            _ => false,
        };
        if fits { Ok(()) } else { Err(ContentError::AttachedData) }
    }
}

impl Part {
    pub(super) fn check(&self) -> Result<(), ContentError> {
        size("index", self.index, 0, PARTS_MAX - 1)?;
        size("part", self.data.len(), PART_BLOCK, PART_SIZE_MAX)?;
        if self.data.len().is_multiple_of(PART_BLOCK) { Ok(()) } else { Err(ContentError::PartBlock) }
    }
}

pub(super) fn attachment_message(attachment: &Attachment, message: wire::Text) -> wire::Attachment {
    let manifest = &attachment.manifest;
    // What a checked manifest holds is far below these limits.
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let layout = manifest.layout();
    let of = |get: fn(&Layout) -> usize| layout.map_or(0, |layout| number(get(layout)));
    wire::Attachment {
        message: Some(message),
        manifest: Some(wire::Manifest {
            name: manifest.name().to_owned(),
            media_type: manifest.media_type().to_owned(),
            size: u64::from(number(manifest.size())),
            sha256: manifest.digest().to_vec(),
            needed: of(Layout::needed),
            parts: of(Layout::parts),
            part_size: of(Layout::part_size),
            part_hashes: manifest.part_hashes().as_flattened().to_vec(),
        }),
        data: attachment.data.as_ref().map_or_else(Vec::new, |data| data.to_vec()),
    }
}

pub(super) fn attachment_body(message: wire::Attachment, text: Text) -> Result<Body, ContentError> {
    let manifest = message.manifest.unwrap_or_default();
    let numbers = [manifest.needed, manifest.parts, manifest.part_size];
    let manifest = Manifest::parse(
        &manifest.name,
        &manifest.media_type,
        manifest.size,
        &manifest.sha256,
        (numbers != [0; 3]).then_some(numbers),
        &manifest.part_hashes,
    )?;
    let data = (!message.data.is_empty()).then(|| message.data.into());
    Ok(Body::Attachment(Attachment { message: text, manifest, data }))
}

pub(super) fn part_message(part: &Part) -> wire::Part {
    wire::Part {
        attachment: part.attachment.as_bytes().to_vec(),
        // Checked to be below PARTS_MAX before it is encoded.
        index: u32::try_from(part.index).unwrap_or(u32::MAX),
        data: part.data.to_vec(),
    }
}

pub(super) fn part_body(message: wire::Part) -> Result<Body, ContentError> {
    Ok(Body::Part(Part {
        attachment: MessageId(bytes16("attachment", &message.attachment)?),
        index: usize::try_from(message.index).unwrap_or(usize::MAX),
        data: message.data.into(),
    }))
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("message", &self.message)
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("attachment", &self.attachment)
            .field("index", &self.index)
            .field("size", &self.data.len())
            .finish()
    }
}
