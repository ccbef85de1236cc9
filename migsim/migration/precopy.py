"""The precopy loop: setup, passes over dirty RAM, and the switchover that ends them.

Its order and its numbers are those of spec lifecycle.md section 6 (QEMU 10.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..qapi.enums import Capability, MigMode, MigrationStatus, RunState
from ..stream.postcopy import encode_advice
from ..stream.wire import EOS_BYTES, U32, CommandKind
from .answers import SETUP_PING
from .convergence import elapsed_ms
from .opening import announcements, stored_uuid
from .run import RAM_SECTION_ID, Stage
from .since import DEVICE_STATUS_SINCE, EARLY_STOP_SINCE, SUSPENDED_SINCE
from .work import Phase, Work

if TYPE_CHECKING:
    from .outgoing import Outgoing


def set_up(engine: Outgoing, now: float, _max_pages: int) -> Work:
    """Write header, configuration and the block list; call all RAM dirty; first sync."""
    run, to, vm = engine.current(), engine.transfer(), engine.vm
    run.worker_s = now
    run.convergence.start(now, to.writer.transferred)
    if Capability.AUTO_CONVERGE in vm.capabilities:
        run.dirty_rate.throttle.start_timer(now, 0)
    before = to.writer.accounted
    to.sender.begin()
    work = engine.sync(now, first=True)
    write_setup(engine)
    run.stage = Stage.ACTIVATE
    work.bytes_out = to.writer.accounted - before
    work.phase = Phase.SETUP
    return work


def write_setup(engine: Outgoing) -> None:
    """Write header, configuration and the block list."""
    to, vm = engine.transfer(), engine.vm
    to.writer.header()
    if vm.switches.send_configuration:
        stored = [capability.value for capability in vm.capabilities.in_stream]
        to.writer.configuration(vm.machine_name, stored, stored_uuid(engine))
    if engine.wants_answers:
        to.writer.command(CommandKind.OPEN_RETURN_PATH)
        to.writer.command(CommandKind.PING, U32.pack(SETUP_PING))
    if engine.may_postcopy:
        to.writer.command(CommandKind.POSTCOPY_ADVISE, encode_advice())
    to.writer.ram_setup(RAM_SECTION_ID, announcements(engine))


def activate(engine: Outgoing, now: float, max_pages: int) -> Work:
    """Pass from ``setup`` to ``active`` and make the first turn of the loop."""
    run = engine.current()
    run.setup_ms = elapsed_ms(run.worker_s, now)
    engine.status.move(MigrationStatus.SETUP, MigrationStatus.ACTIVE)
    run.stage = Stage.ITERATE
    return iterate(engine, now, max_pages)


def iterate(engine: Outgoing, now: float, max_pages: int) -> Work:
    """One turn of the precopy loop: measure, wait, finish, or send one part."""
    run, params = engine.current(), engine.vm.parameters
    engine.count_transferred()
    if run.convergence.window_over(now):
        engine.close_window(now)
    if run.convergence.exceeded(run.transferred, params.max_bandwidth):
        return Work(wake_at=run.convergence.wake_at)
    work = Work()
    if run.dirty_rate.throttle.sync_due(now, run.counters.dirty_sync_count):
        work = engine.sync(now, in_loop=False)
    if engine.pending_bytes < run.convergence.threshold_bytes or (
        not engine.pending_bytes and engine.loop_counts
    ):
        work.synced_pages += engine.sync(now).synced_pages
    small = not engine.pending_bytes or engine.pending_bytes < run.convergence.threshold_bytes
    if small and engine.can_switch_over:
        stop = _switchover(engine, now)
        stop.synced_pages = work.synced_pages
        return stop
    if run.postcopy_wanted and engine.may_postcopy and engine.can_switch_over:
        if engine.loop_counts:
            work.synced_pages += engine.sync(now).synced_pages
        stop = _switchover(engine, now, Stage.HAND_OFF)
        stop.synced_pages = work.synced_pages
        return stop
    part = _send_part(engine, max_pages)
    part.synced_pages = work.synced_pages
    if small and not part.normal_pages + part.zero_pages:
        part.wake_at = run.convergence.wake_at  # nothing to do until the target is ready
    return part


def _send_part(engine: Outgoing, max_pages: int) -> Work:
    run, to = engine.current(), engine.transfer()
    budget = run.convergence.budget_bytes(engine.vm.parameters.max_bandwidth)
    limit = None if budget is None else run.convergence.rate_base_bytes + budget
    if to.xbzrle is not None:
        to.xbzrle.resize(engine.vm.parameters.xbzrle_cache_size)
    to.writer.begin_part(RAM_SECTION_ID)
    work = to.sender.send(to.writer, stop_above=limit, max_pages=max_pages)
    run.counters.add(work, guest_runs=engine.guest_runs)
    to.writer.end_ram_part(RAM_SECTION_ID)
    run.counters.book(EOS_BYTES, guest_runs=engine.guest_runs)
    engine.count_transferred()
    return work


def _switchover(engine: Outgoing, now: float, then: Stage = Stage.FINAL_SYNC) -> Work:
    """Stop the guest and leave the loop, to ``then`` or to pre-switchover."""
    run, vm = engine.current(), engine.vm
    run.behind_switchover = then
    stopped_first = run.policy.stops_first(vm.release)
    if vm.strict and vm.release.has(EARLY_STOP_SINCE):
        # QEMU asks the parameter of this moment, not the mode the migration began with.
        stopped_first = vm.parameters.mode is not MigMode.NORMAL
    if not stopped_first:
        if vm.run.state is RunState.SUSPENDED and not vm.release.has(SUSPENDED_SINCE):
            vm.wake_guest()
        engine.stop_guest(now)
    if Capability.PAUSE_BEFORE_SWITCHOVER in vm.capabilities:
        engine.status.move(MigrationStatus.ACTIVE, MigrationStatus.PRE_SWITCHOVER)
        run.stage = Stage.PRE_SWITCHOVER
    else:
        if vm.release.has(DEVICE_STATUS_SINCE):
            engine.status.move(MigrationStatus.ACTIVE, MigrationStatus.DEVICE)
        run.stage = then
    return Work(phase=Phase.STOP)
