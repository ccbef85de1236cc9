"""One guest, several ways to migrate it, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .hostmodel import REFERENCE, HostModel
from .inputs import Transport
from .models import predict_with

if TYPE_CHECKING:
    from .inputs import Inputs
    from .result import Prediction


@dataclass(frozen=True, slots=True)
class Way:
    """One way to migrate a guest.

    Attributes:
        label: what it is called.
        inputs: the guest with these settings.
        note: what it asks for.
    """

    label: str
    inputs: Inputs
    note: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """A way and what is predicted of it."""

    way: Way
    prediction: Prediction


def ways(inputs: Inputs) -> tuple[Way, ...]:
    """Return the ways that are compared, all for the guest and limits of ``inputs``."""
    bare = inputs.with_settings(mode="normal", capabilities=frozenset(), ram_shared=False)
    file = bare.with_settings(transport=Transport.FILE, link_bytes_per_s=0)
    reboot = file.with_settings(mode="cpr-reboot")
    return (
        Way("normal", bare),
        Way("normal, auto-converge", _on(bare, "auto-converge"), "slows the guest down"),
        Way("normal, multifd", _on(bare, "multifd"), "several connections"),
        Way("normal, mapped-ram", _on(file, "mapped-ram"), "a file that can be seeked"),
        Way(
            "cpr-reboot, in place",
            _on(reboot, "x-ignore-shared").with_settings(ram_shared=True),
            "RAM in a shared file that outlives the reboot",
        ),
        Way("cpr-reboot, copied", reboot, "the guest stands still for all of it"),
    )


def compare(
    inputs: Inputs, host: HostModel = REFERENCE, *, model: str = "exact", seed: int = 1
) -> tuple[Compared, ...]:
    """Return every way of `ways` with its prediction and trajectory."""
    return tuple(
        Compared(way, predict_with(model, way.inputs, host, seed=seed, trajectory=True))
        for way in ways(inputs)
    )


def _on(inputs: Inputs, capability: str) -> Inputs:
    return inputs.with_settings(capabilities=inputs.capabilities | {capability})
