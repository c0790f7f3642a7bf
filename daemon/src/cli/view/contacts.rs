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

#[cfg(test)]
mod tests {
    use super::super::super::output::printed;
    use super::*;

    #[test]
    fn contacts_are_rows() {
        let jerry = Contact {
            identity: "1e".repeat(32),
            name: "jerry".into(),
            jid: vec!["jerry@subway".into(), "jerry@home".into()],
            bridge: vec!["bridge.subway".into()],
            issued_ms: 1_795_392_000_000,
            prekey_expires_ms: 1_796_601_600_000,
        };
        assert_eq!(
            printed(|out| list(out, &ContactsReply { contacts: vec![jerry.clone()] })),
            "\
NAME   JID                      IDENTITY          CARD ISSUED           PREKEY UNTIL
jerry  jerry@subway,jerry@home  1e1e1e1e1e1e1e1e  2026-11-23T00:00:00Z  2026-12-07T00:00:00Z
1 contact
"
        );
        assert_eq!(
            printed(|out| imported(out, &jerry)),
            format!(
                "\
jerry is a contact
identity      {}
jid           jerry@subway, jerry@home
bridge        bridge.subway
card issued   2026-11-23T00:00:00Z
prekey until  2026-12-07T00:00:00Z
",
                "1e".repeat(32)
            )
        );
    }
}
