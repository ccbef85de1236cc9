"""What a prediction starts from: a guest, what it writes, and how it is to be migrated.

Everything that a user does not say has a default, and every default that was used is named in the
answer (`Inputs.assumed`), so that a number never rests on a silent guess.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import ParameterError
from ..units import MIB, PAGE_SIZE

if TYPE_CHECKING:
    from .curve import DirtyCurve

_E = TypeVar("_E", bound=enum.Enum)


class Pattern(enum.StrEnum):
    """How the guest's writes are spread over its working set."""

    SEQUENTIAL = "seq"
    RANDOM = "random"
    HOT_COLD = "hotcold"


class Transport(enum.StrEnum):
    """Where the migration goes to."""

    SOCKET = "unix"
    SINK = "sink"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Inputs:
    """One guest and one way to migrate it.

    Sizes are bytes, rates per second, page numbers count 4096-byte pages of guest RAM.

    Attributes:
        ram_bytes: size of guest RAM.
        nonzero_ranges: page ranges (first, count) that are not zero; the working set is added.
        rate_pages_per_s: page writes per second of guest time.
        working_set: (first page, pages) that the writes go to.
        pattern: how they are spread.
        hot_fraction, hot_share: for `Pattern.HOT_COLD`: the share of the set that is hot, and the
            share of the writes that go there.
        curve: a measured dirty-page curve; takes the place of rate, set and pattern.
        catch_up_ms: how far behind a guest that was held up makes good; what it missed beyond
            that is lost.  Small for a program that computes, large for one driven by timers.
        max_bandwidth, downtime_limit_ms: the parameters; 0 bytes/s means no limit.
        link_bytes_per_s: the wire, 0 when it is faster than the host.
        mode: ``normal`` or a CPR mode.
        transport: where the bytes go.
        capabilities, parameters: further settings by QMP name.
        ram_shared: RAM lies in a shared file, so that ``x-ignore-shared`` leaves it out.
        device_state_bytes: state of all devices with the description at the end.
        own_pages: pages of other blocks and of the guest's set-up: (non-zero, zero).
        time_limit_s: how long one is ready to wait.
        assumed: name and value of each default that was used.
    """

    ram_bytes: int
    nonzero_ranges: tuple[tuple[int, int], ...] = ()
    rate_pages_per_s: float = 0.0
    working_set: tuple[int, int] = (0, 0)
    pattern: Pattern = Pattern.RANDOM
    hot_fraction: float = 0.1
    hot_share: float = 0.9
    curve: DirtyCurve | None = None
    catch_up_ms: float = 20.0
    max_bandwidth: int = 128 * MIB
    downtime_limit_ms: int = 300
    link_bytes_per_s: int = 0
    mode: str = "normal"
    transport: Transport = Transport.SOCKET
    capabilities: frozenset[str] = frozenset()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ram_shared: bool = False
    device_state_bytes: int = 77_189
    own_pages: tuple[int, int] = (7, 75)
    time_limit_s: float = 3600.0
    settle_s: float = 0.3
    assumed: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        pages = self.pages
        if self.ram_bytes <= 0 or self.ram_bytes % PAGE_SIZE:
            raise ParameterError("ram", self.ram_bytes, f"a positive multiple of {PAGE_SIZE} bytes")
        _require_number("rate", self.rate_pages_per_s, 0, 1e9)
        _require_number("max-bandwidth", self.max_bandwidth, 0, 2**63)
        _require_number("link", self.link_bytes_per_s, 0, 2**63)
        _require_number("downtime-limit", self.downtime_limit_ms, 0, 2_000_000)
        _require_number("time limit", self.time_limit_s, 1e-3, 1e9)
        _require_number("hot fraction", self.hot_fraction, 0, 1)
        _require_number("hot share", self.hot_share, 0, 1)
        for first, count in (*self.nonzero_ranges, self.working_set):
            if first < 0 or count < 0 or first + count > pages:
                raise ParameterError("pages", (first, count), f"a range within {pages} pages")

    @property
    def pages(self) -> int:
        """Pages of guest RAM."""
        return self.ram_bytes // PAGE_SIZE

    @property
    def stops_first(self) -> bool:
        """Whether the mode stops the guest before anything is sent."""
        return self.mode != "normal"

    @property
    def copies_ram(self) -> bool:
        """Whether RAM travels at all."""
        return not ("x-ignore-shared" in self.capabilities and self.ram_shared)

    @property
    def mapped_ram(self) -> bool:
        """Whether pages go to fixed places of a file."""
        return "mapped-ram" in self.capabilities

    @property
    def multifd_channels(self) -> int:
        """Channels of multifd, 0 when it is off."""
        if "multifd" not in self.capabilities:
            return 0
        return int(self.parameters.get("multifd-channels", 2))

    @property
    def auto_converge(self) -> bool:
        """Whether the guest may be throttled."""
        return "auto-converge" in self.capabilities

    def with_settings(self, **changes: Any) -> Inputs:  # noqa: ANN401
        """Return the same guest with other settings."""
        return replace(self, **changes)

    def ranges(self) -> list[tuple[int, int]]:
        """Return disjoint ascending (first, count) of all pages that are not zero."""
        merged: list[tuple[int, int]] = []
        for first, count in sorted((*self.nonzero_ranges, self.working_set)):
            if not count:
                continue
            if merged and first <= sum(merged[-1]):
                start = merged[-1][0]
                merged[-1] = (start, max(sum(merged[-1]), first + count) - start)
            else:
                merged.append((first, count))
        return merged

    @property
    def nonzero_pages(self) -> int:
        """Pages that are not zero when the migration begins."""
        return sum(count for _, count in self.ranges())

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Inputs:
        """Return the inputs that one ``config`` of a measured run means.

        The names are those of the measuring program; missing ones have its defaults.

        Raises:
            ParameterError: a value that no run can have.
        """
        known = CONFIG_DEFAULTS | {
            name: config[name] for name in CONFIG_DEFAULTS if config.get(name) is not None
        }
        ram = int(known["ram_mib"]) * MIB
        set_first = int(known["ws_start"]) // PAGE_SIZE
        return cls(
            ram_bytes=ram,
            nonzero_ranges=_guest_ranges(ram, int(known["fill_pages"])),
            rate_pages_per_s=float(known["rate"]),
            working_set=(set_first, int(known["ws_pages"])),
            pattern=_choice(Pattern, "pattern", known["pattern"]),
            hot_fraction=float(known["hot_fraction"]),
            hot_share=float(known["hot_share"]),
            catch_up_ms=float(known["max_lag_ms"]),
            max_bandwidth=int(known["max_bandwidth"]),
            downtime_limit_ms=int(known["downtime_limit"]),
            link_bytes_per_s=int(known["link_bandwidth"]),
            mode=str(known["mode"]),
            transport=_choice(Transport, "transport", known["transport"]),
            capabilities=frozenset(known["capabilities"]),
            parameters=dict(known["parameters"]),
            ram_shared=known["ram_backing"] == "shared",
            time_limit_s=float(known["time_limit_s"]),
            settle_s=float(known["settle_s"]),
        )


CONFIG_DEFAULTS: Final[dict[str, Any]] = {
    "ram_mib": 256,
    "ram_backing": "anon",
    "ws_pages": 0,
    "ws_start": 2 * MIB,
    "rate": 0.0,
    "pattern": "seq",
    "hot_fraction": 0.1,
    "hot_share": 0.9,
    "fill_pages": 0,
    "max_lag_ms": 20.0,
    "settle_s": 0.3,
    "mode": "normal",
    "transport": "unix",
    "max_bandwidth": 128 * MIB,
    "link_bandwidth": 0,
    "downtime_limit": 300,
    "capabilities": (),
    "parameters": {},
    "time_limit_s": 20.0,
}
"""Members of a measured run's ``config`` that decide anything, with the measuring defaults."""

_FILL_FIRST_PAGE = 2 * MIB // PAGE_SIZE
_OWN_PAGES = 5
"""Non-zero pages of the little guest itself, beside one page of tables per started GiB."""


def _guest_ranges(ram_bytes: int, fill_pages: int) -> tuple[tuple[int, int], ...]:
    own = _OWN_PAGES + math.ceil(ram_bytes / (1024 * MIB))
    return ((0, own), (_FILL_FIRST_PAGE, fill_pages))


def _require_number(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise ParameterError(name, value, f"a number from {low} to {high:g}")


def _choice(kind: type[_E], name: str, value: object) -> _E:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise ParameterError(name, value, f"one of {known}") from None


FIELD_NAMES: Final = tuple(item.name for item in fields(Inputs))
"""Names of all inputs, for those who check text against them."""
