#!/usr/bin/env python3
"""Checks tests/vectors/*.json without a line of Rust: opens what Rust sealed, computes every digest, mac and
signature again, and seals the same bytes from the same randomness.

    check.py           checks all files, python.json included
    check.py --write   seals python.json anew, with randomness of its own; the Rust tests open it
    check.py --seal    prints such seals instead of writing them
"""

import hashlib
import json
import os
import pathlib
import sys

import erasure
import hpke
import pigeon

HERE = pathlib.Path(__file__).parent
count = 0


def load(name):
    return json.loads((HERE / name).read_text())


def unhex(text):
    return bytes.fromhex(text)


def same(what, got, expected):
    global count
    count += 1
    if isinstance(got, bytes):
        got = got.hex()
    if got != expected:
        sys.exit(f"vectors: {what}:\n  computed {got}\n  stored   {expected}")


def refused(what, attempt):
    """Each refusal has a twin that passes: these checks can fail."""
    global count
    count += 1
    try:
        attempt()
    except Exception:
        return
    sys.exit(f"vectors: {what} was not refused")


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def check_rfc9180():
    v = load("rfc9180.json")
    info = unhex(v["info"])
    same("skEm", hpke.derive_secret(unhex(v["ikmE"])), v["skEm"])
    same("skRm", hpke.derive_secret(unhex(v["ikmR"])), v["skRm"])
    shared_secret, enc = hpke.encapsulate(unhex(v["pkRm"]), unhex(v["ikmE"]))
    same("enc", enc, v["enc"])
    same("shared_secret", shared_secret, v["shared_secret"])
    same("decapsulated", hpke.decapsulate(enc, unhex(v["skRm"])), v["shared_secret"])
    sender, receiver = hpke.Context(shared_secret, info), hpke.Context(shared_secret, info)
    for name, value in (
        ("key_schedule_context", sender.schedule_context), ("secret", sender.secret), ("key", sender.key),
        ("base_nonce", sender.base_nonce), ("exporter_secret", sender.exporter),
    ):
        same(name, value, v[name])
    for e in v["encryptions"]:
        sender.sequence = receiver.sequence = e["sequence"]
        same("nonce", sender.nonce(), e["nonce"])
        same("ct", sender.seal(unhex(e["aad"]), unhex(e["pt"])), e["ct"])
        same("pt", receiver.open(unhex(e["aad"]), unhex(e["ct"])), e["pt"])
    for e in v["exports"]:
        same("export", receiver.export(unhex(e["exporter_context"]), e["L"]), e["exported_value"])


def check_hpke_of_the_library():
    """Ours against the library's own HPKE, which has no associated data."""
    from cryptography.hazmat.primitives import hpke as library
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    suite = library.Suite(library.KEM.X25519, library.KDF.HKDF_SHA256, library.AEAD.CHACHA20_POLY1305)
    secret = X25519PrivateKey.generate()
    info = pigeon.ctx("seal")
    ours = hpke.seal(secret.public_key().public_bytes_raw(), info, b"", b"hello", os.urandom(32))
    same("library opens ours", suite.decrypt(ours, secret, info=info), b"hello".hex())
    theirs = suite.encrypt(b"hello", secret.public_key(), info=info)
    same("we open the library's", hpke.open_(secret.private_bytes_raw(), info, b"", theirs), b"hello".hex())


def check_contexts():
    v = load("contexts.json")
    key = unhex(v["hmac_key"])
    for name, c in v["contexts"].items():
        same(name, pigeon.ctx(name), c["bytes"])
        same(name, pigeon.sha256(name, b"one", b"two"), c["sha256"])
        same(name, pigeon.hmac(key, name, b"one", b"two"), c["hmac"])
        same(name, pigeon.hkdf(b"input", name), c["hkdf"])


def check_tags():
    v = load("tags.json")
    for t in v["tags"]:
        tag = pigeon.tag_of(unhex(v["mailbox_secret"]), t["epoch"])
        same("tag", tag, t["tag"])
        same("tag in base32", pigeon.base32(tag), t["base32"])
    for c in v["commitments"]:
        same("commitment", pigeon.sha256("commitment", unhex(c["reveal"])), c["commitment"])


def hexed(fields):
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def check_cards():
    for name, v in load("cards.json").items():
        if name == "comment":
            continue
        signed, secret = unhex(v["signed_card"]), unhex(v["identity_secret"])
        card = pigeon.open_card(signed)
        for field, value in hexed(card).items():
            same(f"card {name}: {field}", value, v[field])
        same("Ed25519 key", pigeon.ed25519_key(secret[:32]), v["ed25519"])
        same("X25519 key", hpke.public_of(secret[32:]), v["x25519"])
        same("text form", pigeon.card_of_text(v["text"]), v["signed_card"])
        if name != "with_unknown_field":
            same("issued again", pigeon.issue_card(secret[:32], card), v["signed_card"])
        refused("a card with another byte", lambda: pigeon.open_card(flipped(signed, len(signed) // 2)))


def check_bridge_cards():
    for name, v in load("bridge_cards.json").items():
        signed, secret = unhex(v["signed_card"]), unhex(v["bridge_secret"])
        card = pigeon.open_bridge_card(signed)
        for field, value in hexed(card).items():
            same(f"bridge card {name}: {field}", value, v[field])
        same("Ed25519 key", pigeon.ed25519_key(secret[:32]), v["ed25519"])
        same("X25519 key", hpke.public_of(secret[32:]), v["x25519"])
        same("issued again", pigeon.issue_bridge_card(secret[:32], card), v["signed_card"])
        refused("a bridge card with another byte", lambda: pigeon.open_bridge_card(flipped(signed, len(signed) // 2)))


def check_verdicts():
    v = load("verdicts.json")
    key, bundle, message = (unhex(v[name]) for name in ("bridge_key", "bundle", "message"))
    same("number of codes", [verdict["code"] for verdict in v["verdicts"]], list(range(10)))
    for verdict in v["verdicts"]:
        data = unhex(verdict["bytes"])
        same("verdict", pigeon.open_verdict(data, key), (bundle, message, verdict["code"], verdict["time"]))
        refused("a verdict with another byte", lambda: pigeon.open_verdict(flipped(data, 40), key))
    for some in v["acceptances"]:
        data = unhex(some["bytes"])
        bundles = [(bytes([n]) * 32, bytes([128 | n]) * 32) for n in range(some["count"])]
        same("acceptances", pigeon.open_acceptances(data, key), (bundles, some["time"]))
        refused("acceptances with another byte", lambda: pigeon.open_acceptances(flipped(data, 40), key))


def people(v):
    """The keys in a file of seals, by their roles."""
    prekey = unhex(v["recipient_prekey_secret"]) if "recipient_prekey_secret" in v else unhex(v["recipient_prekeys"])[2:34]
    return {
        "author": unhex(v["author_secret"])[:32],
        "static": unhex(v["recipient_secret"])[32:],
        "prekey": prekey,
        "card": pigeon.open_card(pigeon.card_of_text(v["recipient_card"])),
        "bridge": pigeon.open_bridge_card(unhex(v["bridge_card"])),
        "bridge_secret": unhex(v["bridge_secret"]),
    }


def sealed_to(card, created_s):
    """Section 2: the signed prekey; past its expiry, or without a clock, the static key."""
    usable = created_s is not None and created_s < card["prekey_expires"]
    return card["prekey"] if usable else card["x25519"]


def open_bundle(who, data, created_s):
    bundle = pigeon.Bundle(data)
    secret = next(s for s in (who["prekey"], who["static"]) if hpke.public_of(s) == sealed_to(who["card"], created_s))
    opened = pigeon.open_payload(secret, who["card"]["ed25519"], bundle.header, bundle.commitment, bundle.payload)
    return bundle, opened


def seal_again(who, random, created_s, epoch, lifetime_s, content, route):
    ikms = [random[32:64], random[64:96]]
    uplink = (who["bridge"], route) if route else None
    key = sealed_to(who["card"], created_s)
    return pigeon.seal_bundle(
        who["author"], who["card"], key, created_s, epoch, lifetime_s, content, uplink, random[:32], ikms
    )


def check_seals():
    v = load("seals.json")
    who = people(v)
    for s in v["seals"]:
        content = bytes(i % 251 for i in range(s["content_size"]))
        up = s["uplink"]
        route = up and {
            "author": up["author_jid"], "recipient": up["recipient_jid"],
            "message_id": unhex(up["message_id"]), "sent_ms": up["sent_ms"],
        }
        random = unhex(s["random"])
        data, header, message, bundle_id = seal_again(
            who, random, s["created_s"], s["epoch"], s["lifetime_s"], content, route
        )
        name = s["name"]
        same(f"{name}: sealed to", sealed_to(who["card"], s["created_s"]), s["sealed_to"])
        same(f"{name}: header digest", header, s["header_digest"])
        same(f"{name}: message digest", message, s["message_digest"])
        same(f"{name}: bundle id", bundle_id, s["bundle_id"])
        same(f"{name}: bytes", hashlib.sha256(data).hexdigest(), s["sha256"])
        # From here on the Rust side's own bytes, where the file holds them.
        stored = data if s["bytes"] is None else unhex(s["bytes"])
        bundle, opened = open_bundle(who, stored, s["created_s"])
        same(f"{name}: opened", opened, (pigeon.ed25519_key(who["author"]), content, random[:32]))
        same(f"{name}: step", len(bundle.payload) - 48, s["step"])
        same(f"{name}: commitment", bundle.commitment, s["commitment"])
        if route:
            same(f"{name}: route", pigeon.open_route(who["bridge_secret"][32:], bundle, opened[0]), route)
        refused(f"{name}: another byte", lambda: open_bundle(who, flipped(stored, len(stored) - 20), s["created_s"]))


def check_bundles():
    v = load("bundle.json")
    who = people(v)
    content, random = unhex(v["content"]), unhex(v["random"])
    for name in ("bundle", "bundle_with_uplink", "bundle_without_clock"):
        stored = v[name]
        created_s = None if name == "bundle_without_clock" else v["now_s"]
        bundle, opened = open_bundle(who, unhex(stored["bytes"]), created_s)
        same(f"{name}: opened", opened, (pigeon.ed25519_key(who["author"]), content, unhex(v["reveal"])))
        for field, value in (
            ("header_digest", bundle.header), ("message_digest", bundle.message), ("bundle_id", bundle.id),
            ("destination_tag", bundle.tag_text), ("epoch", bundle.epoch), ("commitment", bundle.commitment),
            ("lifetime_s", bundle.lifetime_ms // 1000),
            ("creation_s", bundle.creation_ms // 1000 + pigeon.DTN_EPOCH_S if bundle.creation_ms else None),
            ("expires_s", (bundle.epoch + 2) * pigeon.DAY_S + bundle.lifetime_ms // 1000),
        ):
            same(f"{name}: {field}", value, stored[field])
        same(f"{name}: tag", pigeon.tag_of(who["card"]["mailbox_secret"], bundle.epoch), bundle.tag.hex())
        route = None
        if bundle.uplink:
            route = pigeon.open_route(who["bridge_secret"][32:], bundle, opened[0])
            same("route", (route["author"], route["recipient"]), (v["author_jid"], v["recipient_jid"]))
            verdict = pigeon.open_verdict(unhex(v["verdict"]), bundle.bridge_key)
            same("verdict", verdict, (bundle.id, bundle.message, 0, v["now_s"]))
        data, *_ = seal_again(who, random, created_s, bundle.epoch, stored["lifetime_s"], content, route)
        same(f"{name}: sealed again", data, stored["bytes"])


def check_contents():
    receipts = 0
    for name, v in load("contents.json").items():
        fields = v["fields"]
        text = lambda field: fields.get(field, "")
        data = lambda field: unhex(fields.get(field, ""))
        match v["body"]:
            case "text":
                number = 1
                body = pigeon.pb((1, data("id")), (2, data("thread")), (3, fields["sent_ms"]), (4, text("text")))
            case "receipt":
                number, receipts = 2, receipts + 1
                ids = [(2, unhex(message)) for message in fields["messages"]]
                body = pigeon.pb((1, fields["kind"]), *ids, (3, fields["time_ms"]))
            case "card_update":
                number, body = 3, pigeon.pb((1, data("card")))
            case "refusal":
                number, body = 7, pigeon.pb((1, data("verdict")))
            case "application":
                number, body = 4, pigeon.pb((1, data("id")), (2, text("service")), (3, data("data")))
        one_time = pigeon.pb((1, data("one_time_keys")), (2, fields.get("one_time_expires", 0)))
        encoded = pigeon.pb((number, body), (14, one_time), (15, data("author_card")))
        same(f"content {name}", encoded, v["bytes"])
    same("both kinds of receipt", receipts >= 2, True)


def check_links():
    v = load("link.json")
    binding = unhex(v["binding"])
    hellos = {}
    for role, h in v["hellos"].items():
        hellos[role] = pigeon.pb((1, h["version"]), (2, h["carriage_open"]), (3, h["clock_s"]), (4, h["bundle_size_max"]))
        same(f"Hello of the {role}", hellos[role], h["body"])
    for a in v["auths"]:
        seed, role = unhex(a["node_secret"]), {"dialler": 0, "listener": 1}[a["role"]]
        key = pigeon.ed25519_key(seed)
        same("node key", key, a["node_key"])
        text = (
            pigeon.lp(a["transport"].encode()), pigeon.lp(binding), pigeon.u(8, role), key,
            pigeon.lp(hellos["dialler"]), pigeon.lp(hellos["listener"]),
        )
        same(f"Auth of the {a['role']} on {a['transport']}", pigeon.sign(seed, "link-auth", *text), a["signature"])
        same("Auth frame", b"\x02" + pigeon.pb((1, key), (2, unhex(a["signature"]))), a["frame"])
    session = pigeon.hkdf(binding, "session")
    same("session key", session, v["session_key"])
    same("id mac", pigeon.hmac(session, "id", unhex(v["bundle_id"]))[:16], v["id_mac"])
    same("commitment mac", pigeon.hmac(session, "commitment-mac", unhex(v["commitment"]))[:16], v["commitment_mac"])
    same("tag mac", pigeon.hmac(session, "tag-mac", unhex(v["tag"]))[:8], v["tag_mac"])
    r = v["recognition"]
    one, two = unhex(r["one_secret"])[32:], unhex(r["two_secret"])[32:]
    key = pigeon.hkdf(hpke.exchange(one, hpke.public_of(two)), "recognise")
    same("recognition key", key, r["key"])
    same("recognition key, other side", pigeon.hkdf(hpke.exchange(two, hpke.public_of(one)), "recognise"), r["key"])
    for role, name in ((0, "dialler_mac"), (1, "listener_mac")):
        same(name, pigeon.hmac(key, "recognise-mac", binding, pigeon.u(8, role))[:16], r[name])
    i = v["introduction"]
    for number, step in enumerate(("commitment", "reveal", "card"), start=1):
        same(f"Introduction frame: {step}", b"\x12" + pigeon.pb((number, unhex(i[step]))), i[f"{step}_frame"])
    same("Introduction frames: end", [(b"\x12" + pigeon.pb((4, reason))).hex() for reason in (1, 2, 3)], i["ends"])


def check_introduction():
    v = load("introduction.json")
    binding, *cards = (unhex(v[name]) for name in ("binding", "first_card", "second_card"))
    drawn = [unhex(v[name]) for name in ("first_drawn", "second_drawn")]
    same("length of what is drawn", [len(bytes) for bytes in drawn], [64, 64])
    salts, nonces = [bytes[:32] for bytes in drawn], [bytes[32:] for bytes in drawn]
    digests = [pigeon.sha256("introduction-card", salt, card) for salt, card in zip(salts, cards)]
    reveals = [nonce + digest for nonce, digest in zip(nonces, digests)]
    same("commitment", pigeon.sha256("introduction-commit", reveals[0]), v["commitment"])
    same("second's reveal", reveals[1], v["second_reveal"])
    same("first's reveal", reveals[0], v["first_reveal"])
    digest = pigeon.sha256("introduction-code", pigeon.lp(binding), *reveals)
    same("code", f"{int.from_bytes(digest[:8], 'big') % 1_000_000:06}", v["code"])
    same("first's card", salts[0] + cards[0], v["first_shown"])
    same("second's card", salts[1] + cards[1], v["second_shown"])
    for card in cards:
        pigeon.open_card(card)


def check_pickup():
    v = load("pickup.json")
    domain, bridge_key = v["domain"].encode(), unhex(v["bridge_key"])
    request = pigeon.unpb(unhex(v["request"]))
    token = pigeon.first(request, 1)
    same("token in the request", token, v["token"])
    carrier, key = unhex(v["carrier_key"]), bridge_key
    text = pigeon.lp(domain), key, pigeon.lp(v["carrier_jid"].encode()), pigeon.lp(token)
    pigeon.verify(carrier, pigeon.first(request, 2), "pickup-request", *text)
    sealed = hpke.open_(unhex(v["bridge_secret"])[32:], pigeon.ctx("pickup"), domain, token)
    inside = pigeon.unpb(pigeon.unpad(sealed))
    tags = pigeon.first(inside, 2)
    same("recipient", pigeon.first(inside, 1).decode(), v["recipient"])
    same("tags", [tags[i : i + 16].hex() for i in range(0, len(tags), 16)], v["tags"])
    same("carrier", pigeon.first(inside, 3), v["carrier_key"])
    same("nonce", pigeon.first(inside, 4), v["nonce"])
    same("expires, byte limit", [pigeon.first(inside, 5), pigeon.first(inside, 6)], [v["expires"], v["byte_limit"]])
    text = (
        pigeon.lp(domain), key, pigeon.lp(v["recipient"].encode()), carrier, unhex(v["nonce"]),
        pigeon.u(64, v["expires"]), pigeon.u(64, v["byte_limit"]), tags,
    )
    pigeon.verify(unhex(v["recipient_key"]), pigeon.first(inside, 7), "pickup-token", *text)
    refused("a token with another limit", lambda: pigeon.verify(
        unhex(v["recipient_key"]), pigeon.first(inside, 7), "pickup-token", *text[:6], pigeon.u(64, 1), tags
    ))


def check_attachments():
    for v in load("attachments.json")["attachments"]:
        size = v["size"]
        content = bytes(i % 251 for i in range(size))
        needed = -(-size // 65_344)
        part_size = -(-(-(-size // needed)) // 64) * 64
        spare = max(2, needed // 8)
        same("layout", [needed, needed + spare, part_size], [v["needed"], v["parts"], v["part_size"]])
        padded = content.ljust(needed * part_size, b"\0")
        parts = [padded[i : i + part_size] for i in range(0, len(padded), part_size)]
        parts += erasure.spare_parts(parts, spare)
        same("parts", [hashlib.sha256(part).hexdigest() for part in parts], v["plain_sha256_of_parts"])
        hashes = b"".join(pigeon.sha256("part", pigeon.u(32, i), part) for i, part in enumerate(parts))
        same("part hashes", hashes, v["part_hashes"])
        same("hash", pigeon.sha256("attachment", content), v["sha256"])
        same("hash of content that is not cut", pigeon.sha256("attachment", content), v["whole_sha256"])


def python_seals():
    """Everything fresh: keys of the author, r, ephemeral keys. Recipient and bridge are those of bundle.json."""
    v = load("bundle.json")
    seed = os.urandom(32)
    who = people(v) | {"author": seed}
    route = {"author": "py@subway.example", "recipient": v["recipient_jid"], "message_id": os.urandom(16), "sent_ms": v["now_s"] * 1000}
    now, seals = v["now_s"], []
    for created_s, content, up in (
        (now, os.urandom(9), None), (now, os.urandom(1500), route), (None, b"", None), (None, os.urandom(300), route),
    ):
        data, _, message, bundle_id = seal_again(who, os.urandom(96), created_s, now // pigeon.DAY_S, 7 * pigeon.DAY_S, content, up)
        bundle, opened = open_bundle(who, data, created_s)
        assert opened[1] == content
        seals.append({
            "bytes": data.hex(), "bundle_id": bundle_id.hex(), "message_digest": message.hex(),
            "content": content.hex(), "created_s": created_s, "route": up and hexed(up),
            "verdict": up and pigeon.verdict(who["bridge_secret"][:32], bundle_id, message, 0, now).hex(),
        })
    kept = ("recipient_secret", "recipient_prekeys", "recipient_card", "bridge_secret", "bridge_card")
    return {
        "comment": "Sealed by check.py with its own randomness; bundle/tests/vectors/python.rs opens it.",
        "author_secret": (seed + os.urandom(32)).hex(), "author_key": pigeon.ed25519_key(seed).hex(), "seals": seals,
    } | {name: v[name] for name in kept}


def check_python():
    v = load("python.json")
    who = people(v)
    for s in v["seals"]:
        bundle, opened = open_bundle(who, unhex(s["bytes"]), s["created_s"])
        same("opened", (opened[0].hex(), opened[1].hex()), (v["author_key"], s["content"]))
        same("bundle id", bundle.id, s["bundle_id"])
        if s["route"]:
            same("route", hexed(pigeon.open_route(who["bridge_secret"][32:], bundle, opened[0])), s["route"])


def main():
    if "--seal" in sys.argv:
        print(json.dumps(python_seals()))
        return
    if "--write" in sys.argv:
        (HERE / "python.json").write_text(json.dumps(python_seals(), indent=2) + "\n")
    checks = [check for name, check in globals().items() if name.startswith("check_")]
    for check in checks:
        before = count
        check()
        assert count > before, f"{check.__name__} checks nothing"
    print(f"vectors: {count} values computed again by Python, all the same")


if __name__ == "__main__":
    main()
