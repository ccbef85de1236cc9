"""Draw the layout of a state file: ``python docs/figures/state_file.py``.

The picture is made of the rows below and of nothing else, so that it can be changed here and the
same bytes come out every time.  It goes to ``docs/state-file.svg``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).parents[1] / "state-file.svg"

FRAME, RAM, DEVICE, BEHIND, GAP = "#dbe4f0", "#cfe8d5", "#f6e3c5", "#ead9ee", "#ffffff"
"""Colours of what frames the stream, RAM, devices, what is behind the end, and holes."""


@dataclass(frozen=True)
class Row:
    """One piece of a file: its bytes on the left, what they are on the right."""

    code: str
    text: str
    colour: str
    height: int = 26
    inside: bool = False


@dataclass(frozen=True)
class Column:
    """One file, from its first byte down."""

    title: str
    rows: tuple[Row, ...]


_HEAD = (
    Row("QEVM 00000003", "magic number, version 3", FRAME),
    Row("07", "configuration: machine type, capabilities, UUID", FRAME),
)
_DEVICES = (
    Row("04", "timer, instance 0, version 2: its fields", DEVICE),
    Row("7e", "footer: the section's number again", DEVICE),
    Row("04 ... 7e", "one such section for each device", DEVICE, 34),
    Row("04 ... 7e", "globalstate: running, paused, ...", DEVICE),
)
_END = (
    Row("00", "end marker: a receiver stops here", FRAME),
    Row("06", "description: JSON with every device's fields", BEHIND),
)
COLUMNS = (
    Column(
        "plain",
        (
            *_HEAD,
            Row("01", "section ram begins: number, version 4", RAM),
            Row("", "RAM blocks: name and length of each", RAM, inside=True),
            Row("10", "end of records, footer 7e", RAM, inside=True),
            Row("02", "a part of ram: page records", RAM),
            Row("08", "address, block, 4096 bytes of a page", RAM, 40, inside=True),
            Row("22", "address, 00: a page of zeros", RAM, inside=True),
            Row("28", "same block: address, 4096 bytes", RAM, 40, inside=True),
            Row("02 ... 7e", "more parts; dirty pages come again", RAM, 34),
            Row("03", "the last part of ram", RAM),
            *_DEVICES,
            *_END,
        ),
    ),
    Column(
        "mapped-ram",
        (
            *_HEAD,
            Row("01", "section ram begins: number, version 4", RAM),
            Row("", "RAM block: name, length, page size, places", RAM, inside=True),
            Row("", "bitmap: one bit for each page stored", RAM, inside=True),
            Row("", "hole, up to the next MiB", GAP, inside=True),
            Row("", "page 0 of the block", RAM, inside=True),
            Row("", "a page of zeros is a hole", GAP, inside=True),
            Row("", "page 2, page 3, ... at their places", RAM, 60, inside=True),
            Row("", "the next block, in the same way", RAM, 40, inside=True),
            Row("10", "end of records, footer 7e", RAM),
            Row("02, 03", "parts of ram: empty", RAM),
            *_DEVICES,
            *_END,
        ),
    ),
    Column(
        "multifd",
        (
            *_HEAD,
            Row("01", "section ram begins; RAM blocks as in plain", RAM),
            Row("02", "parts of ram: points where all channels meet", RAM, 34),
            *_DEVICES,
            *_END,
            Row("", "", "none", 14),
            Row("11223344", "each further channel begins: UUID, number", FRAME),
            Row("11223344", "packet: block, addresses of 128 pages", RAM),
            Row("", "the pages, as they are or packed (zlib, zstd)", RAM, 60, inside=True),
            Row("11223344", "sync packet: everything up to here", RAM),
        ),
    ),
)

WIDTH, CODE, MARGIN, TOP = 384, 104, 16, 44


def rectangle(x: int, y: int, width: int, height: int, colour: str) -> str:
    """Return a box."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{colour}"'
        ' stroke="#5b6770" stroke-width="0.8"/>'
    )


def label(x: int, y: int, text: str, kind: str) -> str:
    """Return a line of text."""
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


def column(left: int, what: Column) -> tuple[list[str], int]:
    """Return the shapes of a column, and where it ends."""
    shapes, y = [label(left, TOP - 16, what.title, "title")], TOP
    for row in what.rows:
        if row.colour != "none":
            begin = left + (18 if row.inside else 0)
            shapes.append(rectangle(begin, y, WIDTH - (begin - left), row.height, row.colour))
            middle = y + row.height // 2 + 4
            shapes.append(label(begin + 8, middle, row.code, "code"))
            text = begin + 8 + (CODE if row.code else 0)
            shapes.append(label(text, middle, row.text, "text"))
        y += row.height
    return shapes, y


def picture() -> str:
    """Return the whole picture as SVG."""
    shapes: list[str] = []
    bottom = 0
    for index, what in enumerate(COLUMNS):
        some, end = column(MARGIN + index * (WIDTH + 2 * MARGIN), what)
        shapes += some
        bottom = max(bottom, end)
    width = len(COLUMNS) * (WIDTH + 2 * MARGIN)
    style = (
        "text{font-family:Helvetica,Arial,sans-serif;font-size:12.5px;fill:#1d2327}"
        ".code{font-family:Menlo,Consolas,monospace;font-size:11.5px;fill:#3c4a57}"
        ".title{font-size:16px;font-weight:bold}"
    )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + MARGIN}"'
            f' width="{width}" height="{bottom + MARGIN}" role="img">',
            "<title>What lies where in a plain, a mapped-ram and a multifd state file</title>",
            f"<style>{style}</style>",
            f'<rect width="{width}" height="{bottom + MARGIN}" fill="#fcfcfb"/>',
            *shapes,
            "</svg>",
            "",
        )
    )


if __name__ == "__main__":
    TARGET.write_text(picture())
