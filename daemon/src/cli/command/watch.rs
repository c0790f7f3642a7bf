//! `pigeon watch`: events as they happen.

use pigeon_proto::api;

use super::super::args::WatchArgs;
use super::super::client::{About, Daemon};
use super::super::error::{CliError, complain};
use super::super::output::Out;
use super::super::view;
use super::show;

/// Prints events until the daemon or the reader of our output stops.
///
/// # Errors
/// [`CliError::CutOff`] when the daemon stops: an orderly end exists only on our side.
pub(super) async fn run(daemon: &Daemon, args: &WatchArgs, out: &mut Out) -> Result<(), CliError> {
    let since = args.since.unwrap_or(0);
    // Sequence numbers begin at 1: "after 0" means all, which the API calls a replay.
    let request = api::WatchRequest { since, replay: args.replay || args.since == Some(0) };
    let mut events = daemon.answer(About::Node, daemon.client().watch(request)).await?;
    let mut next = None;
    while let Some(event) = events.message().await.map_err(|status| daemon.error(About::Node, &status))? {
        if next.is_some_and(|next| event.seq > next) {
            complain(
                "note",
                "33",
                &format!("events before {} were missed: more happened than could be shown", event.seq),
            );
        }
        next = Some(event.seq.saturating_add(1));
        show(out, &event, view::node::event)?;
        out.flush()?;
    }
    Err(daemon.ended_early())
}
