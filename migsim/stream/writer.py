"""Writes a migration stream: sections, commands, and the description at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..vmstate.codec import encode
from ..vmstate.common import CONFIGURATION, configuration_values
from ..vmstate.describe import describe, describe_opaque, describe_section
from .blocks import encode_block_list
from .names import decode_text, encode_name, encode_text
from .ram_records import EOS_RECORD
from .vmdesc import make_description
from .wire import (
    COMMAND_HEADER,
    FILE_HEADER,
    FILE_MAGIC,
    FILE_VERSION,
    RAM_SECTION,
    RAM_VERSION,
    SECTION_ID,
    SECTION_NUMBERS,
    U8,
    U32,
    U64,
    RamFlag,
    SectionType,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..channel.base import Buffer
    from ..vmstate.fields import Value, VMStateDescription
    from .flush import PagePlan
    from .items import BlockInfo, Configuration
    from .outfile import OutFile

    Json = Mapping[str, object]


class StreamWriter:
    """Puts a stream together, piece by piece in the order of the calls.

    It keeps two things in mind: the block of the last page record, so that the name is left out
    while it stays the same, and what the description at the end has to say.  Everything else is
    up to the caller, who may also write what no QEMU would.

    Flushes where QEMU does: behind the end record of each ram part, and at the very end
    (spec lifecycle.md section 6).

    Raises:
        ChannelError: from any method, when the channel cannot take the bytes.
        ConfigError: a name or block list that cannot be written.
        DeviceError: values that do not fit a description.
    """

    def __init__(self, out: OutFile) -> None:
        self.out = out
        self._configuration: Json = {}
        self._devices: list[Json] = []
        self._last_block: str | None = None

    def header(self) -> None:
        """Write magic number and version."""
        self.out.put(FILE_HEADER.pack(FILE_MAGIC, FILE_VERSION))

    def configuration(
        self, machine: str, capabilities: Sequence[str] = (), uuid: bytes | None = None
    ) -> None:
        """Write machine type, the checked capabilities that are on, and the UUID if there is one.

        ``machine`` is the full type name, ``capabilities`` are in the order of QMP's enumeration
        (x-ignore-shared before mapped-ram), ``uuid`` has 16 bytes.
        """
        raw = encode_text(machine)
        values = configuration_values(decode_text(raw), tuple(capabilities), uuid)
        values |= {"len": len(raw), "name": raw}
        self._configuration = describe(CONFIGURATION, values)
        self.out.put(U8.pack(SectionType.CONFIGURATION) + encode(CONFIGURATION, values))

    def configuration_like(self, item: Configuration) -> None:
        """Write the configuration that a reader found."""
        self.configuration(item.machine, item.capabilities or (), item.uuid)

    # Sections

    def begin_named(
        self, kind: SectionType, section_id: int, name: str, instance_id: int, version: int
    ) -> None:
        """Write the header of a START or FULL section."""
        self.out.put(
            SECTION_ID.pack(kind, section_id)
            + encode_name(name)
            + SECTION_NUMBERS.pack(instance_id, version)
        )

    def begin_part(self, section_id: int, kind: SectionType = SectionType.PART) -> None:
        """Write the header of a PART, or of an END."""
        self.out.put(SECTION_ID.pack(kind, section_id))

    def footer(self, section_id: int) -> None:
        """Write the footer that follows the body of every section."""
        self.out.put(SECTION_ID.pack(SectionType.FOOTER, section_id))

    # RAM

    def ram_setup(self, section_id: int, blocks: Sequence[BlockInfo]) -> None:
        """Write the whole START of the ram section: the block list, no pages."""
        self.begin_named(SectionType.START, section_id, RAM_SECTION, 0, RAM_VERSION)
        self.block_list(blocks)
        self.end_ram_part(section_id)

    def block_list(self, blocks: Sequence[BlockInfo]) -> None:
        """Write the size record and the blocks."""
        self.out.put(encode_block_list(blocks))

    def next_name(self, block: str) -> str | None:
        """Return the name that the next page record of ``block`` has to carry, or None."""
        return None if block == self._last_block else block

    def plan(
        self, block: str, zero_mask: NDArray[np.bool_], budget_bytes: int | None = None
    ) -> PagePlan:
        """Return how many of these pages go out before ``budget_bytes`` are exceeded."""
        return self.out.plan(self.next_name(block), zero_mask, budget_bytes)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None = None,
    ) -> None:
        """Write page records of one block; arguments as of ``OutFile.put_pages``."""
        if pfns.size:
            self.out.put_pages(self.next_name(block), pfns, data, zero_mask, plan)
            self._last_block = block

    def skip_pages(
        self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None = None
    ) -> None:
        """Account for page records that do not exist, on a counting channel."""
        if zero_mask.size:
            self.out.skip_pages(self.next_name(block), zero_mask, plan)
            self._last_block = block

    def forget_block(self) -> None:
        """Make the next page record carry its block's name whatever came before."""
        self._last_block = None

    def record(self, flag: RamFlag, address: int = 0) -> None:
        """Write a record that is one word: EOS or MULTIFD_FLUSH."""
        self.out.put(U64.pack(address | flag))

    def end_ram_part(self, section_id: int) -> None:
        """Write the end record, flush, and write the footer."""
        self.out.put(EOS_RECORD)
        self.out.flush()
        self.footer(section_id)

    # Devices, commands, end

    def device(
        self,
        section_id: int,
        name: str,
        instance_id: int,
        description: VMStateDescription,
        values: Mapping[str, Value],
    ) -> None:
        """Write the FULL section of a device whose description is known."""
        body = encode(description, values)
        entry = describe_section(name, instance_id, description, values)
        self.opaque_device(section_id, name, instance_id, description.version_id, body, entry=entry)

    def opaque_device(
        self,
        section_id: int,
        name: str,
        instance_id: int,
        version: int,
        body: Buffer,
        *,
        entry: Json | None = None,
    ) -> None:
        """Write a FULL section from bytes.

        ``entry`` is what the description at the end says of it; by default that it is a buffer.
        """
        size = memoryview(body).nbytes
        self._devices.append(entry or describe_opaque(name, instance_id, size))
        self.begin_named(SectionType.FULL, section_id, name, instance_id, version)
        self.out.put(body)
        self.footer(section_id)

    def command(self, number: int, data: bytes = b"") -> None:
        """Write a command; ``data`` has at most 65535 bytes."""
        self.out.put(COMMAND_HEADER.pack(SectionType.COMMAND, number, len(data)) + data)

    def end_marker(self) -> None:
        """Write the byte behind the last section."""
        self.out.put(U8.pack(SectionType.EOF))

    def description(self, raw: bytes | None = None) -> None:
        """Write the description: ``raw``, or one of what this writer has written."""
        if raw is None:
            raw = make_description(self._configuration, self._devices)
        self.out.put(SECTION_ID.pack(SectionType.VMDESCRIPTION, len(raw)) + raw)

    def finish(self, *, description: bool = True) -> None:
        """Write the end marker and, unless it is suppressed, the description; flush."""
        self.end_marker()
        if description:
            self.description()
        self.out.flush()


assert SECTION_ID.size == U8.size + U32.size  # type byte and length, as of the description
