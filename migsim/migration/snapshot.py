"""background-snapshot: the state of one moment, saved while the guest goes on.

::

    SETUP -> ACTIVATE: guest stops -> DEVICES: their state is kept, RAM is protected
          -> ITERATE: guest goes on, RAM is saved -> FINISH: the kept state follows

No dirty log, no passes, no rate limit, no switchover; the guest keeps its run state at the end
(spec lifecycle.md section 6, QEMU 10.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import AbortError
from ..qapi.enums import MigrationStatus, RunState
from ..stream.wire import EOS_BYTES
from .completion import write_devices
from .convergence import elapsed_ms
from .notifiers import NotifyEvent
from .precopy import write_setup
from .run import RAM_SECTION_ID, Stage
from .snapshot_sender import SnapshotSender
from .work import Phase, Work

if TYPE_CHECKING:
    from .outgoing import Outgoing


def set_up(engine: Outgoing, now: float, _max_pages: int) -> Work:
    """Write header, configuration and the block list."""
    run, to = engine.current(), engine.transfer()
    before = to.out.position
    run.worker_s = now
    run.convergence.start(now, to.out.transferred)
    to.sender.begin()
    write_setup(engine)
    run.stage = Stage.ACTIVATE
    return Work(bytes_out=to.out.position - before, phase=Phase.SETUP)


def freeze(engine: Outgoing, now: float, _max_pages: int) -> Work:
    """Stop the guest for the moment that is saved.

    Raises:
        AbortError: strict profile, the guest is in a run state that QEMU cannot pause.
    """
    run, vm = engine.current(), engine.vm
    run.setup_ms = elapsed_ms(run.worker_s, now)
    engine.status.move(MigrationStatus.SETUP, MigrationStatus.ACTIVE)
    if vm.run.live:
        engine.stop_guest(now, RunState.PAUSED)
    elif vm.strict and vm.run.state is not RunState.PAUSED:
        hint = "QEMU cannot pause it for a background-snapshot; cont first"
        raise AbortError("migrate", vm.run.state.value, hint)
    else:
        engine.note_state(now)
    run.stage = Stage.DEVICES
    return Work(phase=Phase.STOP)


def keep_devices(engine: Outgoing, _now: float, _max_pages: int) -> Work:
    """Take the state of all devices, and protect RAM from here on."""
    run, sender = engine.current(), engine.transfer().sender
    assert isinstance(sender, SnapshotSender)
    run.kept_sections = engine.vm.save_sections(engine.stored_state, run.old_was_suspended)
    sender.protect()
    run.stage = Stage.ITERATE
    return Work(phase=Phase.DEVICE)


def iterate(engine: Outgoing, now: float, max_pages: int) -> Work:
    """Let the guest go on, and save one part of RAM."""
    run, to = engine.current(), engine.transfer()
    if run.old_state is not None:
        engine.resume_guest()
        run.old_state = None
        run.downtime_ms = elapsed_ms(now if run.stopped_s is None else run.stopped_s, now)
    if run.convergence.window_over(now):
        engine.close_window(now)
    to.writer.begin_part(RAM_SECTION_ID)
    work = to.sender.send(to.writer, stop_above=None, max_pages=max_pages)
    run.counters.add(work, guest_runs=engine.guest_runs)
    to.writer.end_ram_part(RAM_SECTION_ID)
    run.counters.book(EOS_BYTES, guest_runs=engine.guest_runs)
    run.transferred = to.out.transferred
    if not to.sender.dirty_pages:
        run.stage = Stage.FINISH
    return work


def finish(engine: Outgoing, now: float, _max_pages: int) -> Work:
    """Write the device state of the moment, close the channel and end as ``completed``."""
    run, to = engine.current(), engine.transfer()
    before = to.out.position
    write_devices(engine, run.kept_sections)
    to.channel.close()
    engine.note_times(now)
    engine.status.move(MigrationStatus.ACTIVE, MigrationStatus.COMPLETED)
    engine.notify(NotifyEvent.DONE)
    engine.release()
    return Work(bytes_out=to.out.position - before, phase=Phase.CLEANUP)
