//! Attachments (`docs/wire-format.md` section 8): content that fits no single bundle is cut into parts, of which
//! some may be missing.
//!
//! 1. The author makes a [`Cut`] of the content. It gives the [`Manifest`] and each part; both are sealed as
//!    messages of their own.
//! 2. The recipient checks each part with [`Manifest::check_part`] when it comes, in any order, and may forget it
//!    meanwhile: the manifest alone says whether a part is right.
//! 3. When [`Manifest::needed`] parts are there, an [`Assembly`] makes the content of them, whichever they are, and
//!    compares it with the manifest's hash.
//!
//! Nothing here is believed: a manifest is checked before anything is sized by it, a part before it is used.

mod assembly;
mod cut;
mod error;
mod layout;
mod manifest;

pub use assembly::Assembly;
pub use cut::Cut;
pub use error::{AttachmentError, LayoutError, ManifestError, PartError};
pub use layout::{Layout, NEEDED_MAX, PART_SIZE_MAX, PARTS_MAX};
pub use manifest::{ATTACHMENT_SIZE_MAX, FILE_NAME_MAX, MEDIA_TYPE_MAX, Manifest, PART_HASH_SIZE};
