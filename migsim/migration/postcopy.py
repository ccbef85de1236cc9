"""The sending side of postcopy: the target runs ahead of its RAM, which follows.

::

    ITERATE -> guest stops -> [pre-switchover] -> HAND_OFF: what is dirty, devices in a package
            -> POSTCOPY: asked-for pages first -> POSTCOPY_END -> FINISH
                   |  ^
       channel lost v  | resume: the target tells what it has
                 PAUSED -> RECOVER

Until the package has left, a failure gives the guest back; from then on it lives on the target, so
a lost channel only pauses (spec stream.md section 9, lifecycle.md section 6, QEMU 10.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..channel.memory import MemoryOutput
from ..errors import ChannelError, StateError, StreamError
from ..qapi.enums import Capability, MigrationStatus
from ..ram.bitmap import DirtyBitmap
from ..stream.names import encode_name
from ..stream.outfile import OutFile
from ..stream.postcopy import (
    DISCARD_PING,
    PACKAGE_PING,
    RUN_PING,
    encode_discards,
)
from ..stream.return_path import PagesRequest, ReceivedBitmap, ResumeAck
from ..stream.wire import EOS_BYTES, U32, CommandKind, SectionType
from ..units import PAGE_SIZE
from .completion import finish, send_devices
from .convergence import elapsed_ms
from .opening import open_answers, open_plain_writer
from .run import RAM_SECTION_ID, Stage, Transfer
from .since import PACKAGE_STATUS_SINCE
from .work import Phase, Work

if TYPE_CHECKING:
    from ..channel.base import OutputChannel
    from ..stream.return_path import Message
    from .outgoing import Outgoing
    from .ram_sender import RamSender


def hand_off(engine: Outgoing, now: float, _max_pages: int) -> Work:
    """Tell the target what to forget, and send it the devices; from here on it runs the guest."""
    run, to = engine.current(), engine.transfer()
    before = to.writer.accounted
    if engine.vm.switches.send_switchover_start:
        to.writer.command(CommandKind.SWITCHOVER_START)
    work = engine.sync(now, in_loop=False)
    to.writer.plain_records()
    for block, pfns in to.sender.dirty():
        for data in encode_discards(block.name, pfns):
            to.writer.command(CommandKind.POSTCOPY_RAM_DISCARD, data)
    to.writer.command(CommandKind.PING, U32.pack(DISCARD_PING))
    package = _package(engine)
    to.writer.command(CommandKind.PACKAGED, U32.pack(len(package)))
    to.writer.opaque_part(package)
    to.out.flush()
    run.downtime_ms = elapsed_ms(now if run.stopped_s is None else run.stopped_s, now)
    to.writer.command(CommandKind.PING, U32.pack(RUN_PING))
    to.out.flush()
    engine.count_transferred()
    run.stage = Stage.POSTCOPY
    if engine.vm.release.has(PACKAGE_STATUS_SINCE):
        engine.status.move(MigrationStatus.DEVICE, MigrationStatus.POSTCOPY_DEVICE)
    else:
        engine.status.move(MigrationStatus.DEVICE, MigrationStatus.POSTCOPY_ACTIVE)
    work.bytes_out = to.writer.accounted - before
    work.phase = Phase.DEVICE
    return work


def _package(engine: Outgoing) -> bytes:
    """Return the sections that the target needs to run the guest, as a stream of their own."""
    run, vm = engine.current(), engine.vm
    buffer = MemoryOutput()
    out = OutFile(buffer)
    writer = open_plain_writer(engine, out)
    writer.command(CommandKind.POSTCOPY_LISTEN)
    send_devices(writer, vm.save_sections(engine.stored_state, run.old_was_suspended))
    writer.command(CommandKind.PING, U32.pack(PACKAGE_PING))
    writer.command(CommandKind.POSTCOPY_RUN)
    out.flush()
    return buffer.getvalue()


def iterate(engine: Outgoing, now: float, max_pages: int) -> Work:
    """Send what the target asks for at once, and the rest within the limit of postcopy."""
    run, to, params = engine.current(), engine.transfer(), engine.vm.parameters
    if PACKAGE_PING in (to.answers.pongs if to.answers else ()):
        engine.status.move(MigrationStatus.POSTCOPY_DEVICE, MigrationStatus.POSTCOPY_ACTIVE)
    _check_channel(engine)
    engine.count_transferred()
    if run.convergence.window_over(now):
        engine.close_window(now)
    limit = params.max_postcopy_bandwidth
    exceeded = run.convergence.exceeded(run.transferred, limit)
    if not to.sender.dirty_pages:
        run.stage = Stage.POSTCOPY_END
        return end(engine, now, max_pages)
    if exceeded and not to.sender.asked_for:
        return Work(wake_at=run.convergence.wake_at)
    budget = run.convergence.budget_bytes(limit)
    above = None if budget is None else run.convergence.rate_base_bytes + budget
    to.writer.begin_part(RAM_SECTION_ID)
    work = to.sender.send_asked(to.writer)
    if not exceeded:
        engine.add(work)
        work = to.sender.send(to.writer, stop_above=above, max_pages=max_pages)
    engine.add(work)
    to.writer.end_ram_part(RAM_SECTION_ID)
    to.out.flush()
    run.counters.postcopy_bytes += EOS_BYTES
    engine.count_transferred()
    return work


def end(engine: Outgoing, _now: float, _max_pages: int) -> Work:
    """Close the section of RAM, and the stream."""
    run, to = engine.current(), engine.transfer()
    to.writer.begin_part(RAM_SECTION_ID, SectionType.END)
    to.writer.end_ram_part(RAM_SECTION_ID)
    to.writer.finish(description=False)
    engine.count_transferred()
    run.stage = Stage.POSTCOPY_FINISH
    return Work(phase=Phase.CLEANUP)


def wait_for_shut(engine: Outgoing, now: float, max_pages: int) -> Work:
    """Wait for the target's last word, and end as ``completed``; a lost channel pauses."""
    to = engine.transfer()
    if to.answers is not None and to.answers.shut is None:
        _check_channel(engine)
        return Work(idle=True)
    # A target that loads a package of no more than RAM's end may be done before it said so.
    engine.status.move(MigrationStatus.POSTCOPY_DEVICE, MigrationStatus.POSTCOPY_ACTIVE)
    return finish(engine, now, max_pages)


def _check_channel(engine: Outgoing) -> None:
    """Raise ChannelError if the target has hung up without its last word."""
    answers = engine.transfer().answers
    if answers is not None and answers.problem is not None:
        answers.check()


def heed(engine: Outgoing, message: Message) -> None:
    """Do what the target asks for on the return path."""
    run, to = engine.current(), engine.transfer()
    match message:
        case PagesRequest():
            first = message.start // PAGE_SIZE
            pfns = np.arange(first, first + message.size_bytes // PAGE_SIZE)
            to.sender.ask_for(message.block, pfns)
            run.counters.postcopy_requests += 1
        case ReceivedBitmap() if run.stage is Stage.RECOVER:
            _take_received(to.sender, message)
            run.bitmaps_awaited.discard(message.block)
        case ResumeAck() if run.stage is Stage.RECOVER:
            run.resume_acked = True
        case _:
            pass


def _take_received(sender: RamSender, message: ReceivedBitmap) -> None:
    """Call dirty what the target says it does not have.

    Raises:
        ChannelError: it tells of another block, or of another number of pages.
    """
    pages = sender.pages_of(message.block)
    if pages is None:
        raise ChannelError("return path", "read", f"no block is called {message.block!r}")
    try:
        received = DirtyBitmap.from_bytes(pages, message.bitmap)
    except (ValueError, StreamError) as error:
        reason = f"the bitmap of {message.block} does not fit: {error}"
        raise ChannelError("return path", "read", reason) from error
    missing = DirtyBitmap(pages)
    missing.set_all()
    missing.subtract(received)
    sender.replace_dirty(message.block, missing)


# Pause and resume.


def pause(engine: Outgoing, error: ChannelError) -> Work:
    """Let go of a channel that is lost; RAM is kept until the target can be reached again."""
    run = engine.current()
    engine.error = error
    park(engine)
    run.stage = Stage.PAUSED
    engine.status.move(MigrationStatus.POSTCOPY_DEVICE, MigrationStatus.POSTCOPY_ACTIVE)
    engine.status.move(engine.status.value, MigrationStatus.POSTCOPY_PAUSED)
    return Work(idle=True)


def park(engine: Outgoing) -> None:
    """Close the channels and keep what has to be sent."""
    run = engine.current()
    if run.transfer is None:
        return
    run.parked, transfer = run.transfer.sender, run.transfer
    run.parked.forget_asked()
    run.earlier_bytes = run.transferred
    run.transfer = None
    for channel in transfer.channels:
        try:
            channel.close()
        except ChannelError:
            continue


def wait_for_resume(_engine: Outgoing, _now: float, _max_pages: int) -> Work:
    """Wait for ``migrate`` with ``resume``."""
    return Work(idle=True)


def resume(engine: Outgoing, channel: OutputChannel, now: float) -> None:
    """Go on over a new channel: ask the target which pages it has."""
    run = engine.current()
    assert run.parked is not None
    out = OutFile(channel)
    run.transfer = Transfer(
        channel,
        out,
        open_plain_writer(engine, out),
        run.parked,
        answers=open_answers(engine, channel),
    )
    run.parked = None
    engine.error = None
    run.convergence.start(now, run.earlier_bytes)
    run.resume_acked = run.resume_asked = False
    run.stage = Stage.RECOVER
    engine.status.move(MigrationStatus.POSTCOPY_RECOVER_SETUP, MigrationStatus.POSTCOPY_RECOVER)
    if run.transfer.answers is None:
        raise ChannelError("return path", "open", "the channel carries bytes one way only")
    names = [block.name for block in engine.vm.ram.migratable()]
    run.bitmaps_awaited = set(names)
    for name in names:
        run.transfer.writer.command(CommandKind.RECV_BITMAP, encode_name(name))
    out.flush()


def recover(engine: Outgoing, _now: float, _max_pages: int) -> Work:
    """Wait for the bitmaps, then for the target's word that it is ready."""
    run, to = engine.current(), engine.transfer()
    _check_channel(engine)
    if run.bitmaps_awaited:
        return Work(idle=True)
    if not run.resume_asked:
        run.resume_asked = True
        to.writer.command(CommandKind.POSTCOPY_RESUME)
        to.out.flush()
        return Work()
    if not run.resume_acked:
        return Work(idle=True)
    to.writer.forget_block()
    run.stage = Stage.POSTCOPY
    engine.status.move(MigrationStatus.POSTCOPY_RECOVER, MigrationStatus.POSTCOPY_ACTIVE)
    return Work()


def check_may_start(engine: Outgoing) -> None:
    """Do nothing if ``migrate-start-postcopy`` may be given.

    Raises:
        StateError: the capability is off, or no migration was ever started.
    """
    if Capability.POSTCOPY_RAM not in engine.vm.capabilities:
        raise StateError("migrate-start-postcopy", "off", hint="switch on postcopy-ram first")
    if engine.status.value is MigrationStatus.NONE:
        raise StateError("migrate-start-postcopy", "none", hint="no migration was started")
