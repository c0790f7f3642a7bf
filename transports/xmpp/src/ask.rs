//! Answers to commands that may be given to a session in the moment in which it ends.

use tokio::sync::{mpsc, oneshot};

/// The answer to a command that was put into `commands`; `None` when the session has ended without one.
///
/// The end of the channel must be watched as well: what is put into one of tokio's while its receiver goes stays there
/// for as long as there are senders, and the answer's other end with it.
pub(crate) async fn answer<Command, T>(
    commands: &mpsc::Sender<Command>,
    mut answer: oneshot::Receiver<T>,
) -> Option<T> {
    tokio::select! {
        biased;
        answer = &mut answer => answer.ok(),
        () = commands.closed() => answer.try_recv().ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_command_that_meets_the_end_of_its_session_is_not_waited_for() {
        for _ in 0..20_000 {
            let (commands, queue) = mpsc::channel(4);
            let (reply, answered) = oneshot::channel::<()>();
            let end = tokio::spawn(async move { drop(queue) });
            if commands.send(reply).await.is_ok() {
                let ended = tokio::time::timeout(Duration::from_secs(30), answer(&commands, answered)).await;
                assert_eq!(ended.unwrap(), None);
            }
            end.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_given_before_the_end_counts() {
        let (commands, queue) = mpsc::channel::<()>(4);
        let (reply, answered) = oneshot::channel();
        reply.send(7).unwrap();
        drop(queue);
        assert_eq!(answer(&commands, answered).await, Some(7));
    }
}
