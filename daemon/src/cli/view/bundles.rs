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
