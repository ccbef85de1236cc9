"""Streams of any shape: written, read, written again; and damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.channel import MemoryInput, MemoryOutput
from migsim.errors import StreamError
from migsim.stream import (
    BlockInfo,
    Configuration,
    DeviceSection,
    OutFile,
    PageBatch,
    RamBlocks,
    StreamReader,
    StreamWriter,
    rewrite,
)
from migsim.stream.wire import SectionType
from migsim.vmstate.common import GLOBALSTATE, globalstate_values

PAGES = 24
names = st.text(min_size=1, max_size=20).filter(
    lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text)
)


@st.composite
def parts(draw: st.DrawFn):
    """Draw the pages of one part: (block index, pfns, zero mask), any order, repeats allowed."""
    return draw(
        st.lists(
            st.tuples(
                st.integers(0, 2),
                st.lists(
                    st.tuples(st.integers(0, PAGES - 1), st.booleans()), min_size=1, max_size=PAGES
                ),
            ),
            max_size=4,
        )
    )


@st.composite
def layouts(draw: st.DrawFn):
    """Draw what a whole stream holds."""
    return {
        "machine": draw(names),
        "blocks": draw(st.lists(names, min_size=3, max_size=3, unique=True)),
        "addresses": draw(st.booleans()),
        "uuid": draw(st.one_of(st.none(), st.binary(min_size=16, max_size=16))),
        "ram_id": draw(st.integers(0, 2**32 - 1)),
        "parts": draw(st.lists(parts(), max_size=3)),
        "devices": draw(
            st.lists(
                st.tuples(names, st.integers(0, 2**32 - 1), st.binary(max_size=64)), max_size=3
            )
        ),
        "description": draw(st.booleans()),
    }


def contents(part: int, pfns: np.ndarray) -> np.ndarray:
    """Return page contents that tell the part and the page."""
    data = np.zeros((pfns.size, 4096), np.uint8)
    data[:, 0], data[:, -1] = part + 1, pfns
    return data


def write(layout) -> tuple[bytes, int]:
    """Return the stream of ``layout``, and the bytes that count as transferred."""
    sink = MemoryOutput()
    writer = StreamWriter(OutFile(sink))
    ram_id = layout["ram_id"]
    addresses = [0, 0xC0000, 2**64 - 4096] if layout["addresses"] else [None] * 3
    capabilities = ["x-ignore-shared"] if layout["addresses"] else []
    writer.header()
    writer.configuration(layout["machine"], capabilities, layout["uuid"])
    blocks = [
        BlockInfo(name, PAGES * 4096, address)
        for name, address in zip(layout["blocks"], addresses, strict=True)
    ]
    writer.ram_setup(ram_id, blocks)
    for number, part in enumerate(layout["parts"]):
        writer.begin_part(ram_id)
        for block, pages in part:
            pfns = np.array([pfn for pfn, _ in pages])
            zero = np.array([zero for _, zero in pages])
            writer.pages(layout["blocks"][block], pfns, contents(number, pfns), zero)
        writer.end_ram_part(ram_id)
    writer.begin_part(ram_id, SectionType.END)
    writer.end_ram_part(ram_id)
    for name, instance_id, body in layout["devices"]:
        if name != "ram":
            writer.opaque_device(ram_id ^ 1, name, instance_id, 1, body)
    writer.device(ram_id ^ 2, "globalstate", 0, GLOBALSTATE, globalstate_values("running"))
    writer.finish(description=layout["description"])
    return sink.getvalue(), writer.out.transferred


def expected_ram(layout) -> dict[str, np.ndarray]:
    """Return the RAM after all pages, one after another."""
    ram = {name: np.zeros((PAGES, 4096), np.uint8) for name in layout["blocks"]}
    for number, part in enumerate(layout["parts"]):
        for block, pages in part:
            for pfn, zero in pages:
                ram[layout["blocks"][block]][pfn] = (
                    0 if zero else contents(number, np.array([pfn]))[0]
                )
    return ram


def load(items) -> dict[str, np.ndarray]:
    ram: dict[str, np.ndarray] = {}
    for item in items:
        if isinstance(item, RamBlocks):
            ram = {block.name: np.full((block.pages, 4096), 0, np.uint8) for block in item.blocks}
        elif isinstance(item, PageBatch):
            for pfn, row in zip(
                item.pfns, item.data if not item.is_zero else [0] * 99, strict=False
            ):
                ram[item.block][pfn] = row
    return ram


def tee(items, seen: list):
    """Yield ``items`` and remember them; page contents are only valid at once."""
    for item in items:
        seen.append(item)
        yield item


@given(layouts(), st.booleans())
def test_what_was_written_is_read(layout, keep_order):
    layout["description"] = True
    raw, transferred = write(layout)
    assert transferred == len(raw)
    items = []
    ram = load(tee(StreamReader(MemoryInput(raw), keep_order=keep_order), items))
    for name, pages in expected_ram(layout).items():
        assert (ram[name] == pages).all()
    (configuration,) = (item for item in items if isinstance(item, Configuration))
    assert (configuration.machine, configuration.uuid) == (layout["machine"], layout["uuid"])
    devices = [
        (item.name, item.instance_id, bytes(item.body))
        for item in items
        if isinstance(item, DeviceSection)
    ]
    assert devices[:-1] == [device for device in layout["devices"] if device[0] != "ram"]
    assert devices[-1][0] == "globalstate"


@given(layouts(), st.integers(1, 5000))
def test_a_pipe_gives_the_same_pages(layout, chunk_bytes):
    layout["devices"] = []
    raw, _ = write(layout)
    channel = MemoryInput(raw, seekable=False, chunk_bytes=chunk_bytes)
    ram = load(StreamReader(channel, lambda *_: GLOBALSTATE))
    for name, pages in expected_ram(layout).items():
        assert (ram[name] == pages).all()


@given(layouts())
def test_writing_again_gives_the_same_bytes(layout):
    layout["description"] = True
    raw, _ = write(layout)
    sink = MemoryOutput()
    rewrite(StreamReader(MemoryInput(raw), keep_order=True), StreamWriter(OutFile(sink)))
    assert sink.getvalue() == raw


edits = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "insert"]),
        st.integers(0, 2**32),
        st.one_of(
            st.binary(min_size=1, max_size=9), st.sampled_from([b"\0", b"\xff" * 8, b"\x10"])
        ),
    ),
    min_size=1,
    max_size=4,
)


def damaged(raw: bytes, changes) -> bytes:
    data = bytearray(raw)
    for kind, place, value in changes:
        # Headers and ends are where structure is, so aim there as often as at pages.
        at = place % len(data) if place % 2 else (place // 2) % min(len(data), 400)
        if place % 3 == 0:
            at = len(data) - 1 - at
        end = {"set": at + len(value), "delete": at + len(value), "insert": at}[kind]
        data[at:end] = b"" if kind == "delete" else value
        if not data:
            break
    return bytes(data)


@given(layouts(), edits, st.booleans(), st.booleans())
def test_damage_gives_a_stream_error_or_a_stream(layout, changes, seekable, known):
    raw = damaged(write(layout)[0], changes)
    describe = (lambda *_: GLOBALSTATE) if known else None
    try:
        for item in StreamReader(MemoryInput(raw, seekable=seekable), describe):
            if isinstance(item, PageBatch) and not item.is_zero:
                assert item.data.shape == (item.pfns.size, 4096)
    except StreamError as error:
        if not 0 <= error.offset <= len(raw):
            pytest.fail(f"offset {error.offset} is outside of the {len(raw)} bytes")
