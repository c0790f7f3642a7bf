//! One meeting from the app's side: its deadlines, and what is kept at its end.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::desk::{Command, Word};
use super::error::MeetError;
use super::stage::{Step, Steps};
use crate::input::Input;
use crate::mailbox::{Contact, Mailbox};

/// For the other person to begin, and the code to be there.
const BEGIN_MAX: Duration = Duration::from_secs(120);
/// For both people to compare and say so.
const COMPARE_MAX: Duration = Duration::from_secs(120);
/// How often it is looked whether a link has become usable.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Code, confirmation, and card or error: never more.
const STEPS_MAX: usize = 4;

/// How far a meeting has come.
pub enum Progress {
    /// Six digits to compare.
    Code(String),
    /// This person has confirmed; the other is waited for.
    Confirmed,
    /// The other's card is kept.
    Met(Box<Contact>),
}

/// Meets the neighbour whose key begins with `whom`, or the only one in reach. `answers` says once whether the codes are
/// the same; where it, or whoever reads `progress`, ends before, the meeting is broken off. Once this person has
/// confirmed, the card is kept though the app be gone.
pub async fn meet(
    mailbox: Arc<Mailbox>,
    inputs: mpsc::Sender<Input>,
    whom: String,
    answers: impl Stream<Item = bool> + Unpin,
    progress: mpsc::Sender<Result<Progress, MeetError>>,
) {
    let met = Conversation { mailbox, inputs, progress: progress.clone() }.run(whom, answers).await;
    // Nobody may be left to hear it.
    let _ = progress.send(met.map(|contact| Progress::Met(Box::new(contact)))).await;
}

struct Conversation {
    mailbox: Arc<Mailbox>,
    inputs: mpsc::Sender<Input>,
    progress: mpsc::Sender<Result<Progress, MeetError>>,
}

impl Conversation {
    async fn run(
        &self,
        whom: String,
        mut answers: impl Stream<Item = bool> + Unpin,
    ) -> Result<Contact, MeetError> {
        let card = self.mailbox.card().ok_or(MeetError::NoCard)?;
        let shown_s = card.issued_s();
        let (person, mut steps) = mpsc::channel(STEPS_MAX);
        self.ask(Command::Begin { whom, card: Box::new(card), person: person.clone() }).await?;
        let mut deadline = Some(Instant::now() + BEGIN_MAX);
        let mut looking = tokio::time::interval(LOOK_EVERY);
        let (mut compared, mut answered) = (false, false);
        loop {
            let word = tokio::select! {
                step = steps.recv() => {
                    match step.ok_or(MeetError::Stopping)?? {
                        Step::Code(code) => {
                            (deadline, compared) = (Some(Instant::now() + COMPARE_MAX), true);
                            self.show(Progress::Code(code)).await;
                        }
                        Step::Confirmed => self.show(Progress::Confirmed).await,
                        Step::Met(card) => return Ok(self.mailbox.met(*card, shown_s).await?),
                    }
                    continue;
                }
                answer = answers.next(), if !answered => {
                    answered = true;
                    match answer {
                        Some(true) => Word::Same,
                        Some(false) => Word::Differ,
                        None => Word::Leave,
                    }
                }
                () = self.progress.closed(), if !answered => {
                    answered = true;
                    Word::Leave
                }
                _ = looking.tick(), if !compared => Word::Look,
                () = until(deadline), if deadline.is_some() => {
                    deadline = None;
                    Word::TimedOut
                }
                () = self.inputs.closed() => return Err(MeetError::Stopping),
            };
            self.say(&person, word).await?;
        }
    }

    async fn show(&self, progress: Progress) {
        // Whoever reads this may be gone: `closed` says so where it matters.
        let _ = self.progress.send(Ok(progress)).await;
    }

    async fn say(&self, person: &Steps, word: Word) -> Result<(), MeetError> {
        self.ask(Command::Say { person: person.clone(), word }).await
    }

    async fn ask(&self, command: Command) -> Result<(), MeetError> {
        self.inputs.send(Input::Meeting(command)).await.map_err(|_| MeetError::Stopping)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
