"""What the engines do not do yet: refused with a clear text instead of done wrong."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ..errors import CapabilityError
from ..qapi.enums import Capability

_BOTH = (
    Capability.POSTCOPY_PREEMPT,
    Capability.X_COLO,
    Capability.DIRTY_LIMIT,
)


def check_modelled(capabilities: AbstractSet[Capability]) -> None:
    """Refuse what would change the bytes or the loop in a way that migsim does not do yet.

    Raises:
        CapabilityError: a capability is on that the engines do not know.
    """
    for capability in _BOTH:
        if capability in capabilities:
            raise CapabilityError(capability.value, "this release of migsim", "it to be off")
