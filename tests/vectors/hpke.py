"""HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. Written from the RFC."""

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEM_ID, KDF_ID, AEAD_ID = 0x0020, 0x0001, 0x0003
KEY_SIZE, NONCE_SIZE, HASH_SIZE = 32, 12, 32
KEM_SUITE = b"KEM" + KEM_ID.to_bytes(2, "big")
SUITE = b"HPKE" + b"".join(i.to_bytes(2, "big") for i in (KEM_ID, KDF_ID, AEAD_ID))


def _mac(key, data):
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(data)
    return mac.finalize()


def extract(salt, ikm):
    return _mac(salt or bytes(HASH_SIZE), ikm)


def expand(prk, info, length):
    out, block = b"", b""
    while len(out) < length:
        block = _mac(prk, block + info + bytes([len(out) // HASH_SIZE + 1]))
        out += block
    return out[:length]


def labeled_extract(suite, salt, label, ikm):
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def public_of(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def exchange(secret, public):
    """X25519; refuses a result of all zeros (the library raises)."""
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def derive_secret(ikm):
    """DeriveKeyPair of section 7.1.3, the private half."""
    return labeled_expand(KEM_SUITE, labeled_extract(KEM_SUITE, b"", b"dkp_prk", ikm), b"sk", b"", KEY_SIZE)


def _shared_secret(dh, enc, recipient):
    prk = labeled_extract(KEM_SUITE, b"", b"eae_prk", dh)
    return labeled_expand(KEM_SUITE, prk, b"shared_secret", enc + recipient, KEY_SIZE)


def encapsulate(recipient, ikm):
    ephemeral = derive_secret(ikm)
    enc = public_of(ephemeral)
    return _shared_secret(exchange(ephemeral, recipient), enc, recipient), enc


def decapsulate(enc, secret):
    return _shared_secret(exchange(secret, enc), enc, public_of(secret))


class Context:
    """The key schedule of section 5.1 in base mode; counts what it seals or opens."""

    def __init__(self, shared_secret, info):
        psk_id_hash = labeled_extract(SUITE, b"", b"psk_id_hash", b"")
        info_hash = labeled_extract(SUITE, b"", b"info_hash", info)
        self.schedule_context = b"\0" + psk_id_hash + info_hash
        self.secret = labeled_extract(SUITE, shared_secret, b"secret", b"")
        self.key = labeled_expand(SUITE, self.secret, b"key", self.schedule_context, KEY_SIZE)
        self.base_nonce = labeled_expand(SUITE, self.secret, b"base_nonce", self.schedule_context, NONCE_SIZE)
        self.exporter = labeled_expand(SUITE, self.secret, b"exp", self.schedule_context, HASH_SIZE)
        self.sequence = 0

    def nonce(self):
        mask = self.sequence.to_bytes(NONCE_SIZE, "big")
        return bytes(a ^ b for a, b in zip(self.base_nonce, mask))

    def seal(self, aad, plaintext):
        out = ChaCha20Poly1305(self.key).encrypt(self.nonce(), plaintext, aad)
        self.sequence += 1
        return out

    def open(self, aad, ciphertext):
        out = ChaCha20Poly1305(self.key).decrypt(self.nonce(), ciphertext, aad)
        self.sequence += 1
        return out

    def export(self, exporter_context, length):
        return labeled_expand(SUITE, self.exporter, b"sec", exporter_context, length)


def seal(recipient, info, aad, plaintext, ikm):
    """Encapsulated key ‖ ciphertext."""
    shared_secret, enc = encapsulate(recipient, ikm)
    return enc + Context(shared_secret, info).seal(aad, plaintext)


def open_(secret, info, aad, sealed):
    return Context(decapsulate(sealed[:32], secret), info).open(aad, sealed[32:])
