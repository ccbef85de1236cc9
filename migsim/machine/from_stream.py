"""A machine that fits a stream: its type and its RAM blocks, as the stream announces them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..channel.file import FileInput
from ..errors import IncompatibleError
from ..ram.backends import BackendKind, BackendSpec, RamBackend
from ..ram.block import RAMBlock
from ..stream.items import BlockInfo, Configuration, RamBlocks, SectionEnd
from ..stream.reader import StreamReader
from .config import MachineConfig

if TYPE_CHECKING:
    import os

ROM_PREFIX = "/rom@"
"""Blocks of firmware tables: resizable, so that they may differ between releases of QEMU."""
ROM_ROOM_BYTES = 2 << 20
"""Room given to a resizable block that is announced smaller (bytes)."""


@dataclass(frozen=True, slots=True)
class StreamNeeds:
    """What a machine has to have so that a stream fits it.

    Attributes:
        machine: concrete machine type.
        capabilities: names of the checked capabilities that are on.
        uuid: 16 bytes, or None.
        blocks: RAM blocks in announcement order.
    """

    machine: str
    capabilities: tuple[str, ...]
    uuid: bytes | None
    blocks: tuple[BlockInfo, ...]

    @property
    def main(self) -> BlockInfo | None:
        """The block that is the guest's main RAM: the first announced, which is the largest."""
        return self.blocks[0] if self.blocks else None

    def config(self, memory: BackendSpec | None = None, **more: object) -> MachineConfig:
        """Return a machine that waits for the stream (``incoming`` is ``defer``).

        ``memory`` backs the main block, by default anonymous memory; ``more`` are further members
        of `MachineConfig`.
        """
        main = self.main
        if main is not None and memory is None:
            memory = BackendSpec(BackendKind.RAM, main.name, main.used_bytes)
        settings: dict[str, object] = {
            "machine": self.machine,
            "memory": memory,
            "ram_name": main.name if main else None,
            "extra_blocks": _blocks(self.blocks[1:]),
            "uuid": self.uuid,
            "incoming": "defer",
        }
        return MachineConfig(**(settings | more))  # type: ignore[arg-type]


def needs_of(path: str | os.PathLike[str], offset: int = 0) -> StreamNeeds:
    """Return what the stream in the file ``path`` needs; only its beginning is read.

    Raises:
        StreamError: it is malformed up to and including the list of its RAM blocks.
        ChannelError: the file cannot be read.
    """
    channel = FileInput(Path(path), offset)
    try:
        configuration: Configuration | None = None
        for item in StreamReader(channel):
            if isinstance(item, Configuration):
                configuration = item
            elif isinstance(item, RamBlocks | SectionEnd) and configuration is not None:
                blocks = item.blocks if isinstance(item, RamBlocks) else ()
                capabilities = configuration.capabilities or ()
                return StreamNeeds(
                    configuration.machine, tuple(capabilities), configuration.uuid, blocks
                )
        raise IncompatibleError(offset, "ram", "a list of RAM blocks", "the end of the stream")
    finally:
        channel.close()


def _blocks(infos: Sequence[BlockInfo]) -> tuple[RAMBlock, ...]:
    blocks = []
    for info in infos:
        resizable = info.name.startswith(ROM_PREFIX)
        room = max(info.used_bytes, ROM_ROOM_BYTES) if resizable else info.used_bytes
        blocks.append(
            RAMBlock(
                info.name,
                RamBackend(info.name, room),
                info.used_bytes,
                address=info.address or 0,
                resizable=resizable,
            )
        )
    return tuple(blocks)
