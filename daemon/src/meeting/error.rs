//! Why a meeting came to nothing.

use pigeon_bundle::IntroductionError;
use pigeon_proto::EndReason;

use crate::mailbox::MailboxError;

/// Why a meeting came to nothing. Nothing was kept, unless the card had come: then [`MeetError::Mailbox`] says why not.
#[derive(Debug, thiserror::Error)]
pub enum MeetError {
    /// Another meeting goes on here.
    #[error("another meeting goes on at this node; wait for its end, or stop that `pigeon meet`")]
    Busy,
    /// Not the beginning of a node key.
    #[error(
        "{given:?} is no node key; give 4 to 64 hex digits of it, as `pigeon meet` shows them to the other person"
    )]
    Name {
        /// What the user wrote.
        given: String,
    },
    /// Nobody named, and a choice.
    #[error(
        "{count} nodes are in reach ({nodes}); ask the other person for their node's key, which `pigeon status` shows \
         there, and name it: `pigeon meet KEY`"
    )]
    Several {
        /// How many fit.
        count: usize,
        /// The beginnings of their keys.
        nodes: String,
    },
    /// No card to show.
    #[error(
        "this node has no card yet, for it does not know the day; set the clock (NTP), or clock = \"trusted\" in the config"
    )]
    NoCard,
    /// Nobody came in reach.
    #[error(
        "no such node came in reach; `pigeon neighbours` shows who is: both must be on one network, or near with Bluetooth"
    )]
    Nobody,
    /// The neighbour's person did not begin.
    #[error("the other person did not begin in time; run `pigeon meet` on both nodes within two minutes")]
    NoAnswer,
    /// This person did not answer.
    #[error("nobody said whether the codes are the same; start again on both sides")]
    NotCompared,
    /// The other person did not answer.
    #[error("the other person did not confirm the code in time; start again on both sides")]
    NotConfirmed,
    /// This person left.
    #[error("the meeting was broken off; start again on both sides")]
    Left,
    /// This person says that the codes differ.
    #[error(
        "the codes differ, so somebody may be in between, and no card was sent or kept; start again, and name the other's node: `pigeon meet KEY`"
    )]
    Differ,
    /// The other person says so.
    #[error(
        "the other person says that the codes differ, so somebody may be in between, and no card was kept; start again, and name the other's node: `pigeon meet KEY`"
    )]
    OtherDiffers,
    /// The other person left.
    #[error("the other side broke the meeting off; start again on both sides")]
    OtherLeft,
    /// The other node complains.
    #[error(
        "the other node says that this one broke the rules of the meeting; start again, and see that both run the same version"
    )]
    OtherComplains,
    /// The link went.
    #[error("the neighbour went out of reach; start again on both sides")]
    Gone,
    /// A message of the introduction is not acceptable.
    #[error("{0}; start again, and name the other's node: `pigeon meet KEY`")]
    Broken(#[from] IntroductionError),
    /// A message at the wrong time.
    #[error(
        "the neighbour broke the rules of the meeting: {what} out of turn; start again, and see that both run the same version"
    )]
    OutOfTurn {
        /// Which message.
        what: &'static str,
    },
    /// There is no code to judge yet.
    #[error("there is no code to compare yet; wait until it is shown")]
    NoCode,
    /// The card cannot be kept.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// The daemon is stopping.
    #[error("the daemon is stopping; meet again when it runs")]
    Stopping,
}

impl MeetError {
    /// What the other side said.
    pub(super) fn said(reason: EndReason) -> Self {
        match reason {
            EndReason::CodesDiffer => Self::OtherDiffers,
            EndReason::BrokenOff => Self::OtherLeft,
            EndReason::RulesBroken => Self::OtherComplains,
        }
    }

    /// What the other side is told; `None` where it said so itself, or is not there.
    pub(super) fn to_say(&self) -> Option<EndReason> {
        match self {
            Self::Differ => Some(EndReason::CodesDiffer),
            Self::Broken(_) | Self::OutOfTurn { .. } => Some(EndReason::RulesBroken),
            Self::Gone | Self::OtherDiffers | Self::OtherLeft | Self::OtherComplains => None,
            _ => Some(EndReason::BrokenOff),
        }
    }
}
