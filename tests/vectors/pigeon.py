"""docs/wire-format.md a second time, in another language. Nothing here was taken from the Rust code."""

import base64
import hashlib
import hmac as std_hmac
import io

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import hpke

STEPS = [256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 49152, 65536, 81920]
DTN_EPOCH_S, DAY_S, HOUR_S = 946_684_800, 86_400, 3_600
MAGIC = b"CP1"


# --- section 1: conventions and digests

def ctx(name):
    return b"CarrierPigeon/1 " + name.encode() + b"\0"


def u(width, value):
    return value.to_bytes(width // 8, "big")


def lp(data):
    return u(32, len(data)) + data


def sha256(name, *parts):
    return hashlib.sha256(ctx(name) + b"".join(parts)).digest()


def hmac(key, name, *parts):
    return std_hmac.new(key, ctx(name) + b"".join(parts), hashlib.sha256).digest()


def hkdf(ikm, name):
    return hpke.expand(hpke.extract(b"", ikm), ctx(name), 32)


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def tag_of(mailbox_secret, epoch):
    return hmac(mailbox_secret, "tag", u(32, epoch))[:16]


def ed25519_key(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed, name, *parts):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(ctx(name) + b"".join(parts))


def verify(key, signature, name, *parts):
    Ed25519PublicKey.from_public_bytes(key).verify(signature, ctx(name) + b"".join(parts))


# --- protobuf, as far as these messages need it

def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def pb(*fields):
    """proto3: (number, value) in order; bytes, str or int; defaults are left out."""
    out = b""
    for number, value in fields:
        if not value:
            continue
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def _read_varint(stream):
    out = shift = 0
    while True:
        byte = stream.read(1)[0]
        out |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return out


def unpb(data):
    """number -> list of values in the order they came."""
    stream, out = io.BytesIO(data), {}
    while stream.tell() < len(data):
        key = _read_varint(stream)
        value = _read_varint(stream)
        if key & 7 == 2:
            size = value
            value = stream.read(size)
            assert len(value) == size, "protobuf message is cut short"
        else:
            assert key & 7 == 0, f"protobuf wire type {key & 7}"
        out.setdefault(key >> 3, []).append(value)
    return out


def first(message, number, default=b""):
    return message.get(number, [default])[-1]


# --- section 3: sealing

def pad(message):
    step = next(step for step in STEPS if len(message) + 4 <= step)
    return (u(32, len(message)) + message).ljust(step, b"\0")


def unpad(plaintext):
    size = int.from_bytes(plaintext[:4], "big")
    assert pad(plaintext[4 : 4 + size]) == plaintext, "padding is not the smallest step of zeros"
    return plaintext[4 : 4 + size]


def envelope_text(author, recipient, sealed_to, header, content):
    return author, recipient, sealed_to, header, u(32, len(content)), content


def seal_payload(author_seed, recipient, sealed_to, header, content, reveal, ikm):
    author = ed25519_key(author_seed)
    signature = sign(author_seed, "envelope", *envelope_text(author, recipient, sealed_to, header, content))
    envelope = pb((1, author), (2, content), (3, reveal), (4, signature))
    return hpke.seal(sealed_to, ctx("seal"), header, pad(envelope), ikm)


def open_payload(secret, recipient, header, commitment, payload):
    """Author, content and r, after every check that the text asks of the recipient."""
    envelope = unpb(unpad(hpke.open_(secret, ctx("seal"), header, payload)))
    author, content, reveal = (first(envelope, number) for number in (1, 2, 3))
    text = envelope_text(author, recipient, hpke.public_of(secret), header, content)
    verify(author, first(envelope, 4), "envelope", *text)
    assert sha256("commitment", reveal) == commitment, "reveal does not open the commitment"
    return author, content, reveal


# --- section 4: the bundle

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def primary(tag, source, creation_ms, lifetime_ms, crc):
    fields = [7, 4, 2 if crc else 0, [1, f"//{base32(tag)}/m"], [1, source], [1, 0], [creation_ms, 0], lifetime_ms]
    if not crc:
        return cbor2.dumps(fields)
    without = cbor2.dumps(fields + [bytes(4)])
    return without[:-4] + u(32, crc32c(without))


def block(kind, number, data):
    return cbor2.dumps([kind, number, 0, 0, data])


def carriage_data(epoch, commitment):
    return cbor2.dumps([MAGIC, epoch, commitment])


def uplink_data(domain, bridge_key, route):
    return cbor2.dumps([MAGIC, domain, bridge_key, route])


def header_digest(tag, creation_ms, lifetime_ms, carriage):
    return sha256("header", primary(tag, 0, creation_ms, lifetime_ms, crc=False), carriage)


def assemble(tag, creation_ms, lifetime_ms, carriage, uplink, payload):
    """The fixed form, with its digests: (bytes, H, P, B)."""
    header = header_digest(tag, creation_ms, lifetime_ms, carriage)
    message = sha256("message", header, payload)
    bundle = sha256("bundle", message, uplink)
    blocks = [primary(tag, f"//{base32(bundle[:16])}/", creation_ms, lifetime_ms, crc=True), block(240, 2, carriage)]
    if uplink:
        blocks.append(block(241, 3, uplink))
    blocks.append(block(1, 1, payload))
    return b"\x9f" + b"".join(blocks) + b"\xff", header, message, bundle


class Bundle:
    """A bundle read with cbor2, checked against section 4 by encoding it again."""

    def __init__(self, data):
        blocks = cbor2.loads(data)
        head, carriage, *more = blocks
        self.creation_ms, self.lifetime_ms = head[6][0], head[7]
        self.tag_text = head[3][1].removeprefix("//").removesuffix("/m")
        self.tag = base64.b32decode(self.tag_text.upper() + "======")
        self.carriage, self.payload = carriage[4], more[-1][4]
        self.uplink = more[0][4] if len(more) == 2 else b""
        magic, self.epoch, self.commitment = cbor2.loads(self.carriage)
        assert magic == MAGIC
        parts = (self.tag, self.creation_ms, self.lifetime_ms, self.carriage, self.uplink, self.payload)
        again, self.header, self.message, self.id = assemble(*parts)
        assert again == data, "bundle is not in the fixed form"
        assert len(self.payload) - 48 in STEPS and len(data) <= 98_304
        assert self.lifetime_ms % 3_600_000 == 0 and self.creation_ms % 3_600_000 == 0
        if self.creation_ms:
            assert (self.creation_ms // 1000 + DTN_EPOCH_S) // DAY_S == self.epoch
        if self.uplink:
            magic, self.domain, self.bridge_key, self.route = cbor2.loads(self.uplink)
            assert magic == MAGIC and len(self.route) == 560


def route_text(message, domain, bridge_key, route):
    return (
        message, lp(domain.encode()), bridge_key, lp(route["author"].encode()), lp(route["recipient"].encode()),
        lp(route["message_id"]), u(64, route["sent_ms"]),
    )


def seal_route(author_seed, message, domain, bridge_key, bridge_x25519, route, ikm):
    signature = sign(author_seed, "route-author", *route_text(message, domain, bridge_key, route))
    encoded = pb((1, route["author"]), (2, route["recipient"]), (3, route["message_id"]), (4, route["sent_ms"]), (5, signature))
    plaintext = (u(16, len(encoded)) + encoded).ljust(512, b"\0")
    return hpke.seal(bridge_x25519, ctx("route"), message + domain.encode(), plaintext, ikm)


def open_route(bridge_secret, bundle, author):
    """The route, its author's signature checked."""
    aad = bundle.message + bundle.domain.encode()
    plaintext = hpke.open_(bridge_secret, ctx("route"), aad, bundle.route)
    size = int.from_bytes(plaintext[:2], "big")
    assert len(plaintext) == 512 and not any(plaintext[2 + size :])
    message = unpb(plaintext[2 : 2 + size])
    route = {
        "author": first(message, 1).decode(), "recipient": first(message, 2).decode(),
        "message_id": first(message, 3), "sent_ms": first(message, 4, 0),
    }
    verify(author, first(message, 5), "route-author", *route_text(bundle.message, bundle.domain, bundle.bridge_key, route))
    return route


def seal_bundle(author_seed, card, sealed_to, created_s, epoch, lifetime_s, content, uplink, reveal, ikms):
    """All of sections 3 and 4. `uplink`: bridge card and route, or None. `ikms`: one per encapsulation."""
    tag = tag_of(card["mailbox_secret"], epoch)
    creation_ms = 0 if created_s is None else (created_s - DTN_EPOCH_S) // HOUR_S * HOUR_S * 1000
    lifetime_ms = -(-lifetime_s // HOUR_S) * HOUR_S * 1000
    carriage = carriage_data(epoch, sha256("commitment", reveal))
    header = header_digest(tag, creation_ms, lifetime_ms, carriage)
    payload = seal_payload(author_seed, card["ed25519"], sealed_to, header, content, reveal, ikms[0])
    message, data = sha256("message", header, payload), b""
    if uplink:
        bridge, route = uplink
        keys = bridge["ed25519"], bridge["x25519"]
        data = uplink_data(bridge["domain"], keys[0], seal_route(author_seed, message, bridge["domain"], *keys, route, ikms[1]))
    return assemble(tag, creation_ms, lifetime_ms, carriage, data, payload)


# --- sections 2 and 5: cards and verdicts

def open_card(signed):
    """A SignedCard's fields, signature checked over the bytes as received."""
    wrapper = unpb(signed)
    inside = first(wrapper, 1)
    card = unpb(inside)
    verify(first(card, 1), first(wrapper, 2), "card", inside)
    return {
        "ed25519": first(card, 1), "x25519": first(card, 2), "name": first(card, 3).decode(),
        "jid": [jid.decode() for jid in card.get(4, [])], "bridge": [domain.decode() for domain in card.get(5, [])],
        "mailbox_secret": first(card, 6), "prekey": first(card, 7),
        "prekey_expires": first(card, 8, 0), "issued": first(card, 9, 0),
    }


def card_of_text(text):
    body = text.removeprefix("pigeon:card:")
    assert body != text and len(text) <= 4096
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def issue_card(seed, card):
    fields = [(1, card["ed25519"]), (2, card["x25519"]), (3, card["name"])]
    fields += [(4, jid) for jid in card["jid"]] + [(5, domain) for domain in card["bridge"]]
    fields += [(6, card["mailbox_secret"]), (7, card["prekey"]), (8, card["prekey_expires"]), (9, card["issued"])]
    inside = pb(*fields)
    return pb((1, inside), (2, sign(seed, "card", inside)))


def open_bridge_card(signed):
    wrapper = unpb(signed)
    inside = first(wrapper, 1)
    card = unpb(inside)
    verify(first(card, 2), first(wrapper, 2), "bridge-card", inside)
    return {
        "domain": first(card, 1).decode(), "ed25519": first(card, 2), "x25519": first(card, 3),
        "issued": first(card, 4, 0), "expires": first(card, 5, 0), "shard": [s.decode() for s in card.get(6, [])],
    }


def issue_bridge_card(seed, card):
    fields = [(1, card["domain"]), (2, card["ed25519"]), (3, card["x25519"]), (4, card["issued"]), (5, card["expires"])]
    inside = pb(*fields, *[(6, shard) for shard in card["shard"]])
    return pb((1, inside), (2, sign(seed, "bridge-card", inside)))


def verdict(seed, bundle, message, code, time):
    signature = sign(seed, "verdict", bundle, message, u(8, code), u(64, time))
    return pb((1, bundle), (2, message), (3, code), (4, time), (5, signature))


def open_verdict(data, bridge_key):
    fields = unpb(data)
    bundle, message, code, time = first(fields, 1), first(fields, 2), first(fields, 3, 0), first(fields, 4, 0)
    verify(bridge_key, first(fields, 5), "verdict", bundle, message, u(8, code), u(64, time))
    return bundle, message, code, time


def open_acceptances(data, bridge_key):
    fields = unpb(data)
    digests, time = first(fields, 1), first(fields, 2, 0)
    verify(bridge_key, first(fields, 3), "acceptances", u(64, time), digests)
    if not 64 <= len(digests) <= 64 * 64 or len(digests) % 64:
        raise ValueError("acceptances of no whole number of bundles")
    return [(digests[at:at + 32], digests[at + 32:at + 64]) for at in range(0, len(digests), 64)], time
