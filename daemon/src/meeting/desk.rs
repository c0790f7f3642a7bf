//! Who is in reach, whom our person wants to meet, and on which link that goes on.

use std::collections::BTreeMap;

use pigeon_bundle::{COMMITMENT_SIZE, Card, NodeKey};
use pigeon_core::{LinkId, Role};
use pigeon_proto::{GoodbyeReason, Introduction};

use super::error::MeetError;
use super::flood::Flood;
use super::stage::{Stage, Step, Steps, Turn};

/// Fewest hex digits that name a node.
const DIGITS_MIN: usize = 4;
/// Digits of a key in a list.
const DIGITS_SHOWN: usize = 16;
/// Nodes that an error names.
const NODES_SHOWN: usize = 8;

/// A link is used once it is so old: two nodes that have just found each other may both be dialling, and one of the two
/// links goes.
pub(super) const SETTLED_MS: u64 = 3_000;

/// One end of a link.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Who is at the other one.
    pub node: NodeKey,
    /// Whether we dialled.
    pub role: Role,
    /// Channel binding.
    pub binding: [u8; 32],
}

/// What a person wants.
pub enum Command {
    /// To meet somebody.
    Begin {
        /// The beginning of the neighbour's key in hex; empty: the only one in reach, or the first that comes.
        whom: String,
        /// The card to show.
        card: Box<Card>,
        /// Where the steps go; room for 4 suffices.
        person: Steps,
    },
    /// Something on the meeting whose steps go to `person`.
    Say {
        /// Which.
        person: Steps,
        /// What.
        word: Word,
    },
}

/// What a person, or the clock, says on a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The codes are the same.
    Same,
    /// They are not.
    Differ,
    /// The person is gone.
    Leave,
    /// It takes too long.
    TimedOut,
    /// A link may have become usable: to be said every now and then until the code is there.
    Look,
}

/// What the shell is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send(LinkId, Introduction),
    /// Close that link: the neighbour broke a rule.
    Close {
        /// Which.
        link: LinkId,
        /// To whom.
        node: NodeKey,
        /// What the neighbour is told.
        reason: GoodbyeReason,
        /// The rule, for the log.
        rule: &'static str,
    },
}

struct Neighbour {
    peer: Peer,
    /// When the link came up.
    since_ms: u64,
    /// The dialler's, whose person may be earlier than ours.
    commitment: Option<[u8; COMMITMENT_SIZE]>,
    flood: Flood,
}

struct Meeting {
    /// Lower-case hex; a whole key once a neighbour was chosen.
    whom: String,
    card: Box<Card>,
    person: Steps,
    at: Option<(LinkId, Stage)>,
}

impl Meeting {
    /// Whoever asked may have gone; then the meeting is about to be ended.
    fn tell(&self, step: Result<Step, MeetError>) {
        let _ = self.person.try_send(step);
    }
}

/// All links, and the one meeting.
///
/// Tell it of each link ([`Desk::link_up`], [`Desk::link_down`]), of each frame of an introduction ([`Desk::frame`]),
/// and of what people want ([`Desk::command`]); carry out the outputs in order.
#[derive(Default)]
pub struct Desk {
    links: BTreeMap<LinkId, Neighbour>,
    meeting: Option<Meeting>,
}

impl Desk {
    /// A link is there.
    pub fn link_up(&mut self, now_ms: u64, link: LinkId, peer: Peer) {
        self.links
            .insert(link, Neighbour { peer, since_ms: now_ms, commitment: None, flood: Flood::default() });
    }

    /// A link is gone.
    pub fn link_down(&mut self, now_ms: u64, link: LinkId) -> Vec<Output> {
        self.links.remove(&link);
        let Some(meeting) = self.meeting.as_mut() else { return Vec::new() };
        match meeting.at.take_if(|(at, _)| *at == link) {
            None => Vec::new(),
            Some((_, stage)) if stage.may_move() => self.look(now_ms),
            Some(_) => self.fail(MeetError::Gone),
        }
    }

    /// A neighbour says something.
    pub fn frame(&mut self, now_ms: u64, link: LinkId, heard: Introduction) -> Vec<Output> {
        let Some(neighbour) = self.links.get_mut(&link) else { return Vec::new() };
        let peer = neighbour.peer;
        let close = |reason, rule| vec![Output::Close { link, node: peer.node, reason, rule }];
        if !neighbour.flood.one_more(now_ms) {
            return close(GoodbyeReason::Limit, "too many frames of introductions");
        }
        match heard {
            Introduction::Commitment(_) if peer.role == Role::Dialler => {
                return close(GoodbyeReason::ProtocolError, "a commitment by the listener of the link");
            }
            Introduction::Commitment(commitment) => neighbour.commitment = Some(commitment),
            Introduction::End(_) => neighbour.commitment = None,
            Introduction::Reveal(_) | Introduction::Card(_) => {}
        }
        let Some(meeting) = self.meeting.as_mut() else { return Vec::new() };
        let Some((_, stage)) = meeting.at.take_if(|(at, _)| *at == link) else { return Vec::new() };
        let turn = stage.hear(heard, &meeting.card, &peer.binding);
        self.turn(link, turn)
    }

    /// A person wants something.
    pub fn command(&mut self, now_ms: u64, command: Command) -> Vec<Output> {
        match command {
            Command::Begin { whom, card, person } => {
                let meeting = Meeting { whom: whom.to_ascii_lowercase(), card, person, at: None };
                match self.may_begin(&meeting.whom) {
                    Ok(()) => {
                        self.meeting = Some(meeting);
                        self.look(now_ms)
                    }
                    Err(error) => {
                        meeting.tell(Err(error));
                        Vec::new()
                    }
                }
            }
            Command::Say { person, word } => self.say(now_ms, &person, word),
        }
    }

    fn may_begin(&self, whom: &str) -> Result<(), MeetError> {
        if self.meeting.is_some() {
            return Err(MeetError::Busy);
        }
        let named = (DIGITS_MIN..=64).contains(&whom.len()) && whom.bytes().all(|b| b.is_ascii_hexdigit());
        if !whom.is_empty() && !named {
            return Err(MeetError::Name { given: whom.to_owned() });
        }
        self.no_choice(whom)
    }

    /// Whoever fits is one node at most.
    fn no_choice(&self, whom: &str) -> Result<(), MeetError> {
        let mut nodes: Vec<String> = self.fitting(whom).map(|(_, node, _)| node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.len() < 2 {
            return Ok(());
        }
        let shown: Vec<&str> =
            nodes.iter().take(NODES_SHOWN).filter_map(|node| node.get(..DIGITS_SHOWN)).collect();
        let more = if nodes.len() > NODES_SHOWN { ", …" } else { "" };
        Err(MeetError::Several { count: nodes.len(), nodes: shown.join(", ") + more })
    }

    /// Links to whom the beginning of a key names, with the whole key and when they came up.
    fn fitting<'a>(&'a self, whom: &'a str) -> impl Iterator<Item = (LinkId, String, u64)> + 'a {
        let links = self.links.iter();
        let named = links.map(|(link, near)| (*link, near.peer.node.to_string(), near.since_ms));
        named.filter(move |(_, node, _)| node.starts_with(whom))
    }

    /// Where nobody is met yet: the link to whom our person wants to meet, once it is the only one and settled. Of two to
    /// one node, one is about to go.
    fn look(&mut self, now_ms: u64) -> Vec<Output> {
        let Some(meeting) = self.meeting.as_ref().filter(|meeting| meeting.at.is_none()) else {
            return Vec::new();
        };
        if let Err(error) = self.no_choice(&meeting.whom) {
            return self.fail(error);
        }
        let links: Vec<_> = self.fitting(&meeting.whom).collect();
        let [(link, node, since_ms)] = &links[..] else { return Vec::new() };
        if now_ms.saturating_sub(*since_ms) < SETTLED_MS {
            return Vec::new();
        }
        let (link, node) = (*link, node.clone());
        let (Some(neighbour), Some(meeting)) = (self.links.get(&link), self.meeting.as_mut()) else {
            return Vec::new();
        };
        meeting.whom = node;
        let Peer { role, binding, .. } = neighbour.peer;
        let commitment = neighbour.commitment.as_ref().map(|bytes| &bytes[..]);
        let turn = Stage::begin(role, commitment, &meeting.card, &binding);
        self.turn(link, turn)
    }

    fn say(&mut self, now_ms: u64, person: &Steps, word: Word) -> Vec<Output> {
        // A word on a meeting that has ended meanwhile.
        let Some(meeting) = self.meeting.as_mut().filter(|meeting| meeting.person.same_channel(person))
        else {
            return Vec::new();
        };
        let error = match word {
            Word::Same => {
                let Some((link, stage)) = meeting.at.take() else { return self.fail(MeetError::NoCode) };
                let turn = stage.agree();
                return self.turn(link, turn);
            }
            Word::Look => return self.look(now_ms),
            Word::Differ => MeetError::Differ,
            Word::Leave => MeetError::Left,
            Word::TimedOut => meeting.at.as_ref().map_or(MeetError::Nobody, |(_, stage)| stage.timed_out()),
        };
        self.fail(error)
    }

    /// The meeting on `link` goes on, or is over.
    fn turn(&mut self, link: LinkId, turn: Result<Turn, MeetError>) -> Vec<Output> {
        let Turn { next, say, tell } = match turn {
            Ok(turn) => turn,
            Err(error) => return self.fail_at(Some(link), error),
        };
        if let Some(meeting) = self.meeting.as_mut() {
            if let Some(step) = tell {
                meeting.tell(Ok(step));
            }
            match next {
                Some(stage) => meeting.at = Some((link, stage)),
                None => self.over(Some(link)),
            }
        }
        say.map(|step| Output::Send(link, step)).into_iter().collect()
    }

    fn fail(&mut self, error: MeetError) -> Vec<Output> {
        // Who only waits for the dialler has said nothing that could be ended.
        let link = self.meeting.as_ref().and_then(|meeting| match &meeting.at {
            Some((_, Stage::Listening)) | None => None,
            Some((link, _)) => Some(*link),
        });
        self.fail_at(link, error)
    }

    fn fail_at(&mut self, link: Option<LinkId>, error: MeetError) -> Vec<Output> {
        tracing::debug!(%error, "a meeting came to nothing");
        let end = link.zip(error.to_say());
        if let Some(meeting) = &self.meeting {
            meeting.tell(Err(error));
        }
        self.over(link);
        end.map(|(link, reason)| Output::Send(link, Introduction::End(reason))).into_iter().collect()
    }

    /// Nobody is met any more. What the dialler was bound to is used up: the next meeting has another.
    fn over(&mut self, link: Option<LinkId>) {
        self.meeting = None;
        if let Some(neighbour) = link.and_then(|link| self.links.get_mut(&link)) {
            neighbour.commitment = None;
        }
    }
}
