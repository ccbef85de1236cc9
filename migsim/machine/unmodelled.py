"""What the engines do not do yet: refused with a clear text instead of done wrong."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from ..errors import CapabilityError
from ..qapi.enums import Capability
from ..qapi.migrate_rules import End

_SOURCE = (Capability.XBZRLE,)
"""What a target takes from a file whatever wrote it, and a source cannot write yet."""
_BOTH = (
    Capability.POSTCOPY_RAM,
    Capability.X_COLO,
    Capability.DIRTY_LIMIT,
)


def check_modelled(end: End, capabilities: AbstractSet[Capability]) -> None:
    """Refuse what would change the bytes or the loop in a way that migsim does not do yet.

    Raises:
        CapabilityError: a capability is on that the engines do not know.
    """
    for capability in _SOURCE + _BOTH if end is End.SOURCE else _BOTH:
        if capability in capabilities:
            raise CapabilityError(capability.value, "this release of migsim", "it to be off")
    if Capability.MULTIFD in capabilities and Capability.MAPPED_RAM not in capabilities:
        raise CapabilityError("multifd", "this release of migsim", "mapped-ram beside it")
