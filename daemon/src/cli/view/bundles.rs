//! Bundles: what a node carries, and how little it can see of it.

use pigeon_proto::api::{BundleDetail, BundleStatsReply, BundleSummary, BundlesReply};

use super::super::error::CliError;
use super::super::output::Out;
use super::super::text::{count, one_line, or_dash, short, size};
use super::super::time::{date, rfc3339, span};

/// Bytes to a line of the dump: with the offset and the text column this is 80 columns.
const DUMP_LINE_BYTES: usize = 24;
/// Bytes shown unless all are asked for: the addresses, the Carriage block and the bridge's name are there.
const DUMP_BYTES: usize = 20 * DUMP_LINE_BYTES;
/// A payload is its size step and this much of sealing (`docs/wire-format.md` section 3).
const SEAL_BYTES: u32 = 48;

/// The bundles in the store, one to a row.
pub(in super::super) fn list(out: &mut Out, reply: &BundlesReply) -> Result<(), CliError> {
    let row = |bundle: &BundleSummary| {
        [
            short(&bundle.bundle_id).to_owned(),
            or_dash(&bundle.pool),
            or_dash(&bundle.state),
            bundle.copies.to_string(),
            bundle.hops.to_string(),
            size(bundle.size.into()),
            rfc3339(bundle.expires_ms),
        ]
    };
    let rows: Vec<_> = reply.bundles.iter().map(row).collect();
    out.table(["BUNDLE", "POOL", "STATE", "COPIES", "HOPS", "SIZE", "EXPIRES"], &rows)?;
    out.line(&count(rows.len() as u64, "bundle", "bundles"))?;
    if !reply.next.is_empty() {
        out.line(&format!("there are more: pigeon bundles list --after {}", one_line(&reply.next)))?;
    }
    Ok(())
}

/// All that this node, or whoever takes it, can see of a bundle.
pub(in super::super) fn detail(
    out: &mut Out,
    bundle: &BundleDetail,
    whole_dump: bool,
) -> Result<(), CliError> {
    let none = BundleSummary::default();
    let summary = bundle.summary.as_ref().unwrap_or(&none);
    out.line("What this node keeps about the bundle")?;
    out.pairs(&[
        ("  bundle", summary.bundle_id.clone()),
        ("  pool", pool(&summary.pool)),
        ("  state", or_dash(&summary.state)),
        ("  copies", format!("{} of the 6 there may be in all", summary.copies)),
        ("  hops", summary.hops.to_string()),
        ("  age", span(bundle.age_s)),
        ("  expires", rfc3339(summary.expires_ms)),
        ("  received from", received_from(bundle)),
        ("  handed to", handed_to(&bundle.taken_by)),
    ])?;
    out.line("\nWhat is written on it, for every carrier to see")?;
    out.pairs(&[
        ("  tag", format!("{} (the recipient's, for that day only)", bundle.tag)),
        ("  epoch", format!("{} ({})", bundle.epoch, date(bundle.epoch.into()))),
        ("  created", created(bundle.created_ms)),
        ("  lifetime", span(bundle.lifetime_ms / 1000)),
        ("  commitment", bundle.commitment.clone()),
        ("  bridge", bridge(bundle)),
        ("  bridge key", or_dash(&bundle.bridge_key)),
        ("  size", format!("{} bytes", summary.size)),
        ("  payload", payload(bundle.payload_size)),
        ("  content", bundle.content.clone()),
    ])?;
    out.line("\nAll there is, as bytes")?;
    dump(out, &bundle.hex, whole_dump)
}

/// How full the store is.
pub(in super::super) fn stats(out: &mut Out, reply: &BundleStatsReply) -> Result<(), CliError> {
    let BundleStatsReply { own, contact, stranger, bytes, tombstones, disk_bytes, quota_bytes } = reply;
    let quota = match quota_bytes {
        0 => "no quota".into(),
        quota => format!("of {}", size(*quota)),
    };
    out.pairs(&[
        ("own mail", count(*own, "bundle", "bundles")),
        ("contacts' mail", count(*contact, "bundle", "bundles")),
        ("strangers' mail", count(*stranger, "bundle", "bundles")),
        ("bytes in bundles", format!("{} {quota}", size(*bytes))),
        ("tombstones", tombstones.to_string()),
        ("bytes on disk", size(*disk_bytes)),
    ])
}

fn pool(pool: &str) -> String {
    let meaning = match pool {
        "own" => " (this node's own mail)",
        "contact" => " (handed over by a contact)",
        "stranger" => " (handed over by somebody unknown)",
        _ => "",
    };
    format!("{}{meaning}", or_dash(pool))
}

fn created(created_ms: u64) -> String {
    match created_ms {
        0 => "not told: the author had no clock".into(),
        known => format!("{} (rounded down to the hour)", rfc3339(known)),
    }
}

fn bridge(bundle: &BundleDetail) -> String {
    match bundle.bridge_domain.as_str() {
        "" => "none: travels hand to hand only".into(),
        domain => format!("{domain} (it alone can open the route)"),
    }
}

fn received_from(bundle: &BundleDetail) -> String {
    match bundle.received_from.as_str() {
        "" => "nobody: written here".into(),
        node => format!("node {node}"),
    }
}

fn handed_to(nodes: &[String]) -> String {
    if nodes.is_empty() { "nobody yet".into() } else { nodes.join(", ") }
}

fn payload(bytes: u32) -> String {
    let step = bytes.saturating_sub(SEAL_BYTES);
    format!("{bytes} bytes: a text of any length up to the step of {step}, and {SEAL_BYTES} of sealing")
}

/// Offset, hex, and the characters where there are any: what can be read here, a carrier can read.
fn dump(out: &mut Out, hex: &str, whole: bool) -> Result<(), CliError> {
    let Ok(bytes) = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else {
        // Not what the API promises; then as it came.
        return out.line(&one_line(hex));
    };
    let shown = if whole { bytes.len() } else { bytes.len().min(DUMP_BYTES) };
    for (number, line) in bytes[..shown].chunks(DUMP_LINE_BYTES).enumerate() {
        let printable = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        let characters: String = line.iter().map(printable).collect();
        let digits = data_encoding::HEXLOWER.encode(line);
        let width = 2 * DUMP_LINE_BYTES;
        out.line(&format!("{:04x}  {digits:width$}  {characters}", number * DUMP_LINE_BYTES))?;
    }
    if shown < bytes.len() {
        out.line(&format!("and {} bytes more: --hex shows them", bytes.len() - shown))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::output::printed;
    use super::*;

    fn carried() -> BundleDetail {
        BundleDetail {
            summary: Some(BundleSummary {
                bundle_id: "cd".repeat(32),
                pool: "stranger".into(),
                copies: 3,
                size: 500,
                expires_ms: 1_795_996_800_000,
                state: "carried".into(),
                hops: 1,
            }),
            tag: "mjqxgzjtgizdgmzu".into(),
            epoch: 20_780,
            created_ms: 1_795_392_000_000,
            lifetime_ms: 604_800_000,
            commitment: "c0".repeat(32),
            bridge_domain: "bridge.subway".into(),
            bridge_key: "b0".repeat(32),
            payload_size: 304,
            taken_by: vec![],
            content: "sealed: only the recipient can open it".into(),
            age_s: 7_200,
            received_from: "ab".repeat(32),
            hex: format!("{}{}", data_encoding::HEXLOWER.encode(b"\x9fdtn://tag/m"), "00".repeat(488)),
        }
    }

    #[test]
    fn a_carrier_is_shown_all_it_can_see_and_that_the_content_is_sealed() {
        let shown = printed(|out| detail(out, &carried(), false));
        let lines = [
            "  pool           stranger (handed over by somebody unknown)\n",
            "  copies         3 of the 6 there may be in all\n",
            "  hops           1\n",
            "  age            2 h\n",
            "  tag         mjqxgzjtgizdgmzu (the recipient's, for that day only)\n",
            "  epoch       20780 (2026-11-23)\n",
            "  created     2026-11-23T00:00:00Z (rounded down to the hour)\n",
            "  lifetime    7 d\n",
            &format!("  commitment  {}\n", "c0".repeat(32)),
            "  bridge      bridge.subway (it alone can open the route)\n",
            &format!("  bridge key  {}\n", "b0".repeat(32)),
            "  size        500 bytes\n",
            "up to the step of 256, and 48 of sealing\n",
            "  content     sealed: only the recipient can open it\n",
            "0000  9f64746e3a2f2f7461672f6d000000000000000000000000  .dtn://tag/m............\n",
            "and 20 bytes more: --hex shows them\n",
        ];
        for line in lines {
            assert!(shown.contains(line), "no {line:?} in\n{shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() <= 90), "{shown}");
        let whole = printed(|out| detail(out, &carried(), true));
        assert!(
            whole.ends_with("01e0  0000000000000000000000000000000000000000          ....................\n"),
            "{whole}"
        );
    }

    #[test]
    fn a_daemon_s_nonsense_is_shown_and_steers_nothing() {
        let odd = BundleDetail { hex: "not hex\u{1b}".into(), summary: None, epoch: u32::MAX, ..carried() };
        assert!(printed(|out| detail(out, &odd, false)).ends_with("not hex\\u{1b}\n"));
    }

    #[test]
    fn a_full_page_says_how_to_go_on() {
        let summary = carried().summary.into_iter().collect();
        let shown = printed(|out| list(out, &BundlesReply { bundles: summary, next: "cd".repeat(32) }));
        let expected = format!(
            "\
BUNDLE            POOL      STATE    COPIES  HOPS  SIZE   EXPIRES
cdcdcdcdcdcdcdcd  stranger  carried  3       1     500 B  2026-11-30T00:00:00Z
1 bundle
there are more: pigeon bundles list --after {}
",
            "cd".repeat(32)
        );
        assert_eq!(shown, expected);
    }
}
