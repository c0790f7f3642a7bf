"""The code of docs/wire-format.md section 8: polynomials over GF(2^16), interpolated as the text says, without the
transforms that make it fast elsewhere."""

MODULUS = 0x1002D
BASIS = [
    int(word, 16)
    for word in "0001 acca 3c0e 163e c582 ed2e 914c 4012 6c98 10d8 6a72 b900 fdb8 fb34 ff38 991e".split()
]
ORDER = 65_535


def _powers():
    """exp and log to the base x, which generates the field's group (the list would close early if it did not)."""
    exp, value = [], 1
    for _ in range(ORDER):
        exp.append(value)
        value <<= 1
        if value >> 16:
            value ^= MODULUS
    assert value == 1 and len(set(exp)) == ORDER
    log = [0] * (ORDER + 1)
    for i, element in enumerate(exp):
        log[element] = i
    return exp + exp, log


EXP, LOG = _powers()


def mul(a, b):
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def div(a, b):
    return EXP[LOG[a] - LOG[b] + ORDER] if a else 0


def element(number):
    """e(v): the sum of those basis elements whose bit is set."""
    out = 0
    for bit in range(16):
        if number >> bit & 1:
            out ^= BASIS[bit]
    return out


ELEMENT = [element(number) for number in range(1 << 16)]
NUMBER = {value: number for number, value in enumerate(ELEMENT)}
assert len(NUMBER) == 1 << 16, "the basis is none"


def symbols(part):
    """The elements of a part. Each block of 64 bytes holds 32 numbers: low bytes first, then high bytes."""
    for start in range(0, len(part), 64):
        block = part[start : start + 64]
        for i in range(32):
            yield ELEMENT[block[i] | block[32 + i] << 8]


def part_of(elements):
    values = [NUMBER[value] for value in elements]
    out = bytearray()
    for start in range(0, len(values), 32):
        block = values[start : start + 32]
        out += bytes(v & 0xFF for v in block) + bytes(v >> 8 for v in block)
    return bytes(out)


def spare_parts(parts, count):
    """`count` spare parts of these parts."""
    if len(parts) == 1:
        return parts * count
    size, chunk = len(parts[0]), 1 << (count - 1).bit_length()
    read = [list(symbols(part)) for part in parts]
    out = []
    for j in range(count):
        at, values = element(j), [0] * (size // 2)
        for first in range(0, len(parts), chunk):
            points = [element(chunk + first + t) for t in range(chunk)]
            for t, part in enumerate(read[first : first + chunk]):
                # Lagrange: this part's share of P at e(j). Parts of zeros have none.
                share = 1
                for other in points[:t] + points[t + 1 :]:
                    share = mul(share, div(at ^ other, points[t] ^ other))
                log = LOG[share]
                for i, symbol in enumerate(part):
                    if symbol:
                        values[i] ^= EXP[LOG[symbol] + log]
        out.append(part_of(values))
    return out
