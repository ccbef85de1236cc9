"""A recording as a trace that the Perfetto viewer opens.

The format is the JSON trace event format: ``X`` is a stretch of time, ``C`` a counter, ``i`` an
instant, ``M`` the name of a track; times are microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os

    from .recording import Recording, Span
    from .sample import Sample

_PROCESS: Final = 1
_TRACKS: Final = ("run state", "migration status", "pass over RAM", "stop")
_COUNTERS: Final[Mapping[str, Callable[[Sample], float]]] = {
    "remaining MiB": lambda sample: sample.remaining_bytes / (1 << 20),
    "transferred MiB": lambda sample: sample.transferred_bytes / (1 << 20),
    "rate Mbit/s": lambda sample: sample.mbps,
    "dirtied pages/s": lambda sample: sample.dirty_pages_per_s,
    "throttle %": lambda sample: sample.throttle_percent,
}


def trace_events(recording: Recording) -> list[dict[str, object]]:
    """Return the trace events of ``recording``: tracks of stretches, counters, announcements."""
    stop = recording.stop()
    tracks = (recording.run_states(), recording.statuses(), recording.passes())
    events: list[dict[str, object]] = [_named("process_name", 0, f"guest, {recording.mode}")]
    for number, name in enumerate(_TRACKS, 1):
        events.append(_named("thread_name", number, name))
    for number, spans in enumerate((*tracks, () if stop is None else (stop,)), 1):
        events.extend(_stretch(span, number) for span in spans)
    events.extend(_counters(recording))
    events.extend(
        {"ph": "i", "pid": _PROCESS, "tid": 1, "s": "p", "ts": _us(one.time_s), "name": one.name}
        | ({"args": dict(one.data)} if one.data else {})
        for one in recording.events
    )
    return events


def write_trace(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write ``recording`` to a file to be opened at https://ui.perfetto.dev.

    Raises:
        OSError: the file cannot be written.
    """
    trace = {"traceEvents": trace_events(recording), "displayTimeUnit": "ms"}
    Path(path).write_text(json.dumps(trace) + "\n")


def _named(kind: str, track: int, name: str) -> dict[str, object]:
    return {"ph": "M", "pid": _PROCESS, "tid": track, "name": kind, "args": {"name": name}}


def _stretch(span: Span, track: int) -> dict[str, object]:
    return {
        "ph": "X",
        "pid": _PROCESS,
        "tid": track,
        "ts": _us(span.start_s),
        "dur": _us(span.seconds),
        "name": span.name,
    }


def _counters(recording: Recording) -> Iterator[dict[str, object]]:
    for sample in recording.samples:
        for name, value in _COUNTERS.items():
            yield {
                "ph": "C",
                "pid": _PROCESS,
                "ts": _us(sample.time_s),
                "name": name,
                "args": {name: value(sample)},
            }


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
