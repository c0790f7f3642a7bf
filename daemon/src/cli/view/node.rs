//! The node: who it is, how it does, whom it meets, what happens.

use pigeon_proto::api::{
    AccountsReply, Carriage, Event, IdentityReply, Neighbour, NeighboursReply, StatusReply, Traffic,
    TransportStatus, Uplink,
};

use super::super::error::CliError;
use super::super::output::Out;
use super::super::text::{count, one_line, or_dash, short, size};
use super::super::time::{rfc3339, span};

/// Who this node is.
pub(in super::super) fn identity(out: &mut Out, reply: &IdentityReply) -> Result<(), CliError> {
    out.pairs(&[
        ("name", or_dash(&reply.name)),
        ("identity", reply.identity.clone()),
        ("jid", or_dash(&reply.jid.join(", "))),
    ])
}

/// The nodes in contact now.
pub(in super::super) fn neighbours(out: &mut Out, reply: &NeighboursReply) -> Result<(), CliError> {
    let row = |neighbour: &Neighbour| {
        [
            short(&neighbour.node_key).to_owned(),
            or_dash(&neighbour.contact),
            or_dash(&neighbour.transport),
            or_dash(&neighbour.address),
            or_dash(&quality(neighbour)),
            rfc3339(neighbour.since_ms),
        ]
    };
    let rows: Vec<_> = reply.neighbours.iter().map(row).collect();
    out.table(["NODE", "CONTACT", "TRANSPORT", "ADDRESS", "QUALITY", "SINCE"], &rows)?;
    out.line(&count(rows.len() as u64, "neighbour", "neighbours"))
}

/// Signal and speed, as far as they are known.
fn quality(neighbour: &Neighbour) -> String {
    let signal = (neighbour.rssi_dbm != 0).then(|| format!("{} dBm", neighbour.rssi_dbm));
    let speed = (neighbour.bytes_per_s > 0).then(|| format!("{}/s", size(neighbour.bytes_per_s)));
    signal.into_iter().chain(speed).collect::<Vec<_>>().join(", ")
}

/// How the daemon does.
pub(in super::super) fn status(out: &mut Out, reply: &StatusReply) -> Result<(), CliError> {
    let no_uplink = Uplink::default();
    let mut pairs = vec![
        ("name", or_dash(&reply.name)),
        ("identity", reply.identity.clone()),
        ("node key", or_dash(&reply.node_key)),
        ("version", reply.version.clone()),
        ("up for", span(reply.uptime_s)),
        ("clock", reply.clock.clone()),
    ];
    if reply.uplinks.is_empty() {
        pairs.push(("uplink", uplink(reply.uplink.as_ref().unwrap_or(&no_uplink))));
    }
    pairs.extend(reply.uplinks.iter().map(|each| ("uplink", uplink(each))));
    pairs.extend(reply.transports.iter().map(|each| ("transport", transport(each))));
    pairs.extend([
        ("outbox", format!("{} waiting", reply.outbox_waiting)),
        ("inbox", format!("{} unread", reply.inbox_unread)),
        ("store", count(reply.bundles, "bundle", "bundles")),
    ]);
    if let Some(carriage) = &reply.carriage {
        pairs.extend(counters(carriage));
    }
    if !reply.recovery.is_empty() {
        pairs.push(("recovered", reply.recovery.clone()));
    }
    out.pairs(&pairs)
}

/// The accounts, and what is wrong with them.
pub(in super::super) fn accounts(out: &mut Out, reply: &AccountsReply) -> Result<(), CliError> {
    let row = |account: &Uplink| {
        let registered = if account.registered { "yes" } else { "no" };
        let (bridge, problem) = (or_dash(&account.bridge), or_dash(&account.problem));
        [account.jid.clone(), account.state.clone(), bridge, registered.to_owned(), problem]
    };
    let rows: Vec<_> = reply.accounts.iter().map(row).collect();
    out.table(["ACCOUNT", "STATE", "BRIDGE", "REGISTERED", "PROBLEM"], &rows)?;
    out.line(&count(rows.len() as u64, "account", "accounts"))
}

/// An event on one line: when, which number, what, and what it is about.
pub(in super::super) fn event(out: &mut Out, event: &Event) -> Result<(), CliError> {
    let mut line = format!("{} {} {}", rfc3339(event.time_ms), event.seq, one_line(&event.kind));
    let ids = [("message", &event.message_id), ("bundle", &event.bundle_id), ("peer", &event.peer)];
    for (name, id) in ids.into_iter().filter(|(_, id)| !id.is_empty()) {
        line += &format!(" {name}={}", one_line(short(id)));
    }
    for (name, number) in [("copies", event.copies), ("hops", event.hops)] {
        if number > 0 {
            line += &format!(" {name}={number}");
        }
    }
    for (name, text) in [("contact", &event.contact), ("detail", &event.detail)] {
        if !text.is_empty() {
            line += &format!(" {name}={}", one_line(text));
        }
    }
    out.line(&line)
}

/// What was carried in the life of this node.
fn counters(carriage: &Carriage) -> [(&'static str, String); 7] {
    let traffic = |traffic: Option<Traffic>| {
        let traffic = traffic.unwrap_or_default();
        format!("{}, {}", count(traffic.messages, "message", "messages"), size(traffic.bytes))
    };
    let open = if carriage.open { "open to strangers" } else { "closed to strangers" };
    [
        ("carriage", open.to_owned()),
        ("own mail", traffic(carriage.own)),
        ("sent directly", traffic(carriage.sent_direct)),
        ("sent by pigeon", traffic(carriage.sent_via_pigeons)),
        ("pigeons brought", traffic(carriage.delivered_by_pigeons)),
        ("carried", format!("{} for others", traffic(carriage.others))),
        ("looked for", format!("{} for neighbours", span(carriage.looked_s))),
    ]
}

fn uplink(uplink: &Uplink) -> String {
    // A node without an account has no state to tell.
    let mut line = if uplink.state.is_empty() { "none".to_owned() } else { uplink.state.clone() };
    if !uplink.jid.is_empty() {
        line += &format!(" as {}", uplink.jid);
    }
    if !uplink.bridge.is_empty() {
        let registered = if uplink.registered { "registered" } else { "not registered" };
        line += &format!(", {registered} with bridge {}", uplink.bridge);
    }
    with_problem(line, &uplink.problem)
}

fn transport(transport: &TransportStatus) -> String {
    with_problem(format!("{} {}", transport.name, transport.state), &transport.problem)
}

fn with_problem(line: String, problem: &str) -> String {
    if problem.is_empty() { line } else { format!("{line}: {problem}") }
}

#[cfg(test)]
mod tests {
    use super::super::super::output::printed;
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let mut happened =
            Event { seq: 7, time_ms: 1_795_392_000_000, kind: "handed over".into(), ..Default::default() };
        assert_eq!(printed(|out| event(out, &happened)), "2026-11-23T00:00:00Z 7 handed over\n");
        happened.bundle_id = "0123456789abcdef0123".into();
        happened.copies = 3;
        happened.contact = "Jerry\n\u{1b}[31m".into();
        assert_eq!(
            printed(|out| event(out, &happened)),
            "2026-11-23T00:00:00Z 7 handed over bundle=0123456789abcdef copies=3 contact=Jerry \\u{1b}[31m\n"
        );
    }

    #[test]
    fn neighbours_are_rows_and_a_stranger_is_a_dash() {
        let kramer = Neighbour {
            node_key: "ab".repeat(32),
            transport: "quic".into(),
            address: "[fe80::1%2]:4001".into(),
            since_ms: 1_795_392_000_000,
            ..Neighbour::default()
        };
        let newman = Neighbour {
            node_key: "cd".repeat(32),
            transport: "ble".into(),
            address: "00:AA:01:00:00:00".into(),
            rssi_dbm: -60,
            bytes_per_s: 20_480,
            ..kramer.clone()
        };
        let reply = NeighboursReply { neighbours: vec![kramer, newman] };
        assert_eq!(
            printed(|out| neighbours(out, &reply)),
            "\
NODE              CONTACT  TRANSPORT  ADDRESS            QUALITY              SINCE
abababababababab  -        quic       [fe80::1%2]:4001   -                    2026-11-23T00:00:00Z
cdcdcdcdcdcdcdcd  -        ble        00:AA:01:00:00:00  -60 dBm, 20.0 KiB/s  2026-11-23T00:00:00Z
2 neighbours
"
        );
    }

    #[test]
    fn what_is_wrong_with_the_uplink_is_said() {
        let reply = StatusReply {
            uplink: Some(Uplink {
                jid: "elaine@subway".into(),
                state: "refused".into(),
                problem: "the password is wrong; write it to account.password_file".into(),
                bridge: "bridge.subway".into(),
                registered: false,
            }),
            transports: vec![TransportStatus {
                name: "quic".into(),
                state: "listening".into(),
                problem: String::new(),
            }],
            recovery: "rebuilt 2 indexes".into(),
            ..Default::default()
        };
        let shown = printed(|out| status(out, &reply));
        let lines = [
            "uplink     refused as elaine@subway, not registered with bridge bridge.subway: the password is wrong; \
             write it to account.password_file\n",
            "transport  quic listening\n",
            "recovered  rebuilt 2 indexes\n",
        ];
        for line in lines {
            assert!(shown.contains(line), "no {line} in\n{shown}");
        }
        assert!(printed(|out| status(out, &StatusReply::default())).contains("uplink    none\n"));
    }
}
