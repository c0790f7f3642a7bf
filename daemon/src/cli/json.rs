//! The API's replies as JSON: proto field names, every field, in the order of the `.proto` file.
//!
//! Each message is listed once, with all its fields: a field that is new in the `.proto` file does not
//! compile until it is listed here.

use pigeon_proto::api;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

/// A reply as JSON.
pub(super) struct Json<'a, T>(pub(super) &'a T);

impl<T: AsJson> Serialize for Json<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_json(serializer)
    }
}

/// What has a JSON form here: the API's messages and what they are made of.
pub(super) trait AsJson {
    fn as_json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl AsJson for $type {
            fn as_json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }
        }
    )*};
}

macro_rules! messages {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl AsJson for api::$name {
            fn as_json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self { $($field),* } = self;
                let fields = [$(stringify!($field)),*].len();
                let mut object = serializer.serialize_struct(stringify!($name), fields)?;
                $(object.serialize_field(stringify!($field), &Json($field))?;)*
                object.end()
            }
        }
    )*};
}

plain!(bool, i32, u32, u64, String);

impl<T: AsJson> AsJson for Vec<T> {
    fn as_json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Json))
    }
}

/// A message that is not there is `null`.
impl<T: AsJson> AsJson for Option<T> {
    fn as_json<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().map(Json).serialize(serializer)
    }
}

messages! {
    SendReply { message_id, bundle_id, uplink, tag, error, bridge_would_read }
    InboxMessage {
        message_id, from, from_identity, text, sent_ms, received_ms, read, via, via_peer, hops, bundle_id,
        attachment, introduced,
    }
    Attachment { name, media_type, size, state, parts, needed, total }
    InboxReply { messages, duplicates, more }
    OutboxMessage {
        message_id, to, to_identity, text, sent_ms, state, bundle_id, hand_overs, delivered_ms, refusal,
        receipts, attachment,
    }
    OutboxReply { messages, more }
    DeleteReply { message_id, folder }
    IdentityReply { identity, name, jid, card }
    CardsReply { cards }
    IssuedCard { name, holder, holder_identity, issued_ms, revoked, former }
    IssueCardReply { name, card }
    RevokeCardReply { revoked, holds_published }
    Contact { identity, name, jid, bridge, issued_ms, prekey_expires_ms, introduced, met }
    MeetReply { state, node_key, code, contact }
    ContactsReply { contacts }
    FoundContact { jid, card, name, identity, subscription }
    ContactRequestsReply { jid }
    BundleSummary { bundle_id, pool, copies, size, expires_ms, state, hops }
    BundlesReply { bundles, next }
    BundleDetail {
        summary, tag, epoch, created_ms, lifetime_ms, commitment, bridge_domain, bridge_key, payload_size,
        taken_by, content, age_s, received_from, hex,
    }
    BundleStatsReply { own, contact, stranger, bytes, tombstones, disk_bytes, quota_bytes }
    Neighbour { node_key, transport, address, since_ms, contact, rssi_dbm, bytes_per_s }
    NeighboursReply { neighbours }
    StatusReply {
        version, name, identity, node_key, uptime_s, clock, uplink, transports, outbox_waiting, inbox_unread,
        bundles, recovery, carriage, uplinks,
    }
    AccountsReply { accounts }
    Traffic { messages, bytes }
    Carriage { open, own, others, sent_direct, sent_via_pigeons, delivered_by_pigeons, looked_s }
    Uplink { jid, state, problem, bridge, registered }
    TransportStatus { name, state, problem }
    Event { seq, time_ms, kind, bundle_id, message_id, peer, copies, hops, detail, contact }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_reply_has_every_field_in_the_order_of_the_proto_file() {
        let reply = api::StatusReply {
            uplink: Some(api::Uplink { jid: "elaine@subway".into(), ..Default::default() }),
            transports: vec![api::TransportStatus::default()],
            uptime_s: u64::MAX,
            ..Default::default()
        };
        assert_eq!(
            serde_json::to_string(&Json(&reply)).unwrap(),
            r#"{"version":"","name":"","identity":"","node_key":"","uptime_s":18446744073709551615,"#
                .to_owned()
                + r#""clock":"","uplink":{"jid":"elaine@subway","state":"","problem":"","bridge":"","#
                + r#""registered":false},"transports":[{"name":"","state":"","problem":""}],"#
                + r#""outbox_waiting":0,"inbox_unread":0,"bundles":0,"recovery":"","carriage":null,"uplinks":[]}"#
        );
    }

    #[test]
    fn an_empty_list_is_an_array_and_an_absent_message_null() {
        let neighbours = serde_json::to_string(&Json(&api::NeighboursReply::default())).unwrap();
        assert_eq!(neighbours, r#"{"neighbours":[]}"#);
        let detail = serde_json::to_string(&Json(&api::BundleDetail::default())).unwrap();
        assert!(detail.starts_with(r#"{"summary":null,"tag":"","#), "{detail}");
    }
}
