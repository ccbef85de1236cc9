"""The end of a migration: what is left of RAM, the devices, and the source afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import AbortError, ChannelError, TransitionError
from ..qapi.enums import MigrationStatus, RunState
from ..stream.wire import EOS_BYTES, CommandKind, SectionType
from .convergence import elapsed_ms
from .notifiers import NotifyEvent
from .run import RAM_SECTION_ID, Stage
from .work import Phase, Work

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..stream.writer import StreamWriter
    from .environment import SavedSection
    from .outgoing import Outgoing


def wait_for_continue(_engine: Outgoing, _now: float, _max_pages: int) -> Work:
    """Wait for ``migrate-continue``."""
    return Work(idle=True)


def final_sync(engine: Outgoing, now: float, max_pages: int) -> Work:
    """Open the last part of RAM and fetch the dirty logs for the last time."""
    run, to = engine.current(), engine.transfer()
    if engine.vm.switches.send_switchover_start:
        to.writer.command(CommandKind.SWITCHOVER_START)
    to.writer.begin_part(RAM_SECTION_ID, SectionType.END)
    work = engine.sync(now, in_loop=False)
    if to.xbzrle is not None:
        to.xbzrle.last_stage = True
    run.stage = Stage.FINAL_RAM
    sent = final_ram(engine, now, max_pages)
    sent.synced_pages = work.synced_pages
    return sent


def final_ram(engine: Outgoing, _now: float, max_pages: int) -> Work:
    """Send what is still dirty, as fast as the channel takes it."""
    run, to = engine.current(), engine.transfer()
    work = to.sender.send(to.writer, stop_above=None, max_pages=max_pages)
    run.counters.add(work, guest_runs=engine.guest_runs)
    engine.count_transferred()
    if not to.sender.dirty_pages:
        _refuse_shared_bitmaps(engine)
        before = to.writer.accounted
        to.writer.end_records()
        # The bitmaps of mapped-ram count as RAM, the end record of completion does not.
        bitmaps = to.writer.accounted - before - EOS_BYTES
        run.counters.book(bitmaps, guest_runs=engine.guest_runs)
        to.writer.footer(RAM_SECTION_ID)
        run.stage = Stage.DEVICES
    return work


def devices(engine: Outgoing, _now: float, _max_pages: int) -> Work:
    """Write the state of all devices, the end mark and the description."""
    run, to, vm = engine.current(), engine.transfer(), engine.vm
    before = to.writer.accounted
    write_devices(engine, vm.save_sections(engine.stored_state, run.old_was_suspended))
    run.stage = Stage.FINISH
    return Work(bytes_out=to.writer.accounted - before, phase=Phase.DEVICE)


def send_devices(writer: StreamWriter, sections: Iterable[SavedSection]) -> None:
    """Write device sections."""
    for section in sections:
        writer.opaque_device(
            section.section_id,
            section.name,
            section.instance_id,
            section.version,
            section.body,
            entry=section.description,
        )


def write_devices(engine: Outgoing, sections: Iterable[SavedSection]) -> None:
    """Write device sections, the end mark and the description."""
    to = engine.transfer()
    send_devices(to.writer, sections)
    to.writer.finish(description=not engine.vm.suppress_vmdesc)
    engine.count_transferred()


def finish(engine: Outgoing, now: float, _max_pages: int) -> Work:
    """Close the channel, work out the times and end as ``completed``."""
    run = engine.current()
    if not _answered(engine):
        return Work(idle=True)
    engine.transfer().close()
    if run.downtime_ms is None:
        run.downtime_ms = elapsed_ms(now if run.stopped_s is None else run.stopped_s, now)
    engine.note_times(now)
    engine.status.move(engine.status.value, MigrationStatus.COMPLETED)
    _enter_postmigrate(engine)
    engine.notify(NotifyEvent.DONE)
    engine.release()
    return Work(phase=Phase.CLEANUP)


def _enter_postmigrate(engine: Outgoing) -> None:
    try:
        engine.vm.run.set(RunState.POSTMIGRATE)
    except TransitionError as error:
        hint = "the mode was changed while the migration ran, so the guest was never stopped"
        raise AbortError("migrate", engine.vm.run.state.value, hint) from error


def _answered(engine: Outgoing) -> bool:
    """Whether the target has said its last word on the return path, if there is one.

    A file or pipe cannot answer, which QEMU finds out at the very end.
    """
    if not engine.wants_answers:
        return True
    answers = engine.transfer().answers
    if answers is None:
        raise ChannelError("return path", "read", "the channel carries bytes one way only")
    if answers.over:
        answers.check()
    return answers.over


def _refuse_shared_bitmaps(engine: Outgoing) -> None:
    """An ignored block has no bitmap, over which QEMU 10.0 stumbles at the very end."""
    if engine.mapped_ram and engine.ignore_shared:
        for block in engine.vm.ram.migratable():
            if block.ignorable:
                reason = f"block {block.name} is shared: switch x-ignore-shared off"
                raise ChannelError("mapped-ram", "write", reason)
