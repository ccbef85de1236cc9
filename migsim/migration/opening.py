"""What an outgoing migration opens with: the form of RAM, its blocks, and who writes them."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from ..channel.base import AnsweredChannel
from ..qapi.enums import Capability, MultiFDCompression, ZeroPageDetection
from ..stream.engine_ram import MultifdPassWriter, XbzrleWriter
from ..stream.items import BlockInfo
from ..stream.mapped_writer import MappedWriter
from ..stream.multifd_writer import NO_UUID, MultifdWriter
from ..stream.options import StreamOptions
from ..stream.outfile import OutFile
from ..stream.ram_writer import RamWriter, RecordWriter
from ..stream.writer import StreamWriter
from ..stream.xbzrle_cache import XbzrleCache
from .answers import Answers
from .ram_sender import RamSender
from .run import Transfer
from .snapshot_sender import SnapshotSender

if TYPE_CHECKING:
    from ..channel.base import OutputChannel
    from ..ram.block import RAMBlock
    from .outgoing import Outgoing


def open_transfer(
    engine: Outgoing, channel: OutputChannel, further: tuple[OutputChannel, ...] = ()
) -> Transfer:
    """Return everything that writes, in the form that the capabilities ask for.

    ``further`` are the channels of multifd, which get their initial packets at once.
    """
    out = OutFile(channel)
    snapshot = Capability.BACKGROUND_SNAPSHOT in engine.vm.capabilities
    sender = (SnapshotSender if snapshot else RamSender)(
        copied_blocks(engine),
        detect_zero=detects_zero_pages(engine),
        chunk_shift=engine.vm.switches.clear_bitmap_shift,
    )
    ram = open_ram(engine, out, further)
    return Transfer(
        channel,
        out,
        open_writer(engine, out, ram),
        sender,
        further,
        xbzrle=ram if isinstance(ram, XbzrleWriter) else None,
        answers=open_answers(engine, channel),
    )


def open_ram(engine: Outgoing, out: OutFile, further: tuple[OutputChannel, ...]) -> RamWriter:
    """Return what writes RAM."""
    if engine.mapped_ram:
        return MappedWriter(out, multifd=Capability.MULTIFD in engine.vm.capabilities)
    if further:
        return MultifdPassWriter(
            out,
            open_multifd(engine, further),
            detection=engine.vm.parameters.zero_page_detection,
            per_section=engine.vm.switches.multifd_flush_after_each_section,
        )
    if Capability.XBZRLE in engine.vm.capabilities:
        return open_xbzrle(engine, out)
    return RecordWriter(out)


def open_multifd(engine: Outgoing, further: tuple[OutputChannel, ...]) -> MultifdWriter:
    """Return what writes to the channels of multifd."""
    params = engine.vm.parameters
    compression = params.multifd_compression
    zlib = compression is MultiFDCompression.ZLIB
    return MultifdWriter(
        further,
        compression=compression,
        level=params.multifd_zlib_level if zlib else params.multifd_zstd_level,
        uuid=engine.vm.uuid or NO_UUID,
    )


def open_xbzrle(engine: Outgoing, out: OutFile) -> XbzrleWriter:
    """Return what writes records and deltas; blocks lie one behind another in the cache's eyes."""
    blocks = list(engine.vm.ram)
    ends = list(accumulate(block.max_pages for block in blocks))
    firsts = {block.name: end - block.max_pages for block, end in zip(blocks, ends, strict=True)}
    stats = engine.current().counters.xbzrle
    return XbzrleWriter(
        out, XbzrleCache(engine.vm.parameters.xbzrle_cache_size, stats=stats), firsts
    )


def open_answers(engine: Outgoing, channel: OutputChannel) -> Answers | None:
    """Return the return path, None where none is asked for or the channel has no other way."""
    wanted = engine.wants_answers
    return Answers(channel) if wanted and isinstance(channel, AnsweredChannel) else None


def open_plain_writer(engine: Outgoing, out: OutFile) -> StreamWriter:
    """Return a writer of plain records."""
    return open_writer(engine, out, RecordWriter(out))


def open_writer(engine: Outgoing, out: OutFile, ram: RamWriter) -> StreamWriter:
    """Return the writer of the stream, whose RAM ``ram`` writes."""
    switches = engine.vm.switches
    options = StreamOptions(
        footers=switches.send_section_footer, configuration=switches.send_configuration
    )
    return StreamWriter(out, options=options, mapped_ram=engine.mapped_ram, ram=ram)


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
