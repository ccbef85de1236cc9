"""The qtest protocol: lines that read and write guest memory (spec frontend.md section 3)."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MigsimError, StateError
from ..machine.driver import VirtualDriver
from ..ram.watch import Gate
from ..units import PAGE_SIZE

if TYPE_CHECKING:
    from ..machine.machine import Machine
    from ..ram.block import RAMBlock

MAX_LINE_BYTES = 64 << 20
_NS_PER_S = 10**9
_WIDTHS = {"b": 1, "w": 2, "l": 4, "q": 8}


class _RefusedError(MigsimError):
    """A request that cannot be served."""


class QtestSession:
    """One qtest client: a line in, a line out.

    The guest runs up to the moment of every request, so that its memory is never old.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._rest = bytearray()
        self.output = bytearray()
        self._requests: dict[str, Callable[[Sequence[str]], str]] = {
            "endianness": lambda _: "little",
            "read": self._read,
            "write": self._write,
            "memset": self._memset,
            "b64read": self._b64read,
            "b64write": self._b64write,
            "clock_step": self._clock_step,
            "clock_set": self._clock_set,
            **{f"read{letter}": self._reader(width) for letter, width in _WIDTHS.items()},
            **{f"write{letter}": self._writer(width) for letter, width in _WIDTHS.items()},
            **{f"in{letter}": lambda _: "0x0000" for letter in "bwl"},
            **{f"out{letter}": lambda _: "" for letter in "bwl"},
            "irq_intercept_in": lambda _: "",
            "irq_intercept_out": lambda _: "",
        }

    def greet(self) -> None:
        """Say nothing: the client begins."""

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Take bytes; answer every line that ends in them."""
        for fd in descriptors:
            os.close(fd)
        if not self._rest and data.endswith(b"\n") and data.count(b"\n") == 1:
            self.output += self._answer(data.decode("latin-1")).encode()
            return
        self._rest += data
        if b"\n" not in data:
            if len(self._rest) > MAX_LINE_BYTES:
                self._rest.clear()
                self.output += b"FAIL the line is too long\n"
            return
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self.output += self._answer(line.decode("latin-1")).encode()

    def close(self) -> None:
        """The client is gone."""

    def _answer(self, line: str) -> str:
        words = line.split()
        if not words:
            return ""
        request = self._requests.get(words[0])
        if request is None:
            return f"FAIL Unknown command '{words[0][:80]}'\n"
        try:
            self._machine.driver.catch_up()
            answer = request(words[1:])
        except (_RefusedError, StateError, ValueError, IndexError) as error:
            return f"FAIL {error}\n"
        return f"OK {answer}".rstrip() + "\n"

    # Requests.

    def _reader(self, width: int) -> Callable[[Sequence[str]], str]:
        def read(words: Sequence[str]) -> str:
            value = int.from_bytes(self._bytes(int(words[0], 0), width), "little")
            return f"0x{value:016x}"

        return read

    def _writer(self, width: int) -> Callable[[Sequence[str]], str]:
        def write(words: Sequence[str]) -> str:
            value = int(words[1], 0) & ((1 << 8 * width) - 1)
            self._store(int(words[0], 0), value.to_bytes(width, "little"))
            return ""

        return write

    def _read(self, words: Sequence[str]) -> str:
        return "0x" + self._bytes(int(words[0], 0), int(words[1], 0)).hex()

    def _write(self, words: Sequence[str]) -> str:
        size = int(words[1], 0)
        self._store(int(words[0], 0), bytes.fromhex(words[2].removeprefix("0x"))[:size])
        return ""

    def _memset(self, words: Sequence[str]) -> str:
        address, size = int(words[0], 0), int(words[1], 0)
        self._place(address, size)  # before the memory for it is taken
        self._store(address, bytes([int(words[2], 0) & 0xFF]) * size)
        return ""

    def _b64read(self, words: Sequence[str]) -> str:
        return base64.b64encode(self._bytes(int(words[0], 0), int(words[1], 0))).decode()

    def _b64write(self, words: Sequence[str]) -> str:
        self._store(int(words[0], 0), base64.b64decode(words[2])[: int(words[1], 0)])
        return ""

    def _clock_step(self, words: Sequence[str]) -> str:
        """Let nanoseconds of virtual time pass; without a number, one step of an engine."""
        span_ns = int(words[0], 0) if words else None
        if span_ns is not None and span_ns < 0:
            raise _RefusedError("time does not run backwards")
        driver = self._machine.driver
        if isinstance(driver, VirtualDriver):
            if span_ns is not None:
                self._machine.advance(span_ns / _NS_PER_S)
            elif self._machine.busy:
                driver.turn()
        return self._now()

    def _clock_set(self, words: Sequence[str]) -> str:
        """Let virtual time pass up to a moment in nanoseconds."""
        span_s = int(words[0], 0) / _NS_PER_S - self._machine.clock.now
        if span_s > 0 and isinstance(self._machine.driver, VirtualDriver):
            self._machine.advance(span_s)
        return self._now()

    def _now(self) -> str:
        return str(round(self._machine.clock.now * _NS_PER_S))

    # Memory.

    def _bytes(self, address: int, size: int) -> bytes:
        block, offset = self._place(address, size)
        if size and isinstance(block.watch, Gate):
            # It has not arrived, or it has and this is free to read.
            pfns = np.arange(offset // PAGE_SIZE, (offset + size - 1) // PAGE_SIZE + 1)
            block.watch.about_to_write(pfns)
        return block.backend.array()[offset : offset + size].tobytes()

    def _store(self, address: int, data: bytes) -> None:
        block, offset = self._place(address, len(data))
        if data:
            low, high = offset // PAGE_SIZE, (offset + len(data) - 1) // PAGE_SIZE + 1
            block.about_to_write_range(low, high)
            block.backend.array()[offset : offset + len(data)] = bytearray(data)
            block.log.mark_range(low, high)

    def _place(self, address: int, size: int) -> tuple[RAMBlock, int]:
        """Return block and offset of guest-physical memory."""
        block = self._machine.guest.block
        if block is None or not block.backend.has_bytes:
            raise _RefusedError("this machine has no memory that could be read")
        if not (address >= 0 and size >= 0 and address + size <= block.used_bytes):
            raise _RefusedError(f"there is no memory at {address:#x}")
        return block, address
