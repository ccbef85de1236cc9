"""What an outgoing migration opens with: the form of RAM, its blocks, and who writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..qapi.enums import Capability, ZeroPageDetection
from ..stream.items import BlockInfo
from ..stream.options import StreamOptions
from ..stream.outfile import OutFile
from ..stream.writer import StreamWriter
from .ram_sender import RamSender
from .run import Transfer
from .snapshot_sender import SnapshotSender

if TYPE_CHECKING:
    from ..channel.base import OutputChannel
    from ..ram.block import RAMBlock
    from .outgoing import Outgoing


def open_transfer(engine: Outgoing, channel: OutputChannel) -> Transfer:
    """Return everything that writes to ``channel`` in the form that the capabilities ask for."""
    out = OutFile(channel)
    snapshot = Capability.BACKGROUND_SNAPSHOT in engine.vm.capabilities
    sender = (SnapshotSender if snapshot else RamSender)(
        copied_blocks(engine),
        detect_zero=detects_zero_pages(engine),
        chunk_shift=engine.vm.switches.clear_bitmap_shift,
    )
    return Transfer(channel, out, open_writer(engine, out), sender)


def open_writer(engine: Outgoing, out: OutFile) -> StreamWriter:
    """Return the writer of the stream, with RAM in the form of the capabilities."""
    switches = engine.vm.switches
    options = StreamOptions(
        footers=switches.send_section_footer, configuration=switches.send_configuration
    )
    return StreamWriter(out, options=options, mapped_ram=engine.mapped_ram)


def announcements(engine: Outgoing) -> list[BlockInfo]:
    """Every migratable block, copied or not; with its address under ``x-ignore-shared``."""
    addresses = engine.ignore_shared and not engine.mapped_ram
    return [
        BlockInfo(block.name, block.used_bytes, block.address if addresses else None)
        for block in engine.vm.ram.migratable()
    ]


def copied_blocks(engine: Outgoing) -> list[RAMBlock]:
    """Return the blocks whose pages this migration copies, in announcement order."""
    policy, ignore = engine.current().policy, engine.ignore_shared
    return [
        block
        for block in engine.vm.ram
        if policy.copies(block, ignore_shared=ignore) and not block.is_blank_firmware
    ]


def detects_zero_pages(engine: Outgoing) -> bool:
    """Return whether anyone looks for zero pages."""
    return engine.vm.parameters.zero_page_detection is not ZeroPageDetection.NONE


def stored_uuid(engine: Outgoing) -> bytes | None:
    """Return the UUID that goes into the stream, or None."""
    return engine.vm.uuid if Capability.VALIDATE_UUID in engine.vm.capabilities else None
