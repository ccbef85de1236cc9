"""Faults x modes x transports, with the promised outcome of every cell, as data.

A fault says what it does to a save and to a load; a transport may have rows of its own in
`EXCEPTIONS`.  What cannot be tried stands there as well, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, NamedTuple

from migsim.channel.faults import FaultKind


class Outcome(StrEnum):
    """What is promised."""

    DONE = "saved and loaded: equal RAM, the guest goes on"
    SAVE_FAILS = "the save fails, the guest runs on, and a second save works"
    LOAD_FAILS = "the load fails without a trace, and a load of the whole stream works"
    REFUSED = "there is no such combination: migrate refuses it"


class Place(StrEnum):
    """Where a fault strikes."""

    WRITING = "writing"
    READING = "reading"
    STORED = "what was stored"


@dataclass(frozen=True)
class FaultRow:
    """One named fault: it strikes at ``at``, a share of the bytes of the stream.

    Early, as a stream without pages is mostly its description, which may be missing.
    """

    name: str
    place: Place
    outcome: Outcome
    kind: FaultKind | None = None
    at: float = 0.1


FAULTS: Final = (
    FaultRow("none", Place.WRITING, Outcome.DONE),
    FaultRow("write error", Place.WRITING, Outcome.SAVE_FAILS, FaultKind.IO_ERROR),
    FaultRow("disk full", Place.WRITING, Outcome.SAVE_FAILS, FaultKind.NO_SPACE),
    FaultRow("disk full at once", Place.WRITING, Outcome.SAVE_FAILS, FaultKind.NO_SPACE, 0.0),
    FaultRow("reset", Place.WRITING, Outcome.SAVE_FAILS, FaultKind.BROKEN_PIPE),
    FaultRow("reset at the end", Place.WRITING, Outcome.SAVE_FAILS, FaultKind.BROKEN_PIPE, 1.0),
    FaultRow("short write", Place.WRITING, Outcome.LOAD_FAILS, FaultKind.LOST),
    FaultRow("read error", Place.READING, Outcome.LOAD_FAILS, FaultKind.IO_ERROR),
    FaultRow("source gone", Place.READING, Outcome.LOAD_FAILS, FaultKind.BROKEN_PIPE),
    FaultRow("early end", Place.READING, Outcome.LOAD_FAILS, FaultKind.LOST),
    FaultRow("truncated file", Place.STORED, Outcome.LOAD_FAILS),
    FaultRow("flipped bit in the header", Place.STORED, Outcome.LOAD_FAILS, at=0.0),
)
MODES: Final = ("normal", "cpr-reboot", "cpr-transfer")
TRANSPORTS: Final = ("channel", "file", "file with offset", "mapped-ram file", "handover")

EXCEPTIONS: Final[dict[tuple[str, str, str], Outcome]] = {
    # Memory is handed over to a process, and only with cpr-transfer; a file is none.
    **{
        (fault.name, mode, transport): Outcome.REFUSED
        for fault, mode, transport in product(FAULTS, MODES, TRANSPORTS)
        if (mode == "cpr-transfer") is not (transport == "handover")
    },
}


class Cell(NamedTuple):
    """One combination and what is promised for it."""

    fault: FaultRow
    mode: str
    transport: str
    outcome: Outcome


CELLS: Final = tuple(
    Cell(fault, mode, way, EXCEPTIONS.get((fault.name, mode, way), fault.outcome))
    for fault, mode, way in product(FAULTS, MODES, TRANSPORTS)
)
