"""``calc-dirty-rate``: how fast the guest writes, as its workload says.

QEMU samples pages and compares them after a while; here the workload knows.  The times are those
of QEMU: the answer is there when the time asked for is over (spec monitor.md section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakKeyDictionary

from ..qapi.enums import RunState
from ..units import MIB, PAGE_SIZE
from .errors import QmpError
from .schema import Arguments, Command

if TYPE_CHECKING:
    from ..machine.machine import Machine

_UNITS_MS: Final = {"second": 1000, "millisecond": 1}
_SPAN_MS: Final = range(50, 60_001)
"""How long a measurement may take (seen on QEMU 10.0.2)."""
_SAMPLE_PAGES: Final = range(128, 16_385)
_DEFAULT_SAMPLE_PAGES: Final = 512


@dataclass(frozen=True, slots=True)
class _Measurement:
    begin_s: float
    span_ms: int
    sample_pages: int
    mode: str
    rate_mib_per_s: int


_LAST: WeakKeyDictionary[Machine, _Measurement] = WeakKeyDictionary()


def _calculate(vm: Machine, arguments: Arguments) -> object:
    unit = str(arguments.get("calc-time-unit", "second"))
    span_ms = cast("int", arguments["calc-time"]) * _UNITS_MS[unit]
    mode = str(arguments.get("mode", "page-sampling"))
    pages = cast("int", arguments.get("sample-pages", _DEFAULT_SAMPLE_PAGES))
    if span_ms not in _SPAN_MS:
        raise QmpError(f"calc-dirty-rate: {_SPAN_MS[0]} to {_SPAN_MS[-1]} ms are possible")
    if mode == "page-sampling" and pages not in _SAMPLE_PAGES:
        low, high = _SAMPLE_PAGES[0], _SAMPLE_PAGES[-1]
        raise QmpError(f"calc-dirty-rate: {low} to {high} pages can be sampled")
    if mode != "page-sampling" and "sample-pages" in arguments:
        raise QmpError("calc-dirty-rate: 'sample-pages' belongs to page-sampling")
    if mode == "dirty-ring":
        raise QmpError("calc-dirty-rate: there is no dirty ring")
    last = _LAST.get(vm)
    if last is not None and _under_way(vm, last):
        raise QmpError("calc-dirty-rate: one measurement is under way")
    runs = vm.run.state is RunState.RUNNING
    rate = vm.guest.workload.rate_pages_per_s * PAGE_SIZE / MIB if runs else 0.0
    _LAST[vm] = _Measurement(vm.clock.now, span_ms, pages, mode, int(rate))
    return {}


def _under_way(vm: Machine, one: _Measurement) -> bool:
    return vm.clock.now < one.begin_s + one.span_ms / 1000


def _query(vm: Machine, arguments: Arguments) -> object:
    unit = str(arguments.get("calc-time-unit", "second"))
    last = _LAST.get(vm)
    answer: dict[str, object] = {
        "status": "unstarted",
        "start-time": int(last.begin_s) if last else 0,
        "calc-time": last.span_ms // _UNITS_MS[unit] if last else 0,
        "calc-time-unit": unit,
        "sample-pages": last.sample_pages if last else 0,
        "mode": last.mode if last else "page-sampling",
    }
    if last is not None:
        answer["status"] = "measuring" if _under_way(vm, last) else "measured"
        if answer["status"] == "measured":
            answer["dirty-rate"] = last.rate_mib_per_s
    return answer


DIRTY_RATE_COMMANDS: Final = (
    Command("calc-dirty-rate", _calculate, "Measure how fast the guest writes."),
    Command("query-dirty-rate", _query, "Show the last measurement of the dirty rate."),
)
"""The commands of this module."""
