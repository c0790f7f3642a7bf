//! What the calendar asks of the mailbox: new tags each day, a new prekey and card each week, old records forgotten.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Mailbox, MailboxError};

/// How often the day is looked at: a clock may be set, or learnt from a neighbour, at any moment.
const LOOK: Duration = Duration::from_secs(60);

/// Looks at the calendar until `cancel`.
pub async fn run_calendar(mailbox: Arc<Mailbox>, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        match mailbox.refresh().await {
            Ok(_) => {}
            Err(MailboxError::Stopping) => return,
            Err(error) => tracing::error!(%error, "the card could not be renewed; trying again in a minute"),
        }
        if let Err(error) = mailbox.forget_expired().await {
            tracing::error!(%error, "expired records could not be forgotten; trying again in a minute");
        }
    }
}
