"""Writes a migration stream: sections, commands, and the description at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..qapi.enums import Capability
from ..vmstate.codec import encode
from ..vmstate.common import CONFIGURATION, configuration_values
from ..vmstate.describe import describe, describe_opaque, describe_section
from .mapped_writer import MappedWriter
from .multifd_ram import MultifdRamWriter
from .names import decode_text, encode_name, encode_text
from .options import QEMU_DEFAULTS, StreamOptions
from .ram_writer import RamWriter, RecordWriter
from .vmdesc import make_description, with_configuration
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
    from .multifd_writer import MultifdWriter
    from .outfile import OutFile
    from .xbzrle_records import XbzrleBatch

    Json = Mapping[str, object]


class StreamWriter:
    """Puts a stream together, piece by piece in the order of the calls.

    It keeps two things in mind: the block of the last page record, so that the name is left out
    while it stays the same, and what the description at the end has to say.  Everything else is
    up to the caller, who may also write what no QEMU would.

    Flushes where QEMU does: behind the end record of each ram part, and at the very end
    (spec lifecycle.md section 6).

    Args:
        out: where the stream goes.
        options: the switches to write it with.
        mapped_ram: RAM goes to fixed places of the file, which must be one that can be seeked.
        multifd: RAM goes to these further channels.
        ram: writes RAM, instead of what ``mapped_ram`` and ``multifd`` name.

    Raises:
        ChannelError: from any method, when the channel cannot take the bytes.
        ConfigError: a name or block list that cannot be written, or forms that exclude each other.
        DeviceError: values that do not fit a description.
    """

    def __init__(
        self,
        out: OutFile,
        *,
        options: StreamOptions = QEMU_DEFAULTS,
        mapped_ram: bool = False,
        multifd: MultifdWriter | None = None,
        ram: RamWriter | None = None,
    ) -> None:
        if mapped_ram and multifd is not None:
            reason = "takes no packets of multifd: all channels write to the file"
            raise ConfigError("mapped-ram", reason)
        self.out = out
        self.mapped_ram = mapped_ram
        self._options = options
        self._multifd = multifd
        self._page_bytes = 1 << options.page_bits
        self._given = ram
        self._ram = self._ram_writer()
        self._part = SectionType.START
        self._configuration: Json | None = None
        self._same_configuration = True
        self._devices: list[Json] = []

    def _ram_writer(self) -> RamWriter:
        if self._given is not None:
            return self._given
        if self.mapped_ram:
            return MappedWriter(self.out, self._page_bytes)
        if self._multifd is not None:
            return MultifdRamWriter(self.out, self._multifd, self._page_bytes)
        return RecordWriter(self.out, self._page_bytes)

    def header(self) -> None:
        """Write magic number and version."""
        self.out.put(FILE_HEADER.pack(FILE_MAGIC, FILE_VERSION))

    def configuration(
        self,
        machine: str,
        capabilities: Sequence[str] = (),
        uuid: bytes | None = None,
        page_bits: int | None = None,
    ) -> None:
        """Write machine type, the checked capabilities that are on, and the UUID if there is one.

        ``machine`` is the full type name, ``capabilities`` are in the order of QMP's enumeration
        (x-ignore-shared before mapped-ram), ``uuid`` has 16 bytes.  ``page_bits`` is the target
        page size as a power of two, where it has to be told (never on x86).

        Nothing is written when the options leave the section out.
        """
        if self._options.configuration is False:
            return
        raw = encode_text(machine)
        values = configuration_values(decode_text(raw), tuple(capabilities), uuid)
        values |= {"len": len(raw), "name": raw}
        if page_bits is not None:
            values["target_page_bits"] = page_bits
            self._page_bytes = 1 << page_bits
            self._ram = self._ram_writer()
        self._configuration = describe(CONFIGURATION, values)
        self.out.put(U8.pack(SectionType.CONFIGURATION) + encode(CONFIGURATION, values))

    def configuration_like(self, item: Configuration) -> None:
        """Write the configuration that a reader found, with ``mapped-ram`` as this writer has it.

        An empty list of capabilities is left out.
        """
        given = item.capabilities or ()
        kept = tuple(name for name in given if name != Capability.MAPPED_RAM)
        wanted = (*kept, Capability.MAPPED_RAM.value) if self.mapped_ram else kept
        if set(wanted) != set(given):
            self._same_configuration = False
            given = wanted
        self.configuration(item.machine, given, item.uuid, item.page_bits)

    # Sections

    def begin_named(
        self, kind: SectionType, section_id: int, name: str, instance_id: int, version: int
    ) -> None:
        """Write the header of a START or FULL section."""
        self._part = kind
        self.out.put(
            SECTION_ID.pack(kind, section_id)
            + encode_name(name)
            + SECTION_NUMBERS.pack(instance_id, version)
        )

    def begin_part(self, section_id: int, kind: SectionType = SectionType.PART) -> None:
        """Write the header of a PART, or of an END."""
        self._part = kind
        self.out.put(SECTION_ID.pack(kind, section_id))

    def footer(self, section_id: int) -> None:
        """Write the footer that follows the body of every section, unless options forbid."""
        if self._options.footers is not False:
            self.out.put(SECTION_ID.pack(SectionType.FOOTER, section_id))

    # RAM

    def ram_setup(self, section_id: int, blocks: Sequence[BlockInfo]) -> None:
        """Write the whole START of the ram section: the block list, no pages."""
        self.begin_named(SectionType.START, section_id, RAM_SECTION, 0, RAM_VERSION)
        self.block_list(blocks)
        self.end_ram_part(section_id)

    def block_list(self, blocks: Sequence[BlockInfo]) -> None:
        """Write the size record and the blocks, and where they lie with mapped-ram."""
        self._ram.block_list(blocks)

    def next_name(self, block: str) -> str | None:
        """Return the name that the next page record of ``block`` has to carry, or None."""
        return self._ram.next_name(block)

    def plan(
        self, block: str, zero_mask: NDArray[np.bool_], budget_bytes: int | None = None
    ) -> PagePlan:
        """Return how many of these pages go out before ``budget_bytes`` are exceeded."""
        return self._ram.plan(block, zero_mask, budget_bytes)

    def pages(
        self,
        block: str,
        pfns: NDArray[np.int64],
        data: NDArray[np.uint8] | None,
        zero_mask: NDArray[np.bool_],
        plan: PagePlan | None = None,
    ) -> None:
        """Write pages of one block; arguments as of ``OutFile.put_pages``."""
        self._ram.pages(block, pfns, data, zero_mask, plan)

    @contextmanager
    def lasting_pages(self) -> Iterator[None]:
        """Within this, contents given to `pages` are memory that stays as it is until the end.

        Where RAM goes to fixed places, it may then be written while the caller goes on.
        """
        if not isinstance(self._ram, MappedWriter):
            yield
            return
        with self._ram.lasting_pages():
            yield

    def skip_pages(
        self, block: str, zero_mask: NDArray[np.bool_], plan: PagePlan | None = None
    ) -> None:
        """Account for page records that do not exist, on a counting channel."""
        self._ram.skip_pages(block, zero_mask, plan)

    def deltas(self, batch: XbzrleBatch) -> None:
        """Write changes of pages, as XBZRLE records where the form of RAM has them."""
        self._ram.deltas(batch)

    @property
    def side_bytes(self) -> int:
        """Bytes of RAM that went past the main channel so far."""
        return self._ram.side_bytes

    @property
    def transferred(self) -> int:
        """Bytes that have left by QEMU's counting, over all channels."""
        beside = 0 if self.mapped_ram else self._ram.side_bytes
        return self.out.transferred + beside

    @property
    def accounted(self) -> int:
        """Bytes put so far over all channels, whether QEMU would have handed them over or not."""
        return self.out.accounted + self.transferred - self.out.transferred

    @property
    def compact_pages(self) -> int:
        """Pages sent so far as less than a page, or not at all because they did not change."""
        return self._ram.compact_pages

    def wrapped(self) -> None:
        """Tell that the scan over RAM begins another round."""
        self._ram.wrapped()

    def plain_records(self) -> None:
        """Write RAM as whole pages in the stream from here on, as postcopy does."""
        if not isinstance(self._ram, RecordWriter) or type(self._ram) is not RecordWriter:
            self._ram = RecordWriter(self.out, self._page_bytes)

    def forget_block(self) -> None:
        """Make the next page record carry its block's name whatever came before."""
        self._ram.forget_block()

    def synchronise(self, address: int = 0) -> None:
        """Write a multifd synchronisation point: the record, and the mark on all channels."""
        self._ram.synchronise(address)

    def end_records(self, address: int = 0) -> None:
        """Write the record that ends a part, with what belongs in front of it, and flush."""
        self._ram.end_part(self._part)
        self.out.put(U64.pack(address | RamFlag.EOS))
        self.out.end_part()

    def end_ram_part(self, section_id: int) -> None:
        """Write the end record, flush, and write the footer."""
        self.end_records()
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

    def opaque_part(self, body: Buffer) -> None:
        """Write the body of a part of an iterable section other than ram."""
        self.out.put(body)

    def command(self, number: int, data: bytes = b"") -> None:
        """Write a command; ``data`` has at most 65535 bytes."""
        self.out.put(COMMAND_HEADER.pack(SectionType.COMMAND, number, len(data)) + data)

    def end_marker(self) -> None:
        """Write the byte behind the last section."""
        self._ram.end_part(SectionType.EOF)
        self.out.put(U8.pack(SectionType.EOF))

    def description(self, raw: bytes | None = None) -> None:
        """Write the description: ``raw``, or one of what this writer has written."""
        if raw is None:
            raw = make_description(self._configuration, self._devices, self._page_bytes)
        self.out.put(SECTION_ID.pack(SectionType.VMDESCRIPTION, len(raw)) + raw)

    def description_like(self, raw: bytes) -> None:
        """Write the description that a reader found, with the configuration as it was written."""
        if not self._same_configuration and self._configuration is not None:
            raw = with_configuration(raw, self._configuration)
        self.description(raw)

    def finish(self, *, description: bool = True) -> None:
        """Write the end marker and, unless it is suppressed, the description; flush."""
        self.end_marker()
        if description:
            self.description()
        self.out.flush()


assert SECTION_ID.size == U8.size + U32.size  # type byte and length, as of the description
