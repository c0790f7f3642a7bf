//! The seven steps. Each says one line when what it tells has happened, by the daemons' own events.

use std::time::{Duration, Instant};

use pigeon_harness::node::text_of;
use pigeon_harness::watch::Mark;
use pigeon_harness::{Event, HarnessError, Result};

use crate::report::{Sent, messages};
use crate::{Break, PATIENCE, PATIENCE_BROKEN};
use pigeon_harness::cast::{Actor, Cast};

const FIRST_THREE: [&str; 3] =
    ["the 6 train is stuck at 33rd", "start dinner without me", "and save me a black and white cookie"];
const FOURTH: &str = "no signal anywhere, come to the platform";
const FIFTH: &str = "i am upstairs, i got the cookie";

/// The demo while it runs.
pub(crate) struct Story {
    broken: Break,
    begun: Instant,
    step: usize,
    sent: Vec<Sent>,
}

impl Story {
    /// Not begun yet.
    pub(crate) fn new(broken: Break) -> Self {
        Self { broken, begun: Instant::now(), step: 0, sent: Vec::new() }
    }

    /// The step that is being told.
    pub(crate) fn step(&self) -> usize {
        self.step
    }

    /// The messages sent so far.
    pub(crate) fn messages(&self) -> &[Sent] {
        &self.sent
    }

    /// All of it, up to the first thing that does not happen.
    pub(crate) fn tell(&mut self, cast: &mut Cast) -> Result<()> {
        self.step = 1;
        self.everyone_meets_the_bridge(cast)?;
        self.step = 2;
        self.elaine_writes_offline(cast)?;
        self.break_something(cast);
        self.step = 3;
        self.kramer_surfaces(cast)?;
        self.step = 4;
        self.newman_surfaces(cast)?;
        self.step = 5;
        self.elaine_surfaces(cast)?;
        self.step = 6;
        self.hand_to_hand(cast)?;
        self.step = 7;
        self.fetched_from_above(cast)
    }

    fn say(&self, line: &str) {
        println!("{} [{:4.1} s] {line}", self.step, self.begun.elapsed().as_secs_f32());
    }

    fn patience(&self) -> Duration {
        if self.broken != Break::Nothing && self.step > 2 { PATIENCE_BROKEN } else { PATIENCE }
    }

    /// Step 1. The cast is registered; cards change hands; then there is only the platform.
    fn everyone_meets_the_bridge(&self, cast: &Cast) -> Result<()> {
        cast.elaine.node.give_card_to(&cast.jerry.node)?;
        cast.jerry.node.give_card_to(&cast.elaine.node)?;
        let travellers = [&cast.elaine, &cast.kramer, &cast.newman];
        self.lose_internet(&travellers)?;
        travellers.iter().try_for_each(|actor| enter(actor.platform.as_ref()))?;
        self.say(
            "all four registered their keys with bridge.example.org and pinned its card; elaine and jerry exchanged \
             cards; elaine, kramer and newman are now without internet on one platform",
        );
        Ok(())
    }

    /// Step 2. Three messages, taken by two strangers who can read none of them.
    fn elaine_writes_offline(&mut self, cast: &Cast) -> Result<()> {
        for text in FIRST_THREE {
            self.send(cast, text)?;
        }
        for carrier in [&cast.kramer, &cast.newman] {
            for message in &self.sent {
                carrier
                    .wait(self.patience(), "taking a copy", |event| event.is("taken", &message.bundle_id))?;
            }
        }
        self.say(
            "elaine sent 3 messages to jerry; kramer and newman found her by mDNS and took copies over QUIC",
        );
        self.show_what_kramer_sees(cast)
    }

    fn show_what_kramer_sees(&self, cast: &Cast) -> Result<()> {
        let Some(first) = self.sent.first() else { return Ok(()) };
        let shown = cast.kramer.node.say(&["bundles", "show", &first.bundle_id])?;
        println!("{}", indented(&format!("kramer$ pigeon bundles show {}\n{shown}", &first.bundle_id[..12])));
        let detail = cast.kramer.node.json(&["bundles", "show", &first.bundle_id])?;
        let hex = text_of(&detail, "hex");
        for secret in [first.text.as_str(), "elaine", "jerry"] {
            check(!shown.contains(secret) && !hex.contains(&hex_of(secret)), || {
                format!("kramer can read {secret:?} on a bundle that he carries")
            })?;
        }
        check(!hex.is_empty() && messages(&cast.kramer, "inbox").is_empty(), || "kramer got mail".to_owned())
    }

    /// Kills what `BREAK` names, for good.
    fn break_something(&self, cast: &mut Cast) {
        match self.broken {
            Break::Nothing => return,
            Break::Bridge => cast.bridge.kill9(),
            Break::Carrier => {
                cast.kramer.node.kill9();
                cast.newman.node.kill9();
            }
        }
        let victim =
            if self.broken == Break::Bridge { "pigeon-bridge" } else { "kramer's and newman's pigeond" };
        self.say(&format!("BREAK: {victim} killed, for good"));
    }

    /// Step 3. The first carrier gets internet, and jerry gets his mail from elaine's own address.
    fn kramer_surfaces(&self, cast: &Cast) -> Result<()> {
        self.surface(&cast.kramer)?;
        for message in &self.sent {
            let id = &message.bundle_id;
            cast.kramer
                .wait(self.patience(), "the bridge's acceptance", |event| event.is("bridge_accepted", id))?;
            let arrival = cast
                .jerry
                .wait(self.patience(), "opening a message", |event| event.is("message_received", id))?;
            check(arrival.detail == "xmpp", || {
                format!("a message came by {:?} and not by XMPP", arrival.detail)
            })?;
        }
        let elaine = text_of(&cast.elaine.node.json(&["id"])?, "identity");
        let inbox = messages(&cast.jerry, "inbox");
        let authentic =
            inbox.len() == 3 && inbox.iter().all(|message| text_of(message, "from_identity") == elaine);
        check(authentic, || format!("jerry's inbox is not three messages of elaine's: {inbox:?}"))?;
        let archive = cast.server.archive("jerry");
        check(archive.matches("elaine@example.org").count() >= 3, || {
            "the server did not see elaine's JID".to_owned()
        })?;
        self.say(
            "kramer's internet came up; his daemon noticed, logged in and pushed; the bridge delivered from \
             elaine@example.org; jerry opened all 3",
        );
        println!("{}", indented(&format!("jerry$ pigeon inbox\n{}", cast.jerry.node.say(&["inbox"])?)));
        Ok(())
    }

    /// Step 4. The second carrier brings the same bundles: the bridge knows them.
    fn newman_surfaces(&self, cast: &Cast) -> Result<()> {
        self.surface(&cast.newman)?;
        for message in &self.sent {
            let id = &message.bundle_id;
            cast.newman.wait(self.patience(), "uploading a bundle", |event| event.is("uploaded", id))?;
            let verdict = |event: &Event| event.is("bridge_accepted", id) || event.is("purged", id);
            cast.newman.wait(self.patience(), "the bridge's verdict", verdict)?;
        }
        let inbox = messages(&cast.jerry, "inbox");
        check(inbox.len() == 3, || format!("jerry now has {} messages", inbox.len()))?;
        self.say(
            "newman surfaced with the same bundles; the bridge knew them, and jerry still has 3 messages",
        );
        Ok(())
    }

    /// Step 5. Receipts for the author, tombstones for the carriers.
    fn elaine_surfaces(&self, cast: &Cast) -> Result<()> {
        cast.elaine.internet.up()?;
        for message in &self.sent {
            let receipt =
                |event: &Event| event.kind == "receipt_received" && event.message_id == message.message_id;
            cast.elaine.wait(self.patience(), "a delivery receipt", receipt)?;
        }
        let carriers = [&cast.kramer, &cast.newman];
        self.lose_internet(&carriers)?;
        carriers.iter().try_for_each(|actor| enter(actor.platform.as_ref()))?;
        for (carrier, message) in
            carriers.iter().flat_map(|carrier| self.sent.iter().map(move |m| (carrier, m)))
        {
            carrier
                .wait(self.patience(), "purging a bundle", |event| event.is("purged", &message.bundle_id))?;
        }
        for carrier in carriers {
            self.carries_none_of_them(carrier)?;
        }
        self.say("elaine surfaced and got 3 delivery receipts; tombstones purged all 3 bundles at kramer and newman");
        Ok(())
    }

    fn carries_none_of_them(&self, carrier: &Actor) -> Result<()> {
        let list = carrier.node.json(&["bundles", "list"])?;
        let list = list.to_string();
        check(self.sent.iter().all(|message| !list.contains(&message.bundle_id)), || {
            format!("{} still carries a delivered bundle", carrier.name())
        })
    }

    /// Step 6. No internet at all: there and back in one pocket.
    fn hand_to_hand(&mut self, cast: &Cast) -> Result<()> {
        self.lose_internet(&[&cast.elaine, &cast.jerry])?;
        leave(cast.newman.platform.as_ref())?;
        let marks = cast.all().map(|actor| (actor, actor.node.watch().mark()));
        let message = self.send(cast, FOURTH)?;
        let (there, back) = self.walk_over_and_back(cast, &message)?;
        for (actor, mark) in marks {
            self.saw_no_bridge(actor, mark, [&there, &back])?;
        }
        self.say(
            "nobody had internet; kramer took a message from elaine to jerry's street and the receipt back, two hops \
             each way; the bridge saw neither",
        );
        Ok(())
    }

    /// The message and its receipt, each from hand to hand over kramer. Returns both bundles' ids.
    fn walk_over_and_back(&self, cast: &Cast, message: &Sent) -> Result<(String, String)> {
        let (elaine, kramer, jerry) = (&cast.elaine, &cast.kramer, &cast.jerry);
        let there = message.bundle_id.clone();
        kramer.wait(self.patience(), "taking the message from elaine", |event| {
            event.is("taken", &there) && event.peer == elaine.key
        })?;
        leave(kramer.platform.as_ref())?;
        enter(jerry.street.as_ref())?;
        enter(kramer.street.as_ref())?;
        let arrival = jerry
            .wait(self.patience(), "receiving the message", |event| event.is("message_received", &there))?;
        check(arrival.detail == "link" && arrival.peer == kramer.key, || {
            format!("the message came by {} from {}", arrival.detail, cast.name_of(&arrival.peer))
        })?;
        kramer.wait(self.patience(), "delivering the message", |event| {
            event.is("delivered_direct", &there) && event.peer == jerry.key
        })?;
        let receipt = kramer.wait(self.patience(), "taking the receipt from jerry", |event| {
            event.kind == "taken" && event.peer == jerry.key
        })?;
        leave(kramer.street.as_ref())?;
        enter(kramer.platform.as_ref())?;
        let back = receipt.bundle_id;
        elaine.wait(self.patience(), "the fourth receipt", |event| {
            event.kind == "receipt_received" && event.message_id == message.message_id
        })?;
        kramer.wait(self.patience(), "delivering the receipt", |event| {
            event.is("delivered_direct", &back) && event.peer == elaine.key
        })?;
        Ok((there, back))
    }

    /// Step 7. Jerry is upstairs and writes the ordinary way; elaine, down on the platform, has let kramer fetch her mail.
    fn fetched_from_above(&mut self, cast: &Cast) -> Result<()> {
        let (elaine, kramer, jerry) = (&cast.elaine, &cast.kramer, &cast.jerry);
        elaine.node.give_card_to(&kramer.node)?;
        kramer.node.give_card_to(&elaine.node)?;
        let from_elaine = |event: &Event| event.kind == "token_taken" && event.peer == elaine.key;
        kramer.wait(self.patience(), "taking elaine's token", from_elaine)?;
        self.surface(jerry)?;
        let message = self.send_from(jerry, "elaine", FIFTH)?;
        let there = &message.bundle_id;
        jerry.wait(self.patience(), "the bridge's acceptance", |event| event.is("bridge_accepted", there))?;
        self.surface(kramer)?;
        kramer.wait(self.patience(), "fetching elaine's mail", |event| event.is("fetched", there))?;
        check(messages(kramer, "inbox").is_empty(), || "kramer got elaine's mail".to_owned())?;
        self.lose_internet(&[kramer])?;
        enter(kramer.platform.as_ref())?;
        let arrival = elaine
            .wait(self.patience(), "receiving the message", |event| event.is("message_received", there))?;
        check(arrival.detail == "link" && arrival.peer == kramer.key, || {
            format!("the message came by {} from {}", arrival.detail, cast.name_of(&arrival.peer))
        })?;
        // The receipt goes the other way, up with kramer.
        let receipt = |event: &Event| event.kind == "taken" && event.peer == elaine.key;
        let mark = kramer.node.watch().mark();
        if !kramer.node.watch().matching(receipt).iter().any(|taken| taken.time_ms >= arrival.time_ms) {
            kramer.node.watch().wait_after(mark, self.patience(), "kramer: taking the receipt", receipt)?;
        }
        self.surface(kramer)?;
        jerry.wait(self.patience(), "the fifth receipt", |event| {
            event.kind == "receipt_received" && event.message_id == message.message_id
        })?;
        self.say(
            "jerry, upstairs, wrote to elaine by the bridge; with a token of hers kramer fetched the message there, \
             took it down to her unread, and brought her receipt up",
        );
        Ok(())
    }

    /// Since `mark` the node was not online, and the bridge judged neither bundle.
    fn saw_no_bridge(&self, actor: &Actor, mark: Mark, bundles: [&String; 2]) -> Result<()> {
        let bridged = |event: &&Event| {
            event.kind == "uplink_online"
                || event.kind.starts_with("bridge_") && bundles.iter().any(|id| **id == event.bundle_id)
        };
        let since = actor.node.watch().since(mark);
        check(!since.iter().any(|event| bridged(&event)), || format!("{} was at the bridge", actor.name()))
    }

    /// Sends from elaine to jerry by the command line, and remembers it.
    fn send(&mut self, cast: &Cast, text: &str) -> Result<Sent> {
        self.send_from(&cast.elaine, "jerry", text)
    }

    fn send_from(&mut self, author: &Actor, to: &str, text: &str) -> Result<Sent> {
        let reply = author.node.json(&["send", to, text])?;
        let (message_id, bundle_id) = (text_of(&reply, "message_id"), text_of(&reply, "bundle_id"));
        let message = Sent { text: text.to_owned(), message_id, bundle_id };
        self.sent.push(message.clone());
        Ok(message)
    }

    /// Off the platform and up to where there is internet; the daemon must notice by itself.
    fn surface(&self, actor: &Actor) -> Result<()> {
        leave(actor.platform.as_ref())?;
        let mark = actor.node.watch().mark();
        actor.internet.up()?;
        let online = |event: &Event| event.kind == "uplink_online";
        let what = format!("{} coming online", actor.name());
        actor.node.watch().wait_after(mark, self.patience(), &what, online).map(|_event| ())
    }

    /// Takes the internet away and waits until the daemons know.
    fn lose_internet(&self, actors: &[&Actor]) -> Result<()> {
        let marks: Vec<Mark> = actors.iter().map(|actor| actor.node.watch().mark()).collect();
        actors.iter().try_for_each(|actor| actor.internet.down())?;
        for (actor, mark) in actors.iter().zip(marks) {
            let what = format!("{} noticing that the internet is gone", actor.name());
            let offline = |event: &Event| event.kind == "uplink_offline";
            actor.node.watch().wait_after(mark, self.patience(), &what, offline)?;
        }
        Ok(())
    }
}

fn enter(network: Option<&pigeon_harness::netns::Interface>) -> Result<()> {
    network.map_or(Ok(()), pigeon_harness::netns::Interface::up)
}

fn leave(network: Option<&pigeon_harness::netns::Interface>) -> Result<()> {
    network.map_or(Ok(()), pigeon_harness::netns::Interface::down)
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(HarnessError::Output { what: "the story".to_owned(), detail: otherwise() })
}

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
}
