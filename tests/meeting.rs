//! Two people with a daemon each run `pigeon meet`; and what somebody does who sits between them, or beside.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peer.rs"]
mod peer;
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use carrier_pigeon::random::OsRandom;
use peer::Peer;
use pigeon_bundle::{Answered, Card, CardFields, Committed, Compared, Identity, MailboxSecret, PrekeyRing};
use pigeon_harness::files::temp_dir;
use pigeon_harness::netns::World;
use pigeon_harness::node::text_of;
use pigeon_harness::{Node, NodeSpec, Process, require_root};
use pigeon_link::Role;
use pigeon_proto::{EndReason, Frame, Introduction};
use serde_json::Value;
use support::{PATIENCE, assert_inbox, messages, send, until};

/// `pigeon meet` as it runs: what it shows, and the keyboard.
struct Screen {
    process: Process,
    lines: Receiver<Value>,
}

impl Screen {
    fn of(node: &Node, whom: &[&str]) -> Self {
        let mut command = node.command(&[&["--json", "meet"], whom].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn("pigeon meet", "cargo", command).unwrap();
        let (sender, lines) = channel();
        let output = process.child().stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { process, lines }
    }

    /// The next thing shown, which must be of this state.
    fn shows(&mut self, state: &str) -> Value {
        let shown = self.lines.recv_timeout(PATIENCE);
        let Ok(shown) = shown else { panic!("no {state:?} but {}", self.complaint()) };
        assert_eq!(shown["state"], state, "{shown}");
        shown
    }

    fn code(&mut self) -> String {
        let code = text_of(&self.shows("compare"), "code");
        assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
        code
    }

    fn says(&mut self, word: &str) {
        let typed = writeln!(self.process.child().stdin.as_mut().unwrap(), "{word}");
        assert!(typed.is_ok(), "nobody reads {word:?}: {}", self.complaint());
    }

    /// How it ended, and what it complained of.
    fn ends(mut self) -> (Option<i32>, String) {
        let status = self.process.wait(PATIENCE).unwrap();
        (status.code(), self.complaint())
    }

    fn complaint(&mut self) -> String {
        let mut complaint = String::new();
        self.process.child().stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        complaint
    }
}

/// Nodes on one segment that are strangers to each other, and in reach.
fn strangers<const N: usize>(world: &World, dir: &Path, segment: &str, names: [&str; N]) -> [Node; N] {
    let segment = world.segment(segment).unwrap();
    let mut number = 1;
    let nodes = names.map(|name| {
        number += 1;
        let host = world.host(name).unwrap();
        host.attach(&segment, &format!("10.3.0.{number}/24")).unwrap();
        Node::start(&host, &NodeSpec::new(name), dir).unwrap()
    });
    for node in &nodes {
        until(node, "reaching the others", || neighbours(node).len() == N - 1);
    }
    nodes
}

fn neighbours(node: &Node) -> Vec<String> {
    let reply = node.json(&["neighbours"]).unwrap();
    let mut keys: Vec<String> =
        reply["neighbours"].as_array().unwrap().iter().map(|n| text_of(n, "node_key")).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn contacts(node: &Node) -> Vec<Value> {
    node.json(&["contact", "list"]).unwrap()["contacts"].as_array().unwrap().clone()
}

fn assert_met(node: &Node, name: &str) {
    let known = contacts(node);
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!((&known[0]["name"], &known[0]["met"]), (&name.into(), &true.into()), "{known:?}");
}

#[test]
fn two_people_meet_compare_a_code_and_write_to_each_other() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-meet-").unwrap(), World::new());
    let [mut elaine, jerry] = strangers(&world, dir.path(), "street", ["elaine", "jerry"]);

    // One says that the codes differ, though the other has confirmed.
    let (mut at_elaine, mut at_jerry) = (Screen::of(&elaine, &[]), Screen::of(&jerry, &[]));
    assert_eq!(text_of(&at_elaine.shows("waiting"), "node_key"), elaine.node_key().unwrap());
    at_jerry.shows("waiting");
    let first = at_elaine.code();
    assert_eq!(at_jerry.code(), first);
    at_elaine.says("yes");
    at_elaine.shows("confirmed");
    at_jerry.says("no");
    let (status, complaint) = at_jerry.ends();
    assert!(status == Some(1) && complaint.contains("the codes differ"), "{status:?} {complaint}");
    let (status, complaint) = at_elaine.ends();
    assert!(status == Some(1) && complaint.contains("says that the codes differ"), "{status:?} {complaint}");

    // One goes away; and meanwhile a second meeting at one node is refused.
    let (mut at_elaine, mut at_jerry) = (Screen::of(&elaine, &[]), Screen::of(&jerry, &[]));
    at_elaine.shows("waiting");
    at_jerry.shows("waiting");
    assert_eq!(at_elaine.code(), at_jerry.code());
    let mut second = Screen::of(&jerry, &[]);
    second.shows("waiting");
    let (status, complaint) = second.ends();
    assert!(status == Some(1) && complaint.contains("another meeting"), "{status:?} {complaint}");
    drop(at_elaine);
    let (status, complaint) = at_jerry.ends();
    assert!(status == Some(1) && complaint.contains("broke the meeting off"), "{status:?} {complaint}");
    assert!(contacts(&elaine).is_empty() && contacts(&jerry).is_empty());

    // Both agree. Elaine names the node that jerry's screen shows.
    let key = jerry.node_key().unwrap();
    let (mut at_elaine, mut at_jerry) = (Screen::of(&elaine, &[&key[..8]]), Screen::of(&jerry, &[]));
    at_elaine.shows("waiting");
    at_jerry.shows("waiting");
    let code = at_elaine.code();
    assert_eq!(at_jerry.code(), code);
    at_jerry.says("what?");
    at_jerry.says(" Yes");
    at_jerry.shows("confirmed");
    assert!(contacts(&jerry).is_empty(), "before elaine has confirmed");
    at_elaine.says("y");
    for (screen, name) in [(&mut at_elaine, "jerry"), (&mut at_jerry, "elaine")] {
        let met = loop {
            let shown = screen.lines.recv_timeout(PATIENCE).unwrap();
            if shown["state"] == "met" {
                break shown;
            }
            assert_eq!(shown["state"], "confirmed");
        };
        assert_eq!((&met["contact"]["name"], &met["contact"]["met"]), (&name.into(), &true.into()));
    }
    assert_eq!((at_elaine.ends().0, at_jerry.ends().0), (Some(0), Some(0)));
    assert_met(&elaine, "jerry");
    assert_met(&jerry, "elaine");

    // It lasts, and they can write.
    elaine.restart().unwrap();
    assert_met(&elaine, "jerry");
    let (to_jerry, _) = send(&elaine, "jerry", "nice to have met you");
    let (to_elaine, _) = send(&jerry, "elaine", "and you");
    for node in [&elaine, &jerry] {
        until(node, "a receipt", || messages(node, "outbox").iter().all(|m| m["receipts"] == 1));
    }
    assert_inbox(&jerry, &[to_jerry]);
    assert_inbox(&elaine, &[to_elaine]);
}

/// Newman's end of a link to somebody's daemon, with a card of his own.
struct Newman {
    peer: Peer,
    card: Card,
}

impl Newman {
    fn new(peer: Peer) -> Self {
        let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let ring = PrekeyRing::generate(now_s, &mut OsRandom);
        let fields = CardFields {
            name: "jerry".into(),
            jids: Vec::new(),
            bridges: Vec::new(),
            mailbox_secret: MailboxSecret([5; 32]),
            prekey: ring.current().unwrap().public(),
            prekey_expires_s: ring.current().unwrap().expires_s(),
            issued_s: now_s,
        };
        Self { peer, card: Card::issue(&Identity::generate(&mut OsRandom), &fields).unwrap() }
    }

    fn say(&mut self, step: Introduction) {
        self.peer.send(Frame::Introduction(step));
    }

    fn hear<const N: usize>(&mut self, what: &str, pick: fn(&Introduction) -> Option<[u8; N]>) -> [u8; N] {
        self.peer.wait(what, |frame| match frame {
            Frame::Introduction(step) => pick(step),
            _ => None,
        })
    }

    fn reveal(&mut self) -> [u8; 64] {
        self.hear("a reveal", |step| match step {
            Introduction::Reveal(reveal) => Some(*reveal),
            _ => None,
        })
    }

    /// The introduction up to the code, as whoever keeps to the rules does it.
    fn compare(&mut self) -> Compared {
        let meta = self.peer.meta();
        let (role, binding) = (meta.role, meta.binding);
        match role {
            Role::Dialler => {
                let (committed, commitment) = Committed::start(&self.card, &binding, &mut OsRandom);
                self.say(Introduction::Commitment(commitment));
                let (compared, own) = committed.receive(&self.reveal()).unwrap();
                self.say(Introduction::Reveal(own));
                compared
            }
            Role::Listener => {
                let commitment = self.hear("a commitment", |step| match step {
                    Introduction::Commitment(commitment) => Some(*commitment),
                    _ => None,
                });
                let (answered, own) =
                    Answered::answer(&self.card, &binding, &commitment, &mut OsRandom).unwrap();
                self.say(Introduction::Reveal(own));
                answered.receive(&self.reveal()).unwrap()
            }
        }
    }

    /// Tries everything, and hears the end without having seen a card.
    fn is_turned_away(&mut self) {
        self.peer.wait("the end", |frame| match frame {
            Frame::Introduction(Introduction::End(reason)) => Some(*reason),
            Frame::Introduction(Introduction::Card(_)) => panic!("newman was shown a card"),
            _ => None,
        });
    }
}

/// Elaine and jerry believe that they are in reach of each other; each is in reach of newman only.
#[test]
fn who_sits_in_between_makes_the_codes_differ_and_sees_no_card() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-between-").unwrap(), World::new());
    let [(elaine, left), (jerry, right)] = ["elaine", "jerry"].map(|name| {
        let (segment, host) = (world.segment(name).unwrap(), world.host(name).unwrap());
        host.attach(&segment, "10.3.0.2/24").unwrap();
        let between = world.host(&format!("newman-{name}")).unwrap();
        between.attach(&segment, "10.3.0.3/24").unwrap();
        (Node::start(&host, &NodeSpec::new(name), dir.path()).unwrap(), between)
    });
    let mut sides = [left, right].map(|host| Newman::new(Peer::meet(&host)));
    let mut screens = [Screen::of(&elaine, &[]), Screen::of(&jerry, &[])];
    let newmans = sides.each_mut().map(|side| side.compare().code());
    let [at_elaine, at_jerry] = screens.each_mut().map(|screen| {
        screen.shows("waiting");
        screen.code()
    });
    assert_eq!(newmans, [at_elaine.clone(), at_jerry.clone()]);
    assert_ne!(at_elaine, at_jerry, "once in a million; run it again");
    // He shows his card before anybody has confirmed: it changes nothing.
    for (side, screen) in sides.iter_mut().zip(&mut screens) {
        side.say(Introduction::Card(vec![7; 200].into()));
        screen.says("no");
    }
    sides.iter_mut().for_each(Newman::is_turned_away);
    for screen in screens {
        let (status, complaint) = screen.ends();
        assert!(
            status == Some(1) && complaint.contains("somebody may be in between"),
            "{status:?} {complaint}"
        );
    }
    assert!(contacts(&elaine).is_empty() && contacts(&jerry).is_empty());
}

#[test]
fn garbage_and_floods_end_a_meeting_or_the_link_and_leave_nothing() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-flood-").unwrap(), World::new());
    let (segment, host) = (world.segment("street").unwrap(), world.host("jerry").unwrap());
    host.attach(&segment, "10.3.0.2/24").unwrap();
    let jerry = Node::start(&host, &NodeSpec::new("jerry"), dir.path()).unwrap();
    let host = world.host("newman").unwrap();
    host.attach(&segment, "10.3.0.3/24").unwrap();
    let mut newman = Newman::new(Peer::meet(&host));

    // The code is shown; then comes a card that it does not stand for.
    let mut screen = Screen::of(&jerry, &[]);
    let code = newman.compare().code();
    screen.shows("waiting");
    assert_eq!(screen.code(), code);
    screen.says("yes");
    screen.shows("confirmed");
    newman.hear("jerry's card", |step| matches!(step, Introduction::Card(_)).then_some([0; 1]));
    let card = newman.card.as_bytes().to_vec();
    newman.say(Introduction::Card([vec![0; 32], card].concat().into()));
    let reason = newman.peer.wait("the end", |frame| match frame {
        Frame::Introduction(Introduction::End(reason)) => Some(*reason),
        _ => None,
    });
    assert_eq!(reason, EndReason::RulesBroken);
    let (status, complaint) = screen.ends();
    assert!(status == Some(1) && complaint.contains("somebody may be in between"), "{status:?} {complaint}");

    // With nobody meeting, the first frames are dropped, and then the link is closed.
    let end = || Frame::Introduction(Introduction::End(EndReason::BrokenOff));
    let closed = (0..10_000).any(|_| !newman.peer.still_sends(end()));
    assert!(closed, "the daemon takes all that comes");
    let key = newman.peer.key();
    let refused = |event: &pigeon_harness::Event| event.kind == "link_refused" && event.peer == key;
    let event = jerry.watch().wait_for(PATIENCE, "refusing the flood", refused).unwrap();
    assert!(event.detail.contains("introductions"), "{event:?}");
    assert!(contacts(&jerry).is_empty());
}
