//! This node's own card, prekeys and mailbox secrets.

use pigeon_bundle::{Card, CardFields, Epoch, Identity, MailboxSecret, PrekeyRing, SecretRandom, Tag};
use pigeon_store::{RecordOp, Store, Table};
use prost::Message;

use super::MailboxError;
use super::records::OwnRecord;
use crate::config::Config;

const KEY: &[u8] = b"own";
/// Bundles live at most 30 days and a day of skew: tags of these past days are listened to.
const PAST_EPOCHS: u32 = 31;
/// A neighbour's clock may be ahead.
const FUTURE_EPOCHS: u32 = 1;

/// What this node has given out about itself.
pub(crate) struct Own {
    ring: PrekeyRing,
    secrets: Vec<MailboxSecret>,
    card: Option<Card>,
}

/// New prekeys and card: first made durable, then taken over, so that nobody is shown a card whose prekey a crash
/// could take away.
pub(crate) struct Renewal {
    signed: PrekeyRing,
    card: Option<Card>,
    /// To be written first.
    pub(crate) record: RecordOp,
    /// There is a new card to show.
    pub(crate) new_card: bool,
}

impl Own {
    /// Reads the record, or starts afresh; nothing is written yet.
    ///
    /// # Errors
    /// When the store cannot be read, or holds something that is not ours.
    pub(crate) fn load(store: &Store, rng: &mut dyn SecretRandom) -> Result<Self, MailboxError> {
        let Some(bytes) = store.record(Table::Meta, KEY)? else {
            let mut secret = [0; 32];
            rng.fill(&mut secret);
            return Ok(Self {
                ring: PrekeyRing::default(),
                secrets: vec![MailboxSecret(secret)],
                card: None,
            });
        };
        let damaged = |what| MailboxError::Damaged { what };
        let record = OwnRecord::decode(bytes.as_slice()).map_err(|_| damaged("the node's own record"))?;
        let secrets = record.mailbox_secrets.iter().map(|s| s.as_slice().try_into().map(MailboxSecret));
        Ok(Self {
            ring: PrekeyRing::from_bytes(&record.ring).map_err(|_| damaged("the prekey ring"))?,
            secrets: secrets.collect::<Result<_, _>>().map_err(|_| damaged("a mailbox secret"))?,
            card: Card::parse(&record.card).ok(),
        })
    }

    /// The card in force; `None` until [`Own::refresh`] has run once.
    pub(crate) fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// The live prekeys.
    pub(crate) fn ring(&self) -> &PrekeyRing {
        &self.ring
    }

    /// What the calendar or the configuration asks for, or `None` where all stands.
    ///
    /// # Errors
    /// When the configured name, JID or bridge does not fit on a card.
    pub(crate) fn renewal(
        &self,
        identity: &Identity,
        config: &Config,
        now_s: u64,
        rng: &mut dyn SecretRandom,
    ) -> Result<Option<Renewal>, MailboxError> {
        let damaged = MailboxError::Damaged { what: "the prekey ring" };
        let mut signed = PrekeyRing::from_bytes(&self.ring.to_bytes()).map_err(|_| damaged)?;
        let rotated = signed.rotate(now_s, rng);
        let pruned = signed.prune(now_s) > 0;
        let (jids, bridges) = match &config.account {
            Some(account) => (vec![account.jid.clone()], vec![account.bridge.clone()]),
            None => (Vec::new(), Vec::new()),
        };
        let stands = self.card.as_ref().is_some_and(|card| {
            card.identity() == identity.key()
                && card.name() == config.name
                && card.jids() == jids
                && card.bridges() == bridges
        });
        let new_card = rotated || !stands;
        if !new_card && !pruned {
            return Ok(None);
        }
        let card = if new_card {
            Some(self.issue(identity, config, &signed, jids, bridges, now_s)?)
        } else {
            self.card.clone()
        };
        let record = self.record(&signed, card.as_ref());
        Ok(Some(Renewal { signed, card, record, new_card }))
    }

    fn issue(
        &self,
        identity: &Identity,
        config: &Config,
        signed: &PrekeyRing,
        jids: Vec<String>,
        bridges: Vec<String>,
        now_s: u64,
    ) -> Result<Card, MailboxError> {
        let (Some(prekey), Some(secret)) = (signed.current(), self.secrets.last()) else {
            return Err(MailboxError::Damaged { what: "the prekey ring" });
        };
        let fields = CardFields {
            name: config.name.clone(),
            jids,
            bridges,
            mailbox_secret: secret.clone(),
            prekey: prekey.public(),
            prekey_expires_s: prekey.expires_s(),
            issued_s: now_s,
        };
        Ok(Card::issue(identity, &fields)?)
    }

    /// Takes over a renewal whose record is durable.
    pub(crate) fn adopt(&mut self, renewal: Renewal) {
        self.ring.replace_signed(renewal.signed);
        self.card = renewal.card;
    }

    /// All tags that may carry mail for this node around `now_s`.
    pub(crate) fn tags(&self, now_s: u64) -> Vec<Tag> {
        let today = Epoch::at(now_s).0;
        let days = today.saturating_sub(PAST_EPOCHS)..=today.saturating_add(FUTURE_EPOCHS);
        self.secrets.iter().flat_map(|secret| days.clone().map(|day| secret.tag(Epoch(day)))).collect()
    }

    fn record(&self, signed: &PrekeyRing, card: Option<&Card>) -> RecordOp {
        let record = OwnRecord {
            ring: signed.to_bytes().to_vec(),
            mailbox_secrets: self.secrets.iter().map(|s| s.0.to_vec()).collect(),
            card: card.map(|card| card.as_bytes().to_vec()).unwrap_or_default(),
        };
        RecordOp::Put { table: Table::Meta, key: KEY.to_vec(), value: record.encode_to_vec() }
    }
}
