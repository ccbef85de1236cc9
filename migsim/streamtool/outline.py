"""A stream without its bytes: what a second one is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ..channel.file import FileInput
from ..stream.items import (
    BlockInfo,
    Configuration,
    DeviceSection,
    Item,
    PageBatch,
    RamBlocks,
    SectionBegin,
)
from ..stream.xbzrle_records import XbzrleBatch
from .files import leaves_blocks_out
from .show import decode_section

if TYPE_CHECKING:
    from ..stream.open import StreamFile
    from .show import Decoded

SectionKey: TypeAlias = "tuple[str, int]"
"""Name and instance id of a section."""

_AGAIN = 1 << 32


@dataclass(frozen=True, slots=True)
class DevicePlace:
    """A device section whose bytes were left in the file.

    Attributes:
        section: the section, its body empty.
        size_bytes: length of the body.
    """

    section: DeviceSection
    size_bytes: int


class Outline:
    """Takes the items of a stream and keeps what there is to know of it but the bytes.

    Attributes:
        configuration: of the stream, None without one.
        devices: the device sections, by name and instance id, in the order of the stream.
        iterable: versions of the iterable sections.
        blocks: the RAM blocks by name.
        seen: names of blocks of which pages have come.
    """

    def __init__(self) -> None:
        self.configuration: Configuration | None = None
        self.devices: dict[SectionKey, DevicePlace] = {}
        self.iterable: dict[SectionKey, int] = {}
        self.blocks: Mapping[str, BlockInfo] = {}
        self.seen: set[str] = set()

    def take(self, item: Item) -> None:
        """Keep what ``item`` tells."""
        match item:
            case PageBatch() | XbzrleBatch():
                self.seen.add(item.block)
            case DeviceSection():
                place = DevicePlace(replace(item, body=b"", values=None), len(item.body))
                self.devices[self.free_key(item)] = place
            case SectionBegin():
                self.iterable.setdefault((item.name, item.instance_id), item.version)
            case RamBlocks():
                self.blocks = {block.name: block for block in item.blocks}
            case Configuration():
                self.configuration = item
            case _:
                pass

    def free_key(self, item: DeviceSection) -> SectionKey:
        """Return the key of a section that comes; one that comes again gets a key of its own."""
        name, instance_id = item.name, item.instance_id
        while (name, instance_id) in self.devices:
            instance_id += _AGAIN
        return name, instance_id

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Checked capabilities that are on."""
        return (self.configuration.capabilities or ()) if self.configuration is not None else ()

    @property
    def ignored(self) -> frozenset[str]:
        """Names of blocks that are announced and left out (x-ignore-shared)."""
        if not leaves_blocks_out(self.capabilities, self.blocks.values()):
            return frozenset()
        return frozenset(
            name for name, b in self.blocks.items() if b.pages and name not in self.seen
        )


def decoded_again(stream: StreamFile, place: DevicePlace) -> Decoded:
    """Return the state of a device, its bytes read from the file of ``stream`` once more.

    Raises:
        ChannelError: the file cannot be read.
    """
    section, body = place.section, bytearray(place.size_bytes)
    channel = FileInput(stream.name, section.body_offset)
    try:
        done = 0
        while done < len(body) and (count := channel.read_into(memoryview(body)[done:])):
            done += count
    finally:
        channel.close()
    return decode_section(replace(section, body=bytes(body[:done])))
