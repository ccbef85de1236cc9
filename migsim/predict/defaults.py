"""Inputs from what a user says, with a stated default for everything that was left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import ParameterError
from ..units import MIB, PAGE_SIZE, format_size
from .inputs import Inputs, Pattern, Transport

if TYPE_CHECKING:
    from .curve import DirtyCurve

DEFAULT_NONZERO: Final = 0.5
"""Share of RAM that is taken to be non-zero: that of a guest whose page cache has half filled."""
DEFAULT_WORKING_SET: Final = 0.1
"""Share of RAM that the guest is taken to write to."""
DEFAULT_SET_RATE_S: Final = 10.0
"""A guest of unknown rate is taken to write its working set once in this many seconds."""


def inputs_from(given: Mapping[str, Any]) -> Inputs:
    """Return the inputs that ``given`` says, completed by defaults.

    ``given`` may hold ``ram_bytes`` (needed), ``nonzero_fraction``, ``working_set_bytes``,
    ``rate_pages_per_s``, ``curve``, and any attribute of `Inputs`; None means not said.

    Raises:
        ParameterError: an unknown name, or a value out of range.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if "ram_bytes" not in said:
        raise ParameterError("ram", None, "the size of guest RAM, such as 4G")
    ram = int(said.pop("ram_bytes"))
    assumed: list[tuple[str, str]] = []
    nonzero = _share(said, "nonzero_fraction", DEFAULT_NONZERO, assumed)
    working_set = said.pop("working_set_bytes", None)
    curve: DirtyCurve | None = said.get("curve")
    pages = ram // PAGE_SIZE
    if working_set is None:
        set_pages = int(curve.pages[-1]) if curve else int(pages * DEFAULT_WORKING_SET)
        if curve is None and said.get("rate_pages_per_s") != 0:
            assumed.append(("working set", format_size(set_pages * PAGE_SIZE)))
    else:
        set_pages = int(working_set) // PAGE_SIZE
    set_pages = min(set_pages, pages)
    if curve is None and "rate_pages_per_s" not in said:
        said["rate_pages_per_s"] = set_pages / DEFAULT_SET_RATE_S
        assumed.append(("dirty rate", f"{said['rate_pages_per_s']:.0f} pages/s"))
    for name, (shown, default, show) in _STATED.items():
        if name not in said:
            assumed.append((shown, show(default)))
    if said.get("pattern") is Pattern.HOT_COLD:
        for name, shown in (("hot_fraction", "hot share of the set"), ("hot_share", "its writes")):
            if name not in said:
                assumed.append((shown, f"{getattr(_HOT_COLD, name):g}"))
    try:
        return Inputs(
            ram_bytes=ram,
            nonzero_ranges=((0, int(nonzero * pages)),),
            working_set=(0, set_pages),
            assumed=tuple(assumed),
            **said,
        )
    except TypeError as error:
        raise ParameterError("inputs", str(error), "known inputs") from None


def _share(
    said: dict[str, Any], name: str, default: float, assumed: list[tuple[str, str]]
) -> float:
    if name not in said:
        assumed.append((name.replace("_", " "), f"{default:g}"))
    value = float(said.pop(name, default))
    if not 0 <= value <= 1:
        raise ParameterError(name.replace("_", "-"), value, "a share from 0 to 1")
    return value


_STATED: Final[dict[str, tuple[str, Any, Callable[[Any], str]]]] = {
    "pattern": ("pattern of the writes", Pattern.RANDOM, str),
    "max_bandwidth": ("max-bandwidth", 128 * MIB, lambda v: f"{format_size(v)}/s"),
    "link_bytes_per_s": ("wire", 0, lambda v: "faster than the host"),
    "downtime_limit_ms": ("downtime-limit", 300, lambda v: f"{v} ms"),
    "mode": ("mode", "normal", str),
    "transport": ("transport", Transport.SOCKET, lambda v: "socket to a live destination"),
    "device_state_bytes": ("device state", 77_189, lambda v: f"{v} bytes (bare q35)"),
    "time_limit_s": ("time limit", 3600.0, lambda v: f"{v:g} s"),
    "catch_up_ms": ("catch-up of a held-up guest", 20.0, lambda v: f"{v:g} ms"),
}

_HOT_COLD: Final = Inputs(ram_bytes=PAGE_SIZE)
"""Inputs nobody said anything about, for their defaults."""
