//! Contacts.

use pigeon_proto::api::{Contact, ContactsReply};

use super::super::error::CliError;
use super::super::output::Out;
use super::super::text::{count, one_line, or_dash, short};
use super::super::time::rfc3339;

/// The contacts, one to a row.
pub(in super::super) fn list(out: &mut Out, reply: &ContactsReply) -> Result<(), CliError> {
    let row = |contact: &Contact| {
        [
            or_dash(&contact.name),
            or_dash(&contact.jid.join(",")),
            short(&contact.identity).to_owned(),
            rfc3339(contact.issued_ms),
            rfc3339(contact.prekey_expires_ms),
        ]
    };
    let rows: Vec<_> = reply.contacts.iter().map(row).collect();
    out.table(["NAME", "JID", "IDENTITY", "CARD ISSUED", "PREKEY UNTIL"], &rows)?;
    if rows.is_empty() {
        return out.line("no contacts yet: `pigeon card import CARD` adds one");
    }
    out.line(&count(rows.len() as u64, "contact", "contacts"))
}

/// A contact whose card has just been taken in.
pub(in super::super) fn imported(out: &mut Out, contact: &Contact) -> Result<(), CliError> {
    let Contact { identity, name, jid, bridge, issued_ms, prekey_expires_ms } = contact;
    out.line(&format!("{} is a contact", one_line(name)))?;
    out.pairs(&[
        ("identity", identity.clone()),
        ("jid", or_dash(&jid.join(", "))),
        ("bridge", or_dash(&bridge.join(", "))),
        ("card issued", rfc3339(*issued_ms)),
        ("prekey until", rfc3339(*prekey_expires_ms)),
    ])
}
