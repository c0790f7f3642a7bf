//! The fixed form written a second time, by hand from `docs/wire-format.md` and RFC 9171, so that the crate is
//! not only compared with itself; and bundles that break it, each in one place.

use data_encoding::BASE32_NOPAD;
use pigeon_bundle::Bundle;
use sha2::{Digest, Sha256};

pub fn head(major: u8, n: u64) -> Vec<u8> {
    let major = major << 5;
    match n {
        0..=23 => vec![major | n as u8],
        24..=0xff => vec![major | 24, n as u8],
        0x100..=0xffff => [vec![major | 25], (n as u16).to_be_bytes().to_vec()].concat(),
        0x1_0000..=0xffff_ffff => [vec![major | 26], (n as u32).to_be_bytes().to_vec()].concat(),
        _ => [vec![major | 27], n.to_be_bytes().to_vec()].concat(),
    }
}

pub fn uint(n: u64) -> Vec<u8> {
    head(0, n)
}

pub fn bytes(data: &[u8]) -> Vec<u8> {
    [&head(2, data.len() as u64), data].concat()
}

pub fn text(data: &str) -> Vec<u8> {
    [&head(3, data.len() as u64), data.as_bytes()].concat()
}

pub fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

/// `dtn:` with this scheme-specific part.
pub fn dtn(part: &str) -> Vec<u8> {
    array(&[uint(1), text(part)])
}

pub fn dtn_none() -> Vec<u8> {
    array(&[uint(1), uint(0)])
}

pub fn base32(data: &[u8]) -> String {
    BASE32_NOPAD.encode(data).to_lowercase()
}

pub fn hash(name: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update("CarrierPigeon/1 ").chain_update(name).chain_update([0]);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn crc32c(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn crc16_x25(data: &[u8]) -> u16 {
    let mut crc = u16::MAX;
    for byte in data {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x8408 } else { crc >> 1 };
        }
    }
    !crc
}

/// A block's items, as an array with the CRC of that type at its end.
fn with_crc(mut items: Vec<Vec<u8>>, crc: u64) -> Vec<u8> {
    let size = match crc {
        0 => return array(&items),
        1 => 2,
        _ => 4,
    };
    items.push(bytes(&vec![0; size]));
    let mut block = array(&items);
    let at = block.len() - size;
    if crc == 1 {
        let crc = crc16_x25(&block);
        block[at..].copy_from_slice(&crc.to_be_bytes());
    } else {
        let crc = crc32c(&block);
        block[at..].copy_from_slice(&crc.to_be_bytes());
    }
    block
}

#[derive(Clone)]
pub struct Block {
    pub kind: u64,
    pub number: u64,
    pub flags: u64,
    pub crc: u64,
    /// The data as a CBOR item; a byte string in the fixed form.
    pub item: Vec<u8>,
}

impl Block {
    pub fn new(kind: u64, number: u64, data: &[u8]) -> Self {
        Self { kind, number, flags: 0, crc: 0, item: bytes(data) }
    }

    fn encode(&self) -> Vec<u8> {
        let items = [self.kind, self.number, self.flags, self.crc].map(uint);
        with_crc([items.to_vec(), vec![self.item.clone()]].concat(), self.crc)
    }
}

/// Every part of a bundle, free to be wrong.
#[derive(Clone)]
pub struct Wire {
    pub version: u64,
    pub flags: u64,
    pub crc: u64,
    pub destination: Vec<u8>,
    pub source: Vec<u8>,
    pub report_to: Vec<u8>,
    pub creation_ms: u64,
    pub sequence: u64,
    pub lifetime_ms: u64,
    pub blocks: Vec<Block>,
}

impl Wire {
    pub fn of(bundle: &Bundle) -> Self {
        let carriage = carriage(bundle.epoch().0.into(), bundle.commitment().as_bytes());
        let mut blocks = vec![Block::new(240, 2, &carriage)];
        if let Some(uplink) = bundle.uplink() {
            blocks.push(Block::new(241, 3, &uplink_data(&uplink.domain, &uplink.bridge_key, &uplink.route)));
        }
        blocks.push(Block::new(1, 1, bundle.payload()));
        Self {
            version: 7,
            flags: 4,
            crc: 2,
            destination: dtn(&format!("//{}/m", base32(bundle.tag().as_bytes()))),
            source: dtn(&format!("//{}/", base32(&bundle.id().as_bytes()[..16]))),
            report_to: dtn_none(),
            creation_ms: bundle.creation_s().map_or(0, |s| (s - 946_684_800) * 1_000),
            sequence: 0,
            lifetime_ms: bundle.lifetime_s() * 1_000,
            blocks,
        }
    }

    pub fn primary(&self, source: &[u8], crc: u64) -> Vec<u8> {
        let items = vec![
            uint(self.version),
            uint(self.flags),
            uint(crc),
            self.destination.clone(),
            source.to_vec(),
            self.report_to.clone(),
            array(&[uint(self.creation_ms), uint(self.sequence)]),
            uint(self.lifetime_ms),
        ];
        with_crc(items, crc)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0x9f];
        out.extend(self.primary(&self.source, self.crc));
        for block in &self.blocks {
            out.extend(block.encode());
        }
        out.push(0xff);
        out
    }

    /// What a liar does who wants his variant to pass: the source is computed for it.
    pub fn lie(mut self) -> Self {
        let id = self.id();
        self.source = dtn(&format!("//{}/", base32(&id[..16])));
        self
    }

    pub fn header(&self) -> [u8; 32] {
        hash("header", &[&self.primary(&dtn_none(), 0), &self.data(240)])
    }

    pub fn message(&self) -> [u8; 32] {
        hash("message", &[&self.header(), &self.data(1)])
    }

    pub fn id(&self) -> [u8; 32] {
        hash("bundle", &[&self.message(), &self.data(241)])
    }

    /// The content of a block's byte string; empty if there is no such block.
    fn data(&self, kind: u64) -> Vec<u8> {
        let item = self.blocks.iter().find(|block| block.kind == kind).map(|block| &block.item);
        item.map_or(Vec::new(), |item| minicbor::Decoder::new(item).bytes().unwrap().to_vec())
    }

    pub fn block(&mut self, kind: u64) -> &mut Block {
        self.blocks.iter_mut().find(|block| block.kind == kind).unwrap()
    }
}

pub fn carriage(epoch: u64, commitment: &[u8]) -> Vec<u8> {
    array(&[bytes(b"CP1"), uint(epoch), bytes(commitment)])
}

pub fn uplink_data(domain: &str, key: &[u8], route: &[u8]) -> Vec<u8> {
    array(&[bytes(b"CP1"), text(domain), bytes(key), bytes(route)])
}
