//! Contacts.

use pigeon_proto::api::{
    CardsReply, Contact, ContactRequestsReply, ContactsReply, FoundContact, IssuedCard, MeetReply,
    RevokeCardReply,
};

use super::super::error::CliError;
use super::super::output::Out;
use super::super::text::{count, one_line, or_dash, short};
use super::super::time::rfc3339;

/// The contacts, one to a row.
pub(in super::super) fn list(out: &mut Out, reply: &ContactsReply) -> Result<(), CliError> {
    let row = |contact: &Contact| {
        [
            called(&contact.name, contact.introduced),
            known_by(contact).to_owned(),
            or_dash(&contact.jid.join(",")),
            short(&contact.identity).to_owned(),
            rfc3339(contact.issued_ms),
            rfc3339(contact.prekey_expires_ms),
        ]
    };
    let rows: Vec<_> = reply.contacts.iter().map(row).collect();
    out.table(["NAME", "KNOWN BY", "JID", "IDENTITY", "CARD ISSUED", "PREKEY UNTIL"], &rows)?;
    if rows.is_empty() {
        return out.line("no contacts yet: `pigeon card import CARD` adds one");
    }
    out.line(&count(rows.len() as u64, "contact", "contacts"))
}

/// How far the name can be trusted. In a column of its own, where no name can imitate it.
fn known_by(contact: &Contact) -> &'static str {
    match (contact.met, contact.introduced) {
        (true, _) => "meeting",
        (false, false) => "card",
        (false, true) => "own word",
    }
}

/// How far a meeting has come.
pub(in super::super) fn meeting(out: &mut Out, reply: &MeetReply) -> Result<(), CliError> {
    if let Some(contact) = &reply.contact {
        return imported(out, contact);
    }
    match reply.state.as_str() {
        "waiting" => {
            out.line(&format!("this node's key begins with {}", short(&reply.node_key)))?;
            out.line("waiting for the other person, who runs `pigeon meet` too")
        }
        "compare" => {
            let (first, last) = reply.code.split_at_checked(3).unwrap_or((&reply.code, ""));
            out.line(&format!("the code is {first} {last}"))
        }
        _ => out.line("waiting for the other person to confirm"),
    }
}

/// A name for people; one that its owner chose, and nobody confirmed, says so.
pub(in super::super) fn called(name: &str, introduced: bool) -> String {
    if introduced { format!("{}, unconfirmed", or_dash(name)) } else { or_dash(name) }
}

/// A contact whose card has just been taken in.
pub(in super::super) fn imported(out: &mut Out, contact: &Contact) -> Result<(), CliError> {
    let Contact { identity, name, jid, bridge, issued_ms, prekey_expires_ms, .. } = contact;
    out.line(&format!("{} is a contact", one_line(name)))?;
    out.pairs(&[
        ("identity", identity.clone()),
        ("known by", known_by(contact).to_owned()),
        ("jid", or_dash(&jid.join(", "))),
        ("bridge", or_dash(&bridge.join(", "))),
        ("card issued", rfc3339(*issued_ms)),
        ("prekey until", rfc3339(*prekey_expires_ms)),
    ])
}

/// Somebody who was looked for by JID.
pub(in super::super) fn found(out: &mut Out, found: &FoundContact) -> Result<(), CliError> {
    let card = if found.card.is_empty() { "none to be seen" } else { "published" };
    out.pairs(&[
        ("jid", found.jid.clone()),
        ("subscription", found.subscription.clone()),
        ("card", card.to_owned()),
        ("name", or_dash(&found.name)),
        ("identity", or_dash(&found.identity)),
    ])
}

/// Who asks for a subscription.
pub(in super::super) fn requests(out: &mut Out, reply: &ContactRequestsReply) -> Result<(), CliError> {
    for jid in &reply.jid {
        out.line(&one_line(jid))?;
    }
    out.line(&count(reply.jid.len() as u64, "request", "requests"))
}

/// The cards given out, one to a row.
pub(in super::super) fn cards(out: &mut Out, reply: &CardsReply) -> Result<(), CliError> {
    let row = |card: &IssuedCard| {
        let holder = match (card.name.is_empty(), card.holder.is_empty()) {
            (true, _) => "anybody".to_owned(),
            (false, true) => "nobody yet".to_owned(),
            (false, false) => card.holder.clone(),
        };
        let state = match (card.revoked, card.former) {
            (true, _) => "revoked".to_owned(),
            (false, 0) => "works".to_owned(),
            (false, former) => {
                format!("works, and {}", count(former.into(), "former one", "former ones"))
            }
        };
        let name = if card.name.is_empty() { "published".to_owned() } else { card.name.clone() };
        [name, holder, rfc3339(card.issued_ms), state]
    };
    let rows: Vec<_> = reply.cards.iter().map(row).collect();
    out.table(["FOR", "HELD BY", "ISSUED", "STATE"], &rows)?;
    out.line(&count(rows.len() as u64, "card", "cards"))
}

/// What a revocation came to.
pub(in super::super) fn revoked(out: &mut Out, reply: &RevokeCardReply) -> Result<(), CliError> {
    if reply.holds_published {
        return out.line(
            "no further card will be sent; the published card held by this person works until `pigeon card renew` and \
             `pigeon card revoke`",
        );
    }
    let cards = count(reply.revoked.into(), "card is", "cards are");
    out.line(&format!("{cards} revoked: mail by such a card is carried, and not taken"))
}

#[cfg(test)]
mod tests {
    use super::super::super::output::printed;
    use super::*;

    #[test]
    fn cards_are_rows() {
        let published = IssuedCard { issued_ms: 1_795_392_000_000, former: 1, ..Default::default() };
        let unused = IssuedCard { name: "kramer".into(), former: 0, ..published.clone() };
        let used = IssuedCard { name: "george".into(), holder: "george c".into(), ..unused.clone() };
        let revoked = IssuedCard { name: "newman".into(), revoked: true, ..used.clone() };
        assert_eq!(
            printed(|out| cards(out, &CardsReply { cards: vec![published, unused, used, revoked] })),
            "\
FOR        HELD BY     ISSUED                STATE
published  anybody     2026-11-23T00:00:00Z  works, and 1 former one
kramer     nobody yet  2026-11-23T00:00:00Z  works
george     george c    2026-11-23T00:00:00Z  works
newman     george c    2026-11-23T00:00:00Z  revoked
4 cards
"
        );
    }

    #[test]
    fn a_revocation_says_what_still_works() {
        let shown = |revoked, holds_published| {
            printed(|out| super::revoked(out, &RevokeCardReply { revoked, holds_published }))
        };
        assert!(shown(1, false).starts_with("1 card is revoked"), "{}", shown(1, false));
        assert!(
            shown(0, true).contains("`pigeon card renew` and `pigeon card revoke`"),
            "{}",
            shown(0, true)
        );
    }

    #[test]
    fn contacts_are_rows() {
        let jerry = Contact {
            identity: "1e".repeat(32),
            name: "jerry".into(),
            jid: vec!["jerry@subway".into(), "jerry@home".into()],
            bridge: vec!["bridge.subway".into()],
            issued_ms: 1_795_392_000_000,
            prekey_expires_ms: 1_796_601_600_000,
            introduced: false,
            met: false,
        };
        assert_eq!(
            printed(|out| list(out, &ContactsReply { contacts: vec![jerry.clone()] })),
            "\
NAME   KNOWN BY  JID                      IDENTITY          CARD ISSUED           PREKEY UNTIL
jerry  card      jerry@subway,jerry@home  1e1e1e1e1e1e1e1e  2026-11-23T00:00:00Z  2026-12-07T00:00:00Z
1 contact
"
        );
        assert_eq!(
            printed(|out| imported(out, &jerry)),
            format!(
                "\
jerry is a contact
identity      {}
known by      card
jid           jerry@subway, jerry@home
bridge        bridge.subway
card issued   2026-11-23T00:00:00Z
prekey until  2026-12-07T00:00:00Z
",
                "1e".repeat(32)
            )
        );
    }

    #[test]
    fn a_meeting_tells_what_to_do_next_and_what_a_name_is_worth() {
        let reply = |state: &str| MeetReply { state: state.into(), ..MeetReply::default() };
        let waiting = MeetReply { node_key: "3f".repeat(32), ..reply("waiting") };
        let text = printed(|out| meeting(out, &waiting));
        assert!(text.contains("3f3f3f3f3f3f3f3f\n") && text.contains("`pigeon meet` too"), "{text}");
        let compare = MeetReply { code: "012345".into(), ..reply("compare") };
        assert_eq!(printed(|out| meeting(out, &compare)), "the code is 012 345\n");
        let card = Contact { name: "jerry".into(), ..Contact::default() };
        let met = Contact { met: true, ..card.clone() };
        let word = Contact { introduced: true, ..card.clone() };
        assert_eq!([met.clone(), card, word].each_ref().map(known_by), ["meeting", "card", "own word"]);
        let done = MeetReply { contact: Some(met), ..reply("met") };
        assert!(printed(|out| meeting(out, &done)).starts_with("jerry is a contact\n"));
    }
}
