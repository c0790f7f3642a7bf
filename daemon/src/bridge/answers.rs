//! Answers to what sessions ask in IQs: done, refused with a reason, or not now.

use pigeon_xmpp::{Condition, IqAnswer, IqToken};

use super::desk::Desk;
use super::ledger::LedgerError;

/// Why a request is refused, for its asker.
pub trait Refused: std::fmt::Display {
    /// The stanza error that goes with it.
    fn condition(&self) -> Condition;
}

/// Answers an IQ with what came of it: the `answer`, the refusal, or, where the ledger failed, the advice to try again.
/// Without a connection the asker asks again.
///
/// # Errors
/// The ledger's, handed on.
pub(super) async fn answer_with<T, E: Refused>(
    desk: &Desk,
    iq: IqToken,
    outcome: Result<Result<T, E>, LedgerError>,
    answer: impl FnOnce(T) -> IqAnswer,
) -> Result<(), LedgerError> {
    let (answer, outcome) = match outcome {
        Ok(Ok(value)) => (answer(value), Ok(())),
        Ok(Err(refused)) => {
            (IqAnswer::Error { condition: refused.condition(), text: refused.to_string() }, Ok(()))
        }
        Err(error) => {
            let text = "the bridge cannot write to its ledger; try again later".to_owned();
            (IqAnswer::Error { condition: Condition::InternalServerError, text }, Err(error))
        }
    };
    if let Err(error) = desk.component.answer(iq, answer).await {
        tracing::debug!(%error, "an answer was not sent");
    }
    outcome
}
