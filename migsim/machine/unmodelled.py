"""What the engines do not do yet: refused with a clear text instead of done wrong."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from ..errors import CapabilityError, ConfigError
from ..qapi.enums import Capability
from ..qapi.migrate_rules import End

if TYPE_CHECKING:
    from ..qapi.properties import StreamSwitches

_SOURCE = (
    Capability.XBZRLE,
    Capability.MULTIFD,
    Capability.MAPPED_RAM,
)
"""What a target takes from a file whatever wrote it, and a source cannot write yet."""
_BOTH = (
    Capability.POSTCOPY_RAM,
    Capability.BACKGROUND_SNAPSHOT,
    Capability.X_COLO,
    Capability.DIRTY_LIMIT,
)


def check_modelled(
    end: End, capabilities: AbstractSet[Capability], switches: StreamSwitches
) -> None:
    """Refuse what would change the bytes or the loop in a way that migsim does not do yet.

    Raises:
        CapabilityError: a capability is on that the engines do not know.
        ConfigError: a stream property is off that the writer does not know.
    """
    for capability in _SOURCE + _BOTH if end is End.SOURCE else _BOTH:
        if capability in capabilities:
            raise CapabilityError(capability.value, "this release of migsim", "it to be off")
    if not (switches.send_section_footer and switches.send_configuration):
        raise ConfigError("migration properties", "footers and configuration cannot be left out")
