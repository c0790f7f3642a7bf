#!/usr/bin/env python3
"""uD3TN's bundle codec (pyD3TN) on the other side of a pipe; driven by bundle/tests/foreign/pyd3tn.rs.

    others.py decode          bundles in hex, one a line -> what pyD3TN reads in each, as JSON, one a line
    others.py forward SEED    bundles in hex -> the same as a foreign agent sends them on, in hex
    others.py make SEED COUNT bundles of pyD3TN's own, as JSON with what is in them
"""

import json
import random
import sys

from pyd3tn import bundle7 as bp


def private_type(cls, value):
    """pyD3TN has a closed list of block types. An agent that meets others has to add them to it."""
    member = int.__new__(cls, value)
    member._name_, member._value_ = f"TYPE_{value}", value
    return cls._value2member_map_.setdefault(value, member)


bp.BlockType._missing_ = classmethod(private_type)


def parse(data):
    bundle = bp.Bundle.parse(data)
    for block in bundle:
        if block.crc_type != bp.CRCType.NONE:
            assert block.calculate_crc() == block.crc_provided, f"CRC of block {block.block_number}"
    assert bytes(bundle) == data, "pyD3TN encodes it otherwise"
    return bundle


def describe(bundle):
    primary = bundle.primary_block
    return {
        "flags": int(primary.bundle_proc_flags), "crc": int(primary.crc_type),
        "destination": str(primary.destination), "source": str(primary.source), "report_to": str(primary.report_to),
        "creation_ms": primary.creation_time[0], "sequence": primary.creation_time[1], "lifetime_ms": primary.lifetime,
        "blocks": [
            [int(b.block_type), b.block_number, int(b.block_proc_flags), int(b.crc_type), b.data.hex()]
            for b in (*bundle.blocks, bundle.payload_block)
        ],
    }


def forward(bundle, rng):
    """What RFC 9171 lets an agent do on the way: age, hops, previous node, CRCs, a block of its own, another order."""
    blocks = [b for b in bundle.blocks if b.block_type not in (bp.BlockType.BUNDLE_AGE, bp.BlockType.HOP_COUNT)]
    crc = rng.choice(list(bp.CRCType))
    blocks += [
        bp.BundleAgeBlock(12.345, block_number=14, crc_type=crc),
        bp.HopCountBlock(16, 9, block_number=15, crc_type=crc),
        bp.PreviousNodeBlock(f"dtn://agent-{rng.randrange(99)}/", block_number=16, crc_type=crc),
        bp.CanonicalBlock(bp.BlockType(200), rng.randbytes(rng.randrange(60)), 17, bp.BlockProcFlag(0x10), crc),
    ]
    for block in (*blocks, bundle.payload_block):
        block.crc_type = crc
    rng.shuffle(blocks)
    again = bp.Bundle(bundle.primary_block, bundle.payload_block, blocks)
    return bytes(again)


def make(rng):
    crc, clockless = rng.choice(list(bp.CRCType)), rng.random() < 0.3
    bundle = bp.create_bundle7(
        source_eid=rng.choice(["dtn://ground-1/", "ipn:2.1", "dtn://a.b/c"]),
        destination_eid=rng.choice(["dtn://mars/incoming", "ipn:977.42", "dtn:none"]),
        report_to_eid=rng.choice([None, "dtn://ground-1/reports"]),
        payload=rng.randbytes(rng.choice([0, 1, 23, 24, 255, 256, 5_000])),
        crc_type_primary=rng.choice([bp.CRCType.CRC16, bp.CRCType.CRC32]), crc_type_canonical=crc,
        creation_timestamp=0 if clockless else 1_795_412_800 + rng.randrange(10**6), sequence_number=rng.randrange(99),
        lifetime=rng.randrange(1, 10**6), flags=rng.choice([0, 4]),
        hop_limit=rng.choice([None, 1, 255]), hop_count=1, bundle_age=rng.randrange(10**5) if clockless else None,
        previous_node_eid=rng.choice([None, "dtn://relay/"]),
    )
    return describe(bundle) | {"bytes": bytes(bundle).hex()}


def main():
    match sys.argv[1:]:
        case ["decode"]:
            for line in sys.stdin:
                print(json.dumps(describe(parse(bytes.fromhex(line)))))
        case ["forward", seed]:
            rng = random.Random(int(seed))
            for line in sys.stdin:
                print(forward(parse(bytes.fromhex(line)), rng).hex())
        case ["make", seed, count]:
            rng = random.Random(int(seed))
            for _ in range(int(count)):
                print(json.dumps(make(rng)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
