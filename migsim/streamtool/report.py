"""What is in a stream, as values: the result of a walk through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import StreamError
    from ..stream.items import MappedRegion


class StreamForm(StrEnum):
    """How the pages of RAM travel."""

    PLAIN = "plain"
    """As records in the stream."""
    MAPPED_RAM = "mapped-ram"
    """At fixed places of the file."""
    MULTIFD = "multifd"
    """On channels of their own."""
    POSTCOPY = "postcopy"
    """As records, some of them behind the devices' state."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where and why reading had to stop.

    Attributes:
        offset: first byte that is not as it should be; of its channel, where ``section`` names
            one.
        section: what was being read.
        expected: what should have been there.
        found: what was there instead, None where that says nothing more.
    """

    offset: int
    section: str
    expected: str
    found: str | None

    @classmethod
    def of(cls, error: StreamError) -> Fault:
        """Return the fault that ``error`` tells of."""
        return cls(error.offset, error.section, error.expected, error.found)


@dataclass(frozen=True, slots=True)
class SectionInfo:
    """One section: the state of a device, or all parts of an iterable section.

    Attributes:
        name: section name.
        instance_id: tells sections of one name apart.
        version: version of the state description.
        section_id: as in the stream.
        offset: of its first byte.
        size_bytes: bytes from header to footer, summed over the parts.
        parts: how many there are; 1 for a device.
        iterable: it comes in parts (ram, dirty-bitmap, ...).
        complete: it was read to its end; an iterable one to the footer of its last part.
        described: the stream's own description tells the fields.
    """

    name: str
    instance_id: int
    version: int
    section_id: int
    offset: int
    size_bytes: int
    parts: int = 1
    iterable: bool = False
    complete: bool = True
    described: bool = False


@dataclass(frozen=True, slots=True)
class BlockReport:
    """One RAM block, and what the stream holds of it.

    Attributes:
        name: block name.
        size_bytes: used length.
        page_bytes: size of a page.
        pages: number of pages.
        content_pages: pages whose last record, or place in the file, has content.
        zero_pages: pages whose last record says that they are zero; with mapped-ram, those that
            are not stored.
        absent_pages: pages of which the stream says nothing: a receiver keeps what it has.
        normal_records: records with content, repetitions included.
        zero_records: records of zero pages, repetitions included.
        delta_records: XBZRLE records.
        payload_bytes: bytes of page contents and deltas in the stream.
        in_stream: False for a block that is announced and left out (x-ignore-shared).
        complete: all that the sender meant to send of it was read.
        address: address in its container, only with x-ignore-shared.
        host_page_bytes: host page size, only with postcopy and huge pages.
        mapped: its places in the file, only with mapped-ram.
    """

    name: str
    size_bytes: int
    page_bytes: int
    pages: int
    content_pages: int
    zero_pages: int
    absent_pages: int
    normal_records: int
    zero_records: int
    delta_records: int
    payload_bytes: int
    in_stream: bool
    complete: bool
    address: int | None = None
    host_page_bytes: int | None = None
    mapped: MappedRegion | None = None


@dataclass(frozen=True, slots=True)
class CommandInfo:
    """Commands of one kind.

    Attributes:
        name: as QEMU calls it.
        offset: of the first one.
        count: how many there are.
    """

    name: str
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A multifd channel.

    Attributes:
        file: its recording.
        number: its number among the channels.
        packets: how many it holds, those that mark sync points included.
        normal_pages: pages with content in them.
        zero_pages: zero pages in them.
        compression: of the pages; None where there are none.
    """

    file: str
    number: int
    packets: int
    normal_pages: int
    zero_pages: int
    compression: str | None


@dataclass(frozen=True, slots=True)
class WrapperInfo:
    """libvirt's wrapper around a stream.

    Attributes:
        offset: of its first byte.
        size_bytes: up to the stream.
        complete: False while libvirt had not finished the file.
        was_running: whether libvirt lets the machine run after the load.
        xml_bytes: length of the domain's description.
    """

    offset: int
    size_bytes: int
    complete: bool
    was_running: bool
    xml_bytes: int


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a walk through a stream found; up to the fault, where there is one.

    Attributes:
        path: the file.
        file_bytes: its length, None of a pipe.
        wrapper: what libvirt put in front of the stream, or None.
        offset: where the stream begins.
        length_bytes: from there to the end of its description, or as far as it could be read.
        trailing_bytes: bytes behind its end.
        form: how pages travel.
        machine: machine type name, None without a configuration section.
        capabilities: checked capabilities that are on.
        uuid: of the machine, in the usual spelling, or None.
        page_bytes: target page size.
        footers: whether sections end with footers; None when none was seen.
        run_state: stored run state, None when there is none or it cannot be read.
        was_suspended: whether the guest was suspended below that state.
        sections: in the order of their first bytes.
        blocks: the RAM blocks, in announcement order.
        commands: kinds of commands, in the order of their first bytes.
        flushes: multifd sync points in the main channel.
        channels: the multifd channels that were read.
        early_pages: pages on them before the sync point at setup.
        description_offset: of the description behind the end, None without one.
        description_bytes: length of its text.
        ended: the end marker was reached.
        fault: where and why reading had to stop, or None.
    """

    path: str
    file_bytes: int | None
    wrapper: WrapperInfo | None
    offset: int
    length_bytes: int
    trailing_bytes: int
    form: StreamForm
    machine: str | None
    capabilities: tuple[str, ...]
    uuid: str | None
    page_bytes: int
    footers: bool | None
    run_state: str | None
    was_suspended: bool
    sections: tuple[SectionInfo, ...]
    blocks: tuple[BlockReport, ...]
    commands: tuple[CommandInfo, ...]
    flushes: int
    channels: tuple[ChannelInfo, ...]
    early_pages: int
    description_offset: int | None
    description_bytes: int | None
    ended: bool
    fault: Fault | None = field(default=None)

    @property
    def devices(self) -> tuple[SectionInfo, ...]:
        """Sections that hold the state of a device."""
        return tuple(section for section in self.sections if not section.iterable)

    @property
    def ram_bytes(self) -> int:
        """Used lengths of all blocks together."""
        return sum(block.size_bytes for block in self.blocks)

    def block(self, name: str) -> BlockReport | None:
        """Return the block called ``name``, or None."""
        return next((block for block in self.blocks if block.name == name), None)
