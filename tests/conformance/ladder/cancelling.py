"""Cases that cancel a migration at a chosen status."""

from __future__ import annotations

from .guestmem import wait_for_dirty_memory
from .pair import Pair, capabilities, parameters, wait_status
from .table import CASES, Case, Play

_PREFIX = "cancel/src/after/"


def _uri(pair: Pair) -> str:
    return f"unix:{pair.setting.folder}/migsocket"


def _failed(pair: Pair) -> None:
    pair.start(quiet=True)
    pair.wait_source_guest()
    pair.converging()
    pair.migrate(_uri(pair))
    pair.source.qmp.wait_migration_event("failed")
    pair.source.qmp.ok("migrate_cancel")
    wait_status(pair.source, "failed", never={"completed"})
    pair.end(memory=False)


def _none(pair: Pair) -> None:
    pair.start(quiet=True)
    pair.target.qmp.ok("migrate_cancel")
    pair.wait_source_guest()
    pair.source.qmp.ok("migrate_cancel")
    pair.listen(_uri(pair), exit_on_error=False)
    pair.converging()
    pair.migrate(_uri(pair))
    pair.completed(pair.source)
    pair.completed(pair.target)
    pair.end(memory=False)


def _completed(pair: Pair) -> None:
    pair.start(quiet=True)
    pair.listen(_uri(pair), exit_on_error=False)
    pair.wait_source_guest()
    pair.converging()
    pair.migrate(_uri(pair))
    pair.source.qmp.wait_migration_event("completed")
    pair.source.qmp.ok("migrate_cancel")
    pair.completed(pair.source)
    pair.completed(pair.target)
    pair.end(memory=False)


def _twice(status: str) -> Play:
    """Cancel, wait for ``status``, and cancel again."""

    def play(pair: Pair) -> None:
        pair.start(quiet=True)
        pair.listen(_uri(pair), exit_on_error=False)
        pair.wait_source_guest()
        pair.converging()
        pair.migrate(_uri(pair))
        pair.source.qmp.ok("migrate_cancel")
        pair.source.qmp.wait_migration_event(status)
        pair.source.qmp.ok("migrate_cancel")
        wait_status(pair.source, "cancelled", never={"completed"})
        wait_status(pair.target, "failed", never={"completed"})
        pair.end(memory=False)

    return play


def _at(status: str) -> Play:
    """Cancel when ``status`` was announced, with several channels and a pause at the end."""

    def play(pair: Pair) -> None:
        pair.start(quiet=True)
        capabilities([pair.source], "pause-before-switchover")
        capabilities(pair.both, "multifd")
        pair.listen(_uri(pair), exit_on_error=False)
        pair.wait_source_guest()
        pair.converging()
        pair.migrate(_uri(pair))
        pair.source.qmp.wait_migration_event(status)
        pair.source.qmp.ok("migrate_cancel")
        wait_status(pair.source, "cancelled", never={"completed"})
        wait_status(pair.target, "failed", never={"completed"})
        pair.end(memory=False)

    return play


def _second_target(pair: Pair) -> None:
    """Cancel a migration over several channels, and send the guest to another target."""

    def prepare_target() -> None:
        parameters(pair.target, multifd_channels=16)
        capabilities([pair.target], "multifd")
        pair.listen("tcp:127.0.0.1:0")

    pair.start(quiet=True)
    pair.not_converging()
    pair.prepare_dirty_memory()
    parameters(pair.source, multifd_channels=16)
    capabilities([pair.source], "multifd")
    prepare_target()
    pair.wait_source_guest()
    pair.migrate()
    wait_for_dirty_memory(pair.source, pair.target)
    pair.source.qmp.ok("migrate_cancel")
    pair.target.status = 1
    pair.target.wait_end()
    wait_status(pair.source, "cancelled")

    pair.start_target("defer", ("-m", "150M"))
    prepare_target()
    pair.not_converging()
    pair.migrate()
    wait_for_dirty_memory(pair.source, pair.target)
    pair.converging()
    pair.source.qmp.wait_flag("STOP")
    pair.target.qmp.wait_flag("RESUME")
    pair.target.wait_serial()
    pair.completed(pair.source)
    pair.end(memory=True)


def register() -> None:
    """Register these cases."""
    rows = (
        ("failed", 1, _failed),
        ("none", 2, _none),
        ("completed", 2, _completed),
        ("cancelling", 3, _twice("cancelling")),
        ("cancelled", 3, _twice("cancelled")),
        ("setup", 4, _at("setup")),
        ("active", 4, _at("active")),
        ("pre-switchover", 4, _at("pre-switchover")),
    )
    for name, level, play in rows:
        CASES[_PREFIX + name] = Case(_PREFIX + name, level, play)
    name = "multifd/tcp/plain/cancel"
    CASES[name] = Case(name, 4, _second_target)
