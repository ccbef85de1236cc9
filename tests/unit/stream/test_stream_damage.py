"""Every recorded form cut off and damaged: a typed error with its place, or a stream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from migsim.channel import MemoryInput
from migsim.errors import StreamError
from migsim.stream import (
    DETECT,
    EndMarker,
    MemoryStore,
    PageBatch,
    StreamReader,
    apply_items,
    open_stream,
)

STREAMS = Path(__file__).parents[2] / "data" / "streams"
ENTRIES = {
    entry["name"]: entry for entry in json.loads((STREAMS / "manifest.json").read_text())["samples"]
}
EDGE = 64 << 10


def cut_points(size: int, offset: int, generator) -> list[int]:
    """Return lengths: many near both ends, where structure is, and some between."""
    near = min(EDGE, size - offset)
    points = {
        *range(offset, min(size, offset + 260)),
        *(offset + generator.integers(0, near, 40)).tolist(),
        *(size - 1 - generator.integers(0, near, 60)).tolist(),
        *generator.integers(offset, size, 20).tolist(),
        size - 1,
    }
    return sorted(points)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_cut_is_found_where_it_is(sample, recording, name):
    """What came before is read as ever; the error lies behind that and not behind the cut."""
    raw, entry = sample(name)
    channels = [recording(channel["file"]) for channel in entry.get("channels", ())]
    end = end_marker(raw, channels, entry)
    for cut in cut_points(len(raw), entry["offset"], np.random.default_rng(len(raw))):
        stream = open_stream(
            MemoryInput(raw[:cut], offset=entry["offset"]),
            channels=[MemoryInput(channel) for channel in channels],
        )
        seen, place = failure(stream)
        if place is None:
            # A stream may lack the description, so exactly one cut leaves a whole one.
            assert cut == end + 1
        else:
            assert seen <= place <= cut, cut


def failure(stream) -> tuple[int, int | None]:
    """Return the offset of the last item, and that of the error that ends reading."""
    seen = 0
    try:
        for item in stream.items():
            # Pages of other channels and of fixed places lie elsewhere.
            if not isinstance(item, PageBatch):
                seen = item.offset
    except StreamError as error:
        return seen, error.offset
    return seen, None


def end_marker(raw, channels, entry) -> int | None:
    stream = open_stream(
        MemoryInput(raw, offset=entry["offset"]),
        channels=[MemoryInput(channel) for channel in channels],
    )
    try:
        return next(item.offset for item in stream.items() if isinstance(item, EndMarker))
    except StreamError:
        assert entry.get("malformed")
        return None


@pytest.mark.parametrize("name", [name for name in ENTRIES if "channels" in ENTRIES[name]])
def test_a_cut_channel_is_found_where_it_is(sample, recording, name):
    raw, entry = sample(name)
    channels = [recording(channel["file"]) for channel in entry["channels"]]
    generator = np.random.default_rng(3)
    for index, whole in enumerate(channels):
        points = [0, 1, 63, 64, 65, 1407, 1408, len(whole) - 1]
        points += generator.integers(0, len(whole), 20).tolist()
        for cut in points:
            some = [*channels[:index], whole[:cut], *channels[index + 1 :]]
            stream = open_stream(MemoryInput(raw), channels=[MemoryInput(c) for c in some])
            with pytest.raises(StreamError) as caught:
                list(stream.items())
            assert caught.value.section == f"multifd channel {index}"
            assert caught.value.offset <= cut


SPLICES = (
    b"\0",
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\0\0\0\0\0\0\0\x10",
    b"\0\0\0\0\0\0\2\0",
    b"\0\0\0\0\0\0\0\x60\1\x10\0",
    b"\x7e\0\0\0\1",
    b"\4\0\0\0\5",
    b"\1\0\0\0\1\3ram\0\0\0\0\0\0\0\4",
    b"\x08\0\7\0\4\0\0\x10\0",
    b"\x08\0\3\0\x10" + b"\xff" * 16,
    b"\0\6\0\0\0\2{}",
    b"\5\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1\x0amapped-ram",
    b"\5\x1econfiguration/target-page-bits\0\0\0\1\0\0\0\x10",
)


def damaged(raw: bytes, offset: int, generator) -> bytes:
    """Return ``raw`` with a few changes, most of them where structure is."""
    data = bytearray(raw)
    for _ in range(generator.integers(1, 4)):
        size = max(1, len(data))
        places = (
            offset + int(generator.integers(0, 400)),
            size - 1 - int(generator.integers(0, min(size, 120_000))),
            int(generator.integers(0, size)),
        )
        at = places[int(generator.integers(0, 3))]
        splice = SPLICES[int(generator.integers(0, len(SPLICES)))]
        other = int(generator.integers(0, size))
        change = int(generator.integers(0, 6))
        if change == 0 and at < len(data):
            data[at] ^= 1 << int(generator.integers(0, 8))
        elif change == 1:
            data[at : at + len(splice)] = splice
        elif change == 2:
            data[at:at] = splice
        elif change == 3:
            del data[at : at + int(generator.choice((1, 4, 5, 8, 4104)))]
        elif change == 4:
            data[at:at] = data[other : other + 5000]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("name", ENTRIES)
def test_damage_gives_a_stream_error_or_a_stream(sample, recording, name, seekable):
    raw, entry = sample(name)
    generator = np.random.default_rng(len(raw) + seekable)
    channels = [recording(channel["file"]) for channel in entry.get("channels", ())]
    places = []
    for turn in range(25):
        some = list(channels)
        if channels and turn % 2:
            index = turn // 2 % len(channels)
            some[index] = damaged(some[index], 0, generator)
            bad = raw
        else:
            bad = damaged(raw, entry["offset"], generator)
        form = {"seekable": seekable, "chunk_bytes": 50_000}
        try:
            stream = open_stream(
                MemoryInput(bad, offset=entry["offset"], **form),
                channels=[MemoryInput(channel, **form) for channel in some],
            )
            apply_items(stream.items(keep_order=turn % 3 == 0), MemoryStore(1 << 26))
        except StreamError as error:
            places.append((error.offset, max(entry["offset"], *map(len, (bad, *some)))))
    assert all(0 <= place <= most for place, most in places)
    assert len(places) > 8


def accepts(raw, **options) -> bool:
    try:
        list(StreamReader(MemoryInput(raw), **options))
    except StreamError:
        return False
    return True


def test_strict_readers_accept_no_more_than_those_that_find_out(sample):
    raw, entry = sample("none-noram")
    generator = np.random.default_rng(11)
    for _ in range(300):
        bad = damaged(raw, entry["offset"], generator)
        assert accepts(bad, options=DETECT) or not accepts(bad)
