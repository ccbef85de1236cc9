"""Ways to damage a stream; each returns edits, so that what was found can be written down."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import numpy as np
from fuzzing.cases import Base, Case, Edit, load

Generator = np.random.Generator

SPLICES = (
    b"\0",
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\0\0\0\0\0\0\0\x10",
    b"\0\0\0\0\0\0\2\0",
    b"\0\0\0\0\0\0\0\x60\1\x10\0",
    b"\0\0\0\0\0\0\0\x60\1\x0f\xff\x05",
    b"\x7e\0\0\0\1",
    b"\4\0\0\0\5",
    b"\1\0\0\0\1\3ram\0\0\0\0\0\0\0\4",
    b"\x08\0\7\0\4\0\0\x10\0",
    b"\x08\0\3\0\x10" + b"\xff" * 16,
    b"\x08\0\3\0\x10\0\0\0\0\0\0\x10\0\0\0\0\0\0\x20\0\0",
    b"\x08\0\4\0\0\x08\0\5\0\0",
    b"\0\6\0\0\0\2{}",
    b"\0\6\xff\xff\xff\xff{}",
    b"\5\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1\x0amapped-ram",
    b"\5\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1\x0fx-ignore-shared",
    b"\5\x1econfiguration/target-page-bits\0\0\0\1\0\0\0\x10",
    b"\5\x1econfiguration/target-page-bits\0\0\0\1\xff\xff\xff\xff",
    "\u20ac\U0001f600".encode(),
    b"\xc3\x28\xff\xfe",
)
LENGTHS = (0, 1, 0x7F, 0xFF, 0xFFFF, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
LONG_LENGTHS = (
    *LENGTHS,
    1 << 40,
    (1 << 40) | 0x20,
    1 << 44,
    1 << 52,
    1 << 62,
    1 << 63,
    (1 << 64) - 1,
)
JSON_VALUES = (
    "-1",
    "0",
    "1e999",
    "9223372036854775808",
    "18446744073709551616",
    "1" * 5000,
    "null",
    "[]",
    "{}",
    '"x"',
    "true",
    '"\\ud800"',
    "NaN",
    "[" * 200 + "]" * 200,
    "[" * 100_000,
    '{"a":' * 50_000,
    "0.5",
    '"' + "y" * 70_000 + '"',
)


def _at(base: Base, generator: Generator, part: int) -> int:
    """Return an offset, most often where structure is."""
    size = len(base.parts[part])
    first = base.offset if part == 0 else 0
    kind = int(generator.integers(0, 8))
    if kind < 5:
        place = int(generator.choice(base.places[part])) + int(generator.integers(0, 40))
    elif kind == 5:
        place = first + int(generator.integers(0, 400))
    elif kind == 6:
        place = size - 1 - int(generator.integers(0, min(size, 120_000) or 1))
    else:
        place = int(generator.integers(first, max(size, first + 1)))
    return max(0, min(place, size - 1))


def _part(base: Base, generator: Generator) -> int:
    if len(base.parts) == 1 or generator.random() < 0.4:
        return 0
    return int(generator.integers(1, len(base.parts)))


def flip(base: Base, generator: Generator) -> list[Edit]:
    """Other bits in one byte."""
    part = _part(base, generator)
    at = _at(base, generator, part)
    byte = base.parts[part][at] ^ (1 << int(generator.integers(0, 8)))
    return [Edit(part, at, 1, bytes((byte,)))]


def noise(base: Base, generator: Generator) -> list[Edit]:
    """Other bytes in a row."""
    part = _part(base, generator)
    count = int(generator.integers(1, 12))
    return [Edit(part, _at(base, generator, part), count, generator.bytes(count))]


def splice(base: Base, generator: Generator) -> list[Edit]:
    """Bytes that mean something elsewhere, over or between what is there."""
    part = _part(base, generator)
    new = SPLICES[int(generator.integers(0, len(SPLICES)))]
    over = len(new) if generator.random() < 0.5 else 0
    return [Edit(part, _at(base, generator, part), over, new)]


def length(base: Base, generator: Generator) -> list[Edit]:
    """A number of one, two, four or eight bytes with another value."""
    part = _part(base, generator)
    at = _at(base, generator, part)
    code = "BHIQQ"[int(generator.integers(0, 5))]
    size = struct.calcsize(">" + code)
    raw = base.parts[part][at : at + size]
    old = int.from_bytes(raw, "big")
    if generator.random() < 0.5:
        new = old + int(generator.choice((-4096, -8, -1, 1, 8, 4096, 65536)))
    else:
        new = int(LONG_LENGTHS[int(generator.integers(0, len(LONG_LENGTHS)))])
    return [Edit(part, at, size, struct.pack(">" + code, new % (1 << 8 * size)))]


def cut(base: Base, generator: Generator) -> list[Edit]:
    """The end is missing."""
    part = _part(base, generator)
    at = _at(base, generator, part)
    return [Edit(part, at, len(base.parts[part]) - at, b"")]


def drop(base: Base, generator: Generator) -> list[Edit]:
    """Bytes are missing in the middle."""
    part = _part(base, generator)
    count = int(generator.choice((1, 2, 4, 5, 8, 9, 4104, 5000, 70_000)))
    return [Edit(part, _at(base, generator, part), count, b"")]


def repeat(base: Base, generator: Generator) -> list[Edit]:
    """A piece of a stream, of this or another one, comes once more somewhere else."""
    part = _part(base, generator)
    other = base
    if generator.random() < 0.3:
        other = load(("none-noram", "pc-8m", "none-2m-mapped-ram")[int(generator.integers(0, 3))])
        source = 0
    else:
        source = _part(base, generator)
    begin = _at(other, generator, source)
    count = int(generator.choice((8, 30, 300, 5000, 20_000)))
    piece = other.parts[source][begin : begin + count]
    over = len(piece) if generator.random() < 0.3 else 0
    return [Edit(part, _at(base, generator, part), over, piece)]


def swap(base: Base, generator: Generator) -> list[Edit]:
    """Two pieces change places: they lie between places of structure."""
    part = _part(base, generator)
    places = base.places[part]
    if places.size < 4:
        return flip(base, generator)
    first = int(generator.integers(0, places.size - 2))
    a, b, c = (int(p) for p in places[first : first + 3])
    if c - a > 100_000:
        c = min(c, b + 4113)
        a = max(a, b - 4113)
    raw = base.parts[part]
    return [Edit(part, a, c - a, raw[b:c] + raw[a:b])]


def extend(base: Base, generator: Generator) -> list[Edit]:
    """Something follows the end."""
    part = _part(base, generator)
    size = len(base.parts[part])
    more = (
        generator.bytes(50),
        bytes(9000),
        base.parts[part][: 1 + _at(base, generator, part) % 20_000],
    )
    return [Edit(part, size, 0, more[int(generator.integers(0, 3))])]


def description(base: Base, generator: Generator) -> list[Edit]:
    """The JSON at the end is another one, its length told right or wrong."""
    raw = base.parts[0]
    at = raw.rfind(b"\x00\x06", max(0, len(raw) - 400_000))
    if at < 0 or raw[at + 6 : at + 7] != b"{":
        return flip(base, generator)
    text = raw[at + 6 :]
    kind = int(generator.integers(0, 6))
    if kind == 0:
        new = text[: int(generator.integers(0, len(text)))]
    elif kind == 1:
        new = text + text[int(generator.integers(0, len(text))) :]
    elif kind == 2:
        new = _other_value(text, generator)
    elif kind == 3:
        new = _shuffled(text, generator)
    elif kind == 4:
        depth = int(generator.choice((50, 1000, 30_000)))
        new = b'{"devices":[' + b'{"subsections":[' * depth + b"]}" * depth + b"]}"
    else:
        new = _nested(generator)
    size = len(new) if generator.random() < 0.8 else int(generator.choice(LENGTHS))
    return [Edit(0, at + 2, len(raw) - at - 2, struct.pack(">I", size) + new)]


def large(base: Base, generator: Generator) -> list[Edit]:
    """The first RAM block is of another length, and the sum of all lengths is right for it."""
    raw = base.parts[0]
    at = raw.find(b"\3ram", base.offset)
    if at < 0 or len(raw) < at + 30:
        return flip(base, generator)
    at += 12
    (total,) = struct.unpack_from(">Q", raw, at)
    name_at = at + 8
    length_at = name_at + 1 + raw[name_at]
    if length_at + 8 > len(raw):
        return flip(base, generator)
    (old,) = struct.unpack_from(">Q", raw, length_at)
    more = (1 << int(generator.integers(12, 64))) - int(generator.choice((0, 0, 4096, 1)))
    return [
        Edit(0, length_at, 8, struct.pack(">Q", (old + more) % (1 << 64))),
        Edit(0, at, 8, struct.pack(">Q", (total + more) % (1 << 64))),
    ]


def _other_value(text: bytes, generator: Generator) -> bytes:
    """Replace a number or a string of the text."""
    value = JSON_VALUES[int(generator.integers(0, len(JSON_VALUES)))].encode()
    begin = int(generator.integers(0, len(text)))
    at = text.find(b": ", begin)
    if at < 0:
        return text
    ends = [e for e in (text.find(b",", at), text.find(b"}", at)) if e >= 0]
    return text[: at + 2] + value + text[min(ends, default=len(text)) :]


def _shuffled(text: bytes, generator: Generator) -> bytes:
    """Take the devices in another order, or change what one of them says."""
    try:
        value = json.loads(text)
        devices = value["devices"]
        entry = devices[int(generator.integers(0, len(devices)))]
    except (ValueError, KeyError, IndexError, RecursionError):
        return text
    kind = int(generator.integers(0, 6))
    fields = entry.get("fields") or [{}]
    some = fields[int(generator.integers(0, len(fields)))]
    if kind == 0:
        generator.shuffle(devices)
    elif kind == 1:
        devices *= 2
    elif kind == 2:
        some["array_len"] = int(generator.choice((0, 1, 2, 1 << 30, (1 << 62))))
    elif kind == 3:
        some["size"] = int(generator.choice((0, 1, 3, 1 << 30, (1 << 62))))
    elif kind == 4:
        some["type"] = str(
            generator.choice(["struct", "uint8", "bool", "int64", "timer", "\x1b[2J"])
        )
        some["struct"] = {"vmsd_name": "x", "version": 1, "fields": [dict(f) for f in fields]}
    else:
        entry["fields"] = [some] * 2000
    return json.dumps(value).encode()


def _nested(generator: Generator) -> bytes:
    """Return a description whose structs lie in each other."""
    depth = int(generator.choice((10, 70, 400)))
    begin = b'{"name":"s","type":"struct","size":1,"struct":{"vmsd_name":"v","version":1,"fields":['
    inner = begin * depth + b'{"name":"a","type":"uint8","size":1}' + b"]}}" * depth
    timer = b'{"name":"timer","instance_id":0,"vmsd_name":"timer","version":2,"fields":['
    return b'{"page_size":4096,"devices":[' + timer + inner + b"]}]}"


KINDS: tuple[Callable[[Base, Generator], list[Edit]], ...] = (
    flip,
    flip,
    noise,
    splice,
    splice,
    length,
    length,
    length,
    cut,
    drop,
    repeat,
    swap,
    extend,
    description,
    large,
)
"""Every way, those that find most more than once."""


def mutated(name: str, generator: Generator) -> Case:
    """Return one to four changes to a base."""
    base = load(name)
    count = int(generator.choice((1, 1, 1, 2, 3, 4)))
    edits: list[Edit] = []
    for _ in range(count):
        edits += KINDS[int(generator.integers(0, len(KINDS)))](base, generator)
    # From the back, so that one edit does not move the place of the next.
    edits.sort(key=lambda edit: (edit.part, -edit.at))
    return Case(name, tuple(edits))
