"""Machine types: the concrete names that streams carry, and their default RAM block."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from ..qapi.release import Release


@dataclass(frozen=True, slots=True)
class MachineType:
    """One machine type.

    Attributes:
        name: concrete name, as stored in the configuration section of a stream.
        alias: the short name that ``-machine`` also takes, or None.
        ram_id: name of the RAM block when no memory backend is given.
        version: release whose behaviour the machine keeps, or None for one without versions.
        wakeup: whether ``system_wakeup`` can work: the board has a way to suspend and wake.
    """

    name: str
    alias: str | None
    ram_id: str
    wakeup: bool
    version: Release | None = None


_VERSIONED = (
    # Family, alias, default RAM block (spec stream.md section 8.2), wake-up.
    ("pc-q35", "q35", "pc.ram", True),
    ("pc-i440fx", "pc", "pc.ram", True),
)
_PLAIN = (
    MachineType("none", None, "ram", wakeup=False),
    MachineType("microvm", None, "microvm.ram", wakeup=False),
)


def machine_type(name: str, release: Release = Release.DEFAULT) -> MachineType:
    """Return the machine type called ``name``: concrete (``pc-q35-10.0``) or alias (``q35``).

    An alias means the newest version of ``release``; older concrete versions are accepted.

    Raises:
        ConfigError: no such machine, or one of a later release.
    """
    for plain in _PLAIN:
        if plain.name == name:
            return plain
    for family, alias, ram_id, wakeup in _VERSIONED:
        if name == alias:
            return MachineType(f"{family}-{release}", alias, ram_id, wakeup, release)
        if name.startswith(f"{family}-"):
            version = Release.parse(name.removeprefix(f"{family}-"))
            if version <= release:
                return MachineType(name, None, ram_id, wakeup, version)
    known = ", ".join(plain.name for plain in _PLAIN) + ", pc, q35 or a version of these"
    raise ConfigError(f"machine {name}", f"not a machine type of release {release}: take {known}")


def machine_types(release: Release = Release.DEFAULT) -> list[MachineType]:
    """Return the machine types of ``release``, those with an alias in their newest version."""
    newest = [machine_type(alias, release) for _, alias, _, _ in _VERSIONED]
    return [*_PLAIN, *newest]
