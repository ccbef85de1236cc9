"""Watching the migration of a process elsewhere, over its QMP socket, by asking alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .recording import Recording
from .sample import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..predict.qmpclient import ReadOnlyQmp

ENDED: Final = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process says about itself before it is watched.

    Attributes:
        version: of QEMU, as three numbers.
        ram_bytes: RAM of the guest.
        mode: migration mode by its QMP name.
        bandwidth_bytes_per_s: ``max-bandwidth``; 0 is no limit.
        downtime_limit_ms: ``downtime-limit``.
    """

    version: str
    ram_bytes: int
    mode: str
    bandwidth_bytes_per_s: int
    downtime_limit_ms: int


def settings_of(qmp: ReadOnlyQmp) -> Settings:
    """Return the settings of the process behind ``qmp``.

    Raises:
        ChannelError: it stopped answering.
        StateError: it refuses to answer.
    """
    version = qmp.ask("query-version")["qemu"]
    parameters: dict[str, Any] = qmp.ask("query-migrate-parameters")
    return Settings(
        f"{version['major']}.{version['minor']}.{version['micro']}",
        int(qmp.ask("query-memory-size-summary")["base-memory"]),
        str(parameters.get("mode", "normal")),
        int(parameters.get("max-bandwidth", 0)),
        int(parameters.get("downtime-limit", 300)),
    )


def watch(
    qmp: ReadOnlyQmp,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    every_s: float = 0.5,
    until_end: bool = True,
) -> Iterator[Sample]:
    """Yield a sample every ``every_s`` seconds, the last one when the migration has ended.

    A migration that was over before counts as not begun.  Without ``until_end`` it goes on for
    ever.  ``clock`` gives seconds and ``sleep`` takes them, so that a test needs no time.

    Raises:
        ChannelError: the process stopped answering.
    """
    began = clock()
    begun = False
    while True:
        one = Sample.of(clock() - began, qmp.ask("query-migrate"), qmp.ask("query-status"))
        begun = begun or one.status not in ("none", *ENDED)
        yield one
        if until_end and begun and one.status in ENDED:
            return
        sleep(every_s)


def recording_of(settings: Settings, samples: Sequence[Sample]) -> Recording:
    """Return what was watched as a recording, of which pictures and traces can be made."""
    return Recording(
        tuple(samples),
        mode=settings.mode,
        ram_bytes=settings.ram_bytes,
        bandwidth_bytes_per_s=settings.bandwidth_bytes_per_s,
        downtime_limit_ms=settings.downtime_limit_ms,
    )
