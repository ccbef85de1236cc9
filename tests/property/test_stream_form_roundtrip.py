"""Streams of any form: pages in any order, deltas, switches; written, read, converted; damaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import StreamError
from migsim.stream import (
    BlockInfo,
    MemoryStore,
    OutFile,
    StreamOptions,
    StreamWriter,
    apply_items,
    open_stream,
    rewrite,
)
from migsim.stream.multifd_writer import MultifdWriter
from migsim.stream.wire import SectionType
from migsim.stream.xbzrle import encode_deltas
from migsim.stream.xbzrle_records import XbzrleBatch
from migsim.vmstate.common import GLOBALSTATE, globalstate_values

PAGES = 24
BLOCKS = ("ram0", "pc.bios")
FORMS = ("plain", "mapped", "multifd")
switches = st.builds(StreamOptions, footers=st.booleans(), configuration=st.booleans())


@dataclass(frozen=True)
class Batch:
    """Some pages of one block and what they become: 0 is zero, the rest is a byte all over."""

    block: int
    pages: tuple[tuple[int, int], ...]
    delta: bool


batches = st.builds(
    Batch,
    block=st.integers(0, 1),
    pages=st.lists(
        st.tuples(st.integers(0, PAGES - 1), st.integers(0, 3)),
        min_size=1,
        max_size=PAGES,
        unique_by=lambda page: page[0],
    ).map(tuple),
    delta=st.booleans(),
)
parts = st.lists(st.lists(batches, max_size=4), max_size=4)


class Recording:
    """A stream of some form, and the RAM that it must add up to."""

    def __init__(self, form: str, options: StreamOptions, layout, *, deltas: bool) -> None:
        self.main = MemoryOutput()
        self.channels = [MemoryOutput(), MemoryOutput()] if form == "multifd" else []
        self.ram = {name: np.zeros((PAGES, 4096), np.uint8) for name in BLOCKS}
        self.form = form
        self._deltas = deltas and form != "multifd"
        self.writer = self.make_writer(options)
        self._write(layout)

    def make_writer(self, options: StreamOptions) -> StreamWriter:
        multifd = MultifdWriter(self.channels) if self.channels else None
        mapped = self.form == "mapped"
        return StreamWriter(OutFile(self.main), options=options, mapped_ram=mapped, multifd=multifd)

    def _write(self, layout) -> None:
        writer = self.writer
        writer.header()
        writer.configuration("none", ["mapped-ram"] if self.form == "mapped" else [])
        writer.ram_setup(7, [BlockInfo(name, PAGES * 4096) for name in BLOCKS])
        for part in layout:
            writer.begin_part(7)
            for batch in part:
                self._put(batch)
            writer.end_ram_part(7)
        writer.begin_part(7, SectionType.END)
        writer.end_ram_part(7)
        writer.device(9, "globalstate", 0, GLOBALSTATE, globalstate_values("running"))
        writer.finish()

    def _put(self, batch: Batch) -> None:
        name = BLOCKS[batch.block]
        pfns = np.array([pfn for pfn, _ in batch.pages])
        data = np.zeros((pfns.size, 4096), np.uint8)
        data[:, 10:] = np.array([fill for _, fill in batch.pages], np.uint8)[:, None]
        if batch.delta and self._deltas:
            deltas = encode_deltas(self.ram[name][pfns], data)
            some = deltas.sizes > 0
            if some.any():
                kept = encode_deltas(self.ram[name][pfns[some]], data[some])
                self.writer.deltas(XbzrleBatch(0, name, pfns[some], kept, pfns[some]))
                self.ram[name][pfns[some]] = data[some]
            pfns, data = pfns[~some], data[~some]
        if pfns.size:
            self.writer.pages(name, pfns, data, ~data.any(axis=1))
            self.ram[name][pfns] = data

    def open(self):
        channels = [MemoryInput(channel.getvalue()) for channel in self.channels]
        return open_stream(MemoryInput(self.main.getvalue()), channels=channels)


def ram_of(stream, **how) -> dict[str, np.ndarray]:
    store = MemoryStore()
    apply_items(stream.items(**how), store)
    return store.blocks


def same(one, two) -> bool:
    return set(one) == set(two) and all((one[name] == two[name]).all() for name in one)


@given(st.sampled_from(FORMS), switches, parts, st.booleans(), st.booleans())
def test_every_form_adds_up_to_the_ram_that_was_written(form, options, layout, deltas, order):
    recording = Recording(form, options, layout, deltas=deltas)
    stream = recording.open()
    assert same(ram_of(stream, keep_order=order), recording.ram)
    assert (stream.found.footers, stream.found.configuration) == (
        options.footers,
        options.configuration,
    )


@given(st.sampled_from(FORMS), st.sampled_from(FORMS), switches, parts)
def test_any_form_becomes_any_other(form, target, options, layout):
    recording = Recording(form, options, layout, deltas=target != "multifd")
    other = Recording(target, options, [], deltas=False)
    other.main = MemoryOutput()
    other.channels = [MemoryOutput() for _ in other.channels]
    rewrite(recording.open().items(), other.make_writer(options))
    assert same(ram_of(other.open()), recording.ram)


@given(st.sampled_from(["plain", "mapped"]), switches, parts, st.booleans())
def test_writing_again_gives_the_same_bytes(form, options, layout, deltas):
    recording = Recording(form, options, layout, deltas=deltas)
    raw = recording.main.getvalue()
    items = recording.open().items(keep_order=True)
    recording.main = MemoryOutput()
    rewrite(items, recording.make_writer(options))
    again = recording.main.getvalue()
    if form == "plain":
        assert again == raw
    assert len(again) == len(raw)
    assert same(ram_of(open_stream(MemoryInput(again))), recording.ram)


pieces = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from(
        [
            b"\0",
            b"\xff" * 8,
            b"\0\0\0\0\0\0\0\x10",
            b"\0\0\0\0\0\0\2\0",
            b"\0\0\0\0\0\0\0\x60\1\0\2\0\1\2",
            b"\x7e\0\0\0\7",
            b"\1\0\0\0\1\3ram\0\0\0\0\0\0\0\4",
            b"\x08\0\7\0\4\0\0\x10\0",
            b"\x08\0\3\0\x10" + b"\xff" * 16,
            b"\5\x1econfiguration/target-page-bits\0\0\0\1\0\0\0\x0a",
            b"\x11\x22\x33\x44\0\0\0\1\0\0\0\1",
        ]
    ),
)
edits = st.lists(
    st.tuples(st.sampled_from(["set", "delete", "insert", "cut"]), st.integers(0, 2**32), pieces),
    min_size=1,
    max_size=4,
)


def damaged(raw: bytes, changes) -> bytes:
    data = bytearray(raw)
    for kind, place, value in changes:
        at = place % len(data) if place % 2 else (place // 2) % min(len(data), 400)
        at = len(data) - 1 - at if place % 3 == 0 else at
        if kind == "cut":
            del data[at:]
        elif kind == "delete":
            del data[at : at + len(value)]
        else:
            data[at : at + (len(value) if kind == "set" else 0)] = value
        if not data:
            break
    return bytes(data)


recordings = st.builds(Recording, st.sampled_from(FORMS), switches, parts, deltas=st.booleans())


@given(recordings, edits, st.integers(-1, 1))
def test_damage_gives_a_stream_error_or_a_stream(recording, changes, where):
    raws = [recording.main.getvalue(), *(channel.getvalue() for channel in recording.channels)]
    place = 0 if where < 0 or not recording.channels else where + 1
    raws[place] = damaged(raws[place], changes)
    main, *channels = (MemoryInput(raw) for raw in raws)
    try:
        stream = open_stream(main, channels=channels)
        apply_items(stream.items(), MemoryStore(1 << 24))
    except StreamError as error:
        if not 0 <= error.offset <= max(map(len, raws)):
            pytest.fail(f"offset {error.offset} is outside of the bytes: {error}")
