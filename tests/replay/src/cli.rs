//! The command line of the example `routing`.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum};
use pigeon_core::Reachable;
use serde_json::Value;

use crate::Replay;
use crate::error::ReplayError;
use crate::metrics::Metrics;
use crate::picture;
use crate::scenario::Scenario;
use crate::setting::{Router, Setting, Transfer};

/// Replays a contact trace and a message workload through the node's real core and prints what was delivered at
/// which cost. The files' format and the columns are described in tests/traces/README.md.
#[derive(Debug, Parser)]
#[command(name = "routing")]
struct Arguments {
    /// Contacts: lines `TIME CONN A B up|down`, plain or gzip-compressed
    trace: PathBuf,
    /// Messages: lines `TIME ID FROM TO SIZE TTL`
    workload: PathBuf,
    /// Windows in which nodes have the internet: lines `START END NODE`
    #[arg(long, value_name = "FILE")]
    uplink: Option<PathBuf>,
    /// Rules to compare: delegate, spray, source-spray, direct, or all
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', default_value = "delegate")]
    policy: Vec<String>,
    /// Deliveries become known, as PROTOCOL.md spreads tombstones
    #[arg(long)]
    ack: bool,
    /// To whom recipients can be reached: who may count meetings with them
    #[arg(long, value_enum, default_value_t = Reach::Everyone)]
    reachable: Reach,
    /// Transfers take time: bytes a second
    #[arg(long, value_name = "BYTES", value_parser = amount)]
    rate: Option<u64>,
    /// With --rate: bytes that a node holds for itself and others
    #[arg(long, value_name = "BYTES", value_parser = amount, requires = "rate")]
    buffer: Option<u64>,
    /// One JSON object a policy, in place of the table
    #[arg(long)]
    json: bool,
    /// Write a picture of the deliveries over time
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// [`Reachable`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Nobody,
    Contacts,
    Everyone,
}

impl ValueEnum for Reach {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Nobody, Self::Contacts, Self::Everyone]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Nobody => PossibleValue::new("nobody").help("nobody counts meetings"),
            Self::Contacts => PossibleValue::new("contacts").help("who writes to them or gets their mail"),
            Self::Everyone => PossibleValue::new("everyone").help("every node they meet"),
        })
    }
}

/// Bytes, also as `2.5e5`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be 1 to 1e15")]
fn amount(word: &str) -> Result<u64, String> {
    match word.parse::<f64>() {
        Ok(bytes) if (1.0..=1e15).contains(&bytes) => Ok(bytes as u64),
        _ => Err("must be a number of bytes, 1 to 1e15".into()),
    }
}

/// Runs the example with these arguments.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = Arguments::parse_from(arguments);
    let mut out = std::io::stdout().lock();
    match run(&arguments, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "routing: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, out: &mut impl std::io::Write) -> Result<(), String> {
    let routers = routers(&arguments.policy)?;
    let read = || -> Result<Scenario, ReplayError> {
        Scenario::read(&arguments.trace, &arguments.workload, arguments.uplink.as_deref())
    };
    let scenario = read().map_err(|error| error.to_string())?;
    let replay = Replay::of(&scenario).map_err(|error| error.to_string())?;
    let mut curves = Vec::new();
    for (number, router) in routers.into_iter().enumerate() {
        let metrics = replay.run(setting(arguments, router));
        let line = if arguments.json { json(router, &metrics) } else { row(router, &metrics) };
        let head = if number == 0 && !arguments.json { head(&metrics) } else { String::new() };
        writeln!(out, "{head}{line}").map_err(|error| format!("the output cannot be written: {error}"))?;
        curves.push((router.name(), metrics));
    }
    match &arguments.svg {
        Some(path) => picture::write(path, &scenario, &curves).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn routers(names: &[String]) -> Result<Vec<Router>, String> {
    let mut routers = Vec::new();
    for name in names {
        if name == "all" {
            routers.extend(Router::ALL);
        } else {
            routers.push(Router::named(name).ok_or_else(|| {
                let known: Vec<&str> = Router::ALL.into_iter().map(Router::name).collect();
                format!("there is no policy `{name}`; choose {} or all", known.join(", "))
            })?);
        }
    }
    Ok(routers)
}

fn setting(arguments: &Arguments, router: Router) -> Setting {
    let transfer = match arguments.rate {
        None => Transfer::Instant,
        Some(rate) => Transfer::Serial { rate, buffer: arguments.buffer },
    };
    let reachable = match arguments.reachable {
        Reach::Nobody => Reachable::Nobody,
        Reach::Contacts => Reachable::Contacts,
        Reach::Everyone => Reachable::Everyone,
    };
    Setting { router, transfer, ack: arguments.ack, reachable }
}

fn json(router: Router, metrics: &Metrics) -> String {
    let mut object = metrics.to_json();
    object.insert("policy".into(), router.name().into());
    Value::Object(object).to_string()
}

fn head(metrics: &Metrics) -> String {
    let names: String = metrics.columns().iter().map(|(name, _)| format!(" {name:>10}")).collect();
    format!("{:<12}{names} {:>10} {:>10}\n", "policy", "dropped", "aborted")
}

fn row(router: Router, metrics: &Metrics) -> String {
    let mut line = format!("{:<12}", router.name());
    for (name, value) in metrics.columns() {
        let digits = match name {
            "ratio" | "uplink" => 4,
            name if name.starts_with("delay") => 0,
            _ => 2,
        };
        line += &value.map_or_else(|| format!(" {:>10}", "-"), |value| format!(" {value:>10.digits$}"));
    }
    line + &format!(" {:>10} {:>10}", metrics.dropped, metrics.aborted)
}
