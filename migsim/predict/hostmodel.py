"""What work costs on a host: the few physical constants that every model shares.

Each constant is one thing with a unit.  None belongs to a guest, a pattern or a run.  The reference
set was measured with QEMU 10.0.2 under KVM on a small two-core host; ``migsim calibrate`` measures
another one and stores it, and every answer names the set that it used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError

if TYPE_CHECKING:
    from .inputs import Inputs


@dataclass(frozen=True, slots=True)
class HostModel:
    """Costs on one host.

    Attributes:
        name: what the answer calls this set.
        socket_page_s: reading, framing and sending a page to a live destination, seconds.
        file_page_s: the same into a file.
        mapped_page_s: placing a page in a mapped-ram file.
        multifd_page_s: a page over multifd, all channels together.
        stopped_page_s: a page sent while the guest stands still, to any target.
        socket_zero_page_s: finding a page to be zero and telling a live destination.
        file_zero_page_s: the same, told to a file.
        multifd_zero_page_s: the same when all channels of multifd look.
        sync_page_s: fetching the dirty log, per page of RAM.
        wake_late_s: how late a sleeper wakes up in a rate window.
        setup_s, stop_s, device_s: fixed parts: until pages flow, stopping the guest, its devices.
        cpr_fixed_s: all fixed parts of a save of a guest that is stopped first.
        load_page_s, load_zero_page_s, load_s: loading a saved file: a page, a zero page, the rest.
        wire_buffer_bytes: what lies between the sender and the end of a slow wire.
    """

    name: str = "reference: QEMU 10.0.2, KVM, 2 cores"
    socket_page_s: float = 2.0e-6
    file_page_s: float = 1.7e-6
    mapped_page_s: float = 1.9e-6
    multifd_page_s: float = 1.6e-6
    stopped_page_s: float = 2.3e-6
    socket_zero_page_s: float = 0.44e-6
    file_zero_page_s: float = 0.22e-6
    multifd_zero_page_s: float = 0.28e-6
    sync_page_s: float = 0.2e-9
    wake_late_s: float = 0.1e-3
    setup_s: float = 3.0e-3
    stop_s: float = 1.2e-3
    device_s: float = 1.5e-3
    cpr_fixed_s: float = 3.0e-3
    load_page_s: float = 1.6e-6
    load_zero_page_s: float = 0.16e-6
    load_s: float = 1.5e-3
    wire_buffer_bytes: float = 200_000.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "name" and not (math.isfinite(value) and value >= 0):
                raise ConfigError("host model", f"{item.name} = {value!r} is no cost")

    def updated(self, **changes: Any) -> HostModel:  # noqa: ANN401
        """Return a copy with some constants changed."""
        return replace(self, **changes)

    def page_s(self, inputs: Inputs) -> float:
        """Return what a page with content costs while the guest runs, in seconds."""
        if inputs.multifd_channels:
            return self.multifd_page_s
        if inputs.mapped_ram:
            return self.mapped_page_s
        return self.file_page_s if inputs.transport == "file" else self.socket_page_s

    def zero_s(self, inputs: Inputs) -> float:
        """Return what a zero page costs, in seconds."""
        if inputs.multifd_channels:
            return self.multifd_zero_page_s
        if inputs.transport == "file":
            return self.file_zero_page_s
        return self.socket_zero_page_s

    def load_after_s(self, inputs: Inputs, normal_pages: int, zero_pages: int) -> float:
        """Return what the target still does when the source has finished, in seconds.

        A live destination has everything by then but the end of the stream; a file has to be
        loaded.
        """
        if inputs.transport != "file":
            return 0.0
        ram = normal_pages * self.load_page_s + zero_pages * self.load_zero_page_s
        return self.load_s + ram

    def wire_bytes_per_s(self, inputs: Inputs) -> float:
        """Return what the wire carries, 0 when the host is the slower one."""
        return inputs.link_bytes_per_s

    def to_dict(self) -> dict[str, Any]:
        """Return all constants by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HostModel:
        """Return the model of ``values``; constants that are missing are the reference's.

        Raises:
            ConfigError: an unknown name, or a value that is no cost.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError("host model", f"unknown constants: {', '.join(unknown)}")
        try:
            costs = {key: float(value) for key, value in values.items() if key != "name"}
        except (TypeError, ValueError):
            raise ConfigError("host model", "every constant is a number") from None
        return cls(name=str(values.get("name", "unnamed")), **costs)

    def save(self, path: Path) -> None:
        """Store the constants as JSON.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            path.write_text(json.dumps(self.to_dict(), indent=2) + "\n")
        except OSError as error:
            raise ConfigError(f"calibration {path}", error.strerror or str(error)) from error

    @classmethod
    def load(cls, path: Path) -> HostModel:
        """Return the constants stored in ``path``.

        Raises:
            ConfigError: the file cannot be read or holds something else.
        """
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"calibration {path}", str(error)) from error
        if not isinstance(values, dict):
            raise ConfigError(f"calibration {path}", "holds no constants by name")
        return cls.from_dict(values)


REFERENCE: Final = HostModel()
"""The set that predictions use when no calibration is given."""
