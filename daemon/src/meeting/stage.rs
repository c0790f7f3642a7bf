//! How far a meeting on one link has come: what is heard, said, or over uses up a stage and gives the next.

use bytes::Bytes;
use pigeon_bundle::{Agreed, Answered, Card, Committed, Compared};
use pigeon_core::Role;
use pigeon_proto::Introduction;
use tokio::sync::mpsc;

use super::error::MeetError;
use crate::random::OsRandom;

/// What the person at this node is told.
#[derive(Debug)]
pub enum Step {
    /// Six digits; the person says whether the other's screen shows the same.
    Code(String),
    /// This person has said so; the other has not yet.
    Confirmed,
    /// Both have: the other's card.
    Met(Box<Card>),
}

/// Where a meeting's steps go; the first error is the last step.
pub type Steps = mpsc::Sender<Result<Step, MeetError>>;

/// Whose turn it is.
pub(super) enum Stage {
    /// We dialled: bound, until the listener reveals.
    Bound(Committed),
    /// We were dialled: until the dialler binds itself.
    Listening,
    /// We have revealed: until the dialler does.
    Answered(Answered),
    /// The people compare. The other's card is here where that person was faster; it is looked at when ours agrees.
    Comparing(Compared, Option<Bytes>),
    /// Ours agrees: until the other's card comes.
    Agreed(Agreed),
}

/// What comes of a step.
pub(super) struct Turn {
    /// `None`: both have the other's card.
    pub(super) next: Option<Stage>,
    /// To the other side.
    pub(super) say: Option<Introduction>,
    /// To our person.
    pub(super) tell: Option<Step>,
}

impl Turn {
    fn to(next: Stage) -> Self {
        Self { next: Some(next), say: None, tell: None }
    }

    fn say(self, say: Introduction) -> Self {
        Self { say: Some(say), ..self }
    }

    fn compare(compared: Compared) -> Self {
        let code = Step::Code(compared.code());
        Self { tell: Some(code), ..Self::to(Stage::Comparing(compared, None)) }
    }

    fn met(card: Card) -> Self {
        Self { next: None, say: None, tell: Some(Step::Met(Box::new(card))) }
    }
}

impl Stage {
    /// Begins on a link on which the other side may have bound itself before.
    ///
    /// # Errors
    /// Never for a commitment of the right size.
    pub(super) fn begin(
        role: Role,
        commitment: Option<&[u8]>,
        card: &Card,
        binding: &[u8],
    ) -> Result<Turn, MeetError> {
        match (role, commitment) {
            (Role::Dialler, _) => {
                let (committed, commitment) = Committed::start(card, binding, &mut OsRandom);
                Ok(Turn::to(Self::Bound(committed)).say(Introduction::Commitment(commitment)))
            }
            (Role::Listener, Some(commitment)) => answer(card, binding, commitment),
            (Role::Listener, None) => Ok(Turn::to(Self::Listening)),
        }
    }

    /// Takes what the other side says.
    ///
    /// # Errors
    /// What is not acceptable, or out of turn; the meeting is over then.
    pub(super) fn hear(self, heard: Introduction, card: &Card, binding: &[u8]) -> Result<Turn, MeetError> {
        match (self, heard) {
            (Self::Listening, Introduction::Commitment(commitment)) => answer(card, binding, &commitment),
            (Self::Bound(committed), Introduction::Reveal(reveal)) => {
                let (compared, own) = committed.receive(&reveal)?;
                Ok(Turn::compare(compared).say(Introduction::Reveal(own)))
            }
            (Self::Answered(answered), Introduction::Reveal(reveal)) => {
                Ok(Turn::compare(answered.receive(&reveal)?))
            }
            (Self::Comparing(compared, None), Introduction::Card(card)) => {
                Ok(Turn::to(Self::Comparing(compared, Some(card))))
            }
            (Self::Agreed(agreed), Introduction::Card(card)) => Ok(Turn::met(agreed.receive(&card)?)),
            // The end of a meeting before this one.
            (stage @ (Self::Bound(_) | Self::Listening), Introduction::End(_)) => Ok(Turn::to(stage)),
            (_, Introduction::End(reason)) => Err(MeetError::said(reason)),
            (_, heard) => Err(MeetError::OutOfTurn { what: name(&heard) }),
        }
    }

    /// Our person says that the codes are the same: our card goes.
    ///
    /// # Errors
    /// Without a code, or where the other's card is here and not acceptable.
    pub(super) fn agree(self) -> Result<Turn, MeetError> {
        let Self::Comparing(compared, theirs) = self else { return Err(MeetError::NoCode) };
        let (agreed, shown) = compared.codes_are_the_same();
        let turn = match theirs {
            Some(card) => Turn::met(agreed.receive(&card)?),
            None => Turn { tell: Some(Step::Confirmed), ..Turn::to(Self::Agreed(agreed)) },
        };
        Ok(turn.say(Introduction::Card(Bytes::copy_from_slice(&shown))))
    }

    /// Why nothing more came in time.
    pub(super) fn timed_out(&self) -> MeetError {
        match self {
            Self::Bound(_) | Self::Listening | Self::Answered(_) => MeetError::NoAnswer,
            Self::Comparing(..) => MeetError::NotCompared,
            Self::Agreed(_) => MeetError::NotConfirmed,
        }
    }

    /// Whether another link to the same node will do as well.
    pub(super) fn may_move(&self) -> bool {
        matches!(self, Self::Bound(_) | Self::Listening)
    }
}

fn answer(card: &Card, binding: &[u8], commitment: &[u8]) -> Result<Turn, MeetError> {
    let (answered, reveal) = Answered::answer(card, binding, commitment, &mut OsRandom)?;
    Ok(Turn::to(Stage::Answered(answered)).say(Introduction::Reveal(reveal)))
}

fn name(step: &Introduction) -> &'static str {
    match step {
        Introduction::Commitment(_) => "a commitment",
        Introduction::Reveal(_) => "a reveal",
        Introduction::Card(_) => "a card",
        Introduction::End(_) => "an end",
    }
}
