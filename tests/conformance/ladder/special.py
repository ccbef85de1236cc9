"""Cases with a course of their own."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from .analysis import analyse
from .guestmem import wait_for_dirty_memory
from .pair import (
    Pair,
    capabilities,
    migration,
    parameters,
    passes_of,
    ram,
    wait_failed,
    wait_status,
)
from .precopy import inet_channel
from .table import CASES, Case, Play
from .wire import check, poll

_UUIDS = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")
_RAM_PAGES = 150 << 8
_SHARED_LIMIT_BYTES = 4 << 20


def _both_or_neither(*, both: bool) -> Play:
    def play(pair: Pair) -> None:
        pair.start(quiet=True)
        pair.wait_source_guest()
        given = {"uri": "tcp:127.0.0.1:0", "channels": inet_channel("0")} if both else {}
        pair.source.qmp.refused("migrate", **given)
        pair.end(memory=False)

    return play


def _bad_offset(pair: Pair) -> None:
    pair.start(quiet=True)
    pair.wait_source_guest()
    pair.converging()
    pair.source.qmp.refused("migrate", uri=f"file:{pair.setting.folder}/migfile,offset=0x20M")
    pair.end(memory=False)


def _bad_destination(pair: Pair) -> None:
    pair.start("tcp:127.0.0.1:0", quiet=True)
    pair.migrate("tcp:127.0.0.1:0")
    wait_failed(pair.source, active=False)
    pair.end(memory=False)


def _uuid(source: str | None, target: str | None, *, fails: bool = False) -> Play:
    def play(pair: Pair) -> None:
        uri = f"unix:{pair.setting.folder}/migsocket"
        options = [("-uuid", uuid) if uuid else () for uuid in (source, target)]
        pair.start(uri, source=options[0], target=options[1], quiet=fails)
        capabilities([pair.source], "validate-uuid")
        parameters(pair.source, downtime_limit=1_000_000)
        pair.wait_source_guest()
        pair.migrate(uri)
        if fails:
            pair.target.status = 1
            wait_failed(pair.source, active=True)
        else:
            pair.completed(pair.source)
        pair.end(memory=False)

    return play


def _analysis(pair: Pair) -> None:
    path = pair.setting.folder / "migfile"
    pair.start("tcp:127.0.0.1:0", both=("-uuid", _UUIDS[0]), quiet=True)
    capabilities([pair.source], "validate-uuid", "x-ignore-shared")
    pair.wait_source_guest()
    pair.converging()
    pair.migrate(f"exec:cat > {path}")
    pair.completed(pair.source)
    pages = analyse(path.read_bytes())
    check(pages.get("pc.ram", 0) >= _RAM_PAGES, f"pages of RAM: {pages}")
    pair.end(memory=False)


# Shared memory.


@contextlib.contextmanager
def _shared_memory():
    path = Path(f"/dev/shm/qemu-{os.getpid()}-{time.monotonic_ns()}")
    backend = f"memory-backend-file,id=mem0,size=150M,mem-path={path},share=on"
    try:
        yield ("-m", "150M", "-object", backend, "-numa", "node,memdev=mem0")
    finally:
        path.unlink(missing_ok=True)


def _ignore_shared(pair: Pair) -> None:
    uri = f"unix:{pair.setting.folder}/migsocket"
    with _shared_memory() as memory:
        pair.start(uri, memory=memory)
    pair.not_converging()
    pair.prepare_dirty_memory()
    capabilities(pair.both, "x-ignore-shared")
    pair.wait_source_guest()
    pair.migrate(uri)
    wait_for_dirty_memory(pair.source, pair.target)
    pair.converging()
    pair.source.qmp.wait_flag("STOP")
    pair.target.qmp.wait_flag("RESUME")
    pair.target.wait_serial()
    pair.completed(pair.source)
    check(ram(pair.source, "transferred") < _SHARED_LIMIT_BYTES, "shared memory was sent")
    pair.end(memory=True)


def _reboot(pair: Pair) -> None:
    uri = f"file:{pair.setting.folder}/migfile"
    with _shared_memory() as memory:
        pair.start(memory=memory)
    for instance in pair.both:
        parameters(instance, mode="cpr-reboot")
    capabilities(pair.both, "x-ignore-shared")
    pair.wait_source_guest()
    pair.stop_source()
    pair.converging()
    pair.migrate(uri)
    pair.completed(pair.source)
    pair.listen(uri)
    pair.completed(pair.target)
    pair.target.qmp.ok("cont")
    pair.wait_target_guest()
    pair.end(memory=True)


# Throttling.


def _auto_converge(pair: Pair) -> None:
    uri = f"unix:{pair.setting.folder}/migsocket"
    pair.start(uri)
    capabilities([pair.source], "auto-converge")
    parameters(pair.source, cpu_throttle_initial=5, cpu_throttle_increment=25, max_cpu_throttle=95)
    pair.not_converging()
    capabilities([pair.source], "pause-before-switchover")
    pair.wait_source_guest()
    pair.migrate(uri)

    def throttle() -> int:
        value = migration(pair.source).get("cpu-throttle-percentage", 0)
        assert isinstance(value, int)
        return value

    poll(throttle, "the throttle")
    check("STOP" not in pair.source.qmp.seen, "the guest was stopped before it was throttled")
    check(throttle() >= 5, f"the throttle begins with {throttle()} %")
    poll(lambda: passes_of(pair.source) >= 2, "the second pass")
    begun = passes_of(pair.source)
    poll(lambda: passes_of(pair.source) > begun, "one more pass")
    pair.converging()
    wait_status(pair.source, "pre-switchover")
    check(throttle() <= 95, f"the throttle ends with {throttle()} %")
    pair.source.qmp.ok("migrate-continue", state="pre-switchover")
    pair.target.qmp.wait_flag("RESUME")
    pair.target.wait_serial()
    pair.completed(pair.source)
    pair.end(memory=True)


_CASES = (
    # Name, level, what it does.
    ("validate_uri/channels/both_set", 1, _both_or_neither(both=True)),
    ("validate_uri/channels/none_set", 1, _both_or_neither(both=False)),
    ("precopy/file/offset/bad", 1, _bad_offset),
    ("bad_dest", 1, _bad_destination),
    ("validate_uuid", 2, _uuid(_UUIDS[0], _UUIDS[0])),
    ("validate_uuid_error", 2, _uuid(_UUIDS[0], _UUIDS[1], fails=True)),
    ("validate_uuid_src_not_set", 2, _uuid(None, _UUIDS[1])),
    ("validate_uuid_dst_not_set", 2, _uuid(_UUIDS[0], None)),
    ("analyze-script", 2, _analysis),
    ("ignore-shared", 3, _ignore_shared),
    ("mode/reboot", 3, _reboot),
)


def register() -> None:
    """Register these cases."""
    for name, level, play in _CASES:
        CASES[name] = Case(name, level, play)
    CASES["auto_converge"] = Case("auto_converge", 3, _auto_converge, slow=True)
