"""The immutable set of the values of all migration parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

from ..errors import ParameterError
from .parameter import Parameter
from .parameter_checks import TYPE_CHECKS, check_all
from .parameter_table import ParameterTable
from .release import Release

if TYPE_CHECKING:
    from .enums import Capability


class MigrationParameters(ParameterTable):
    """The values of all parameters, immutable; ``updated`` makes the next one.

    ``MigrationParameters(release)`` has the defaults of that release.  On the class,
    ``MigrationParameters.max_bandwidth`` is the row that describes the parameter; on an object,
    ``parameters.max_bandwidth`` is its value.  Attributes of parameters that the release does not
    have can be read too: they give the value that counts there.
    """

    __slots__ = ("_release", "_values")

    def __init__(self, release: Release = Release.DEFAULT) -> None:
        self._release = release
        self._values: Mapping[str, object] = {r.name: r.initial(release) for r in PARAMETERS}

    @property
    def release(self) -> Release:
        """The release whose parameters these are."""
        return self._release

    @property
    def stored(self) -> Mapping[str, object]:
        """All values by QMP name, also of parameters that the release does not have."""
        return self._values

    @property
    def tls(self) -> bool:
        """Whether channels are encrypted."""
        return bool(self.tls_creds)

    def rows(self) -> tuple[Parameter[object], ...]:
        """Return the rows of the parameters that the release has, in the order of the table."""
        return parameters_of(self._release)

    def get(self, name: str) -> object:
        """Return the value of the parameter with this QMP name.

        Raises:
            ParameterError: the release has no such parameter.
        """
        return self._values[find(name, self._release).name]

    def check_range(self, name: str) -> None:
        """Do nothing if the value of this parameter is in range, or the release has it not.

        Raises:
            ParameterError: it is not in its range.
        """
        row = _BY_NAME[name]
        if row.exists_in(self._release):
            row.check_range(self._values[name], self._release)

    def updated(
        self,
        changes: Mapping[str, object],
        *,
        capabilities: AbstractSet[Capability] = frozenset(),
    ) -> MigrationParameters:
        """Return the set with ``changes`` (QMP names to decoded JSON values) laid over it.

        Types are checked first, in the order of ``parameter_checks.TYPE_CHECKS``, then names,
        then the whole resulting set in the order of ``parameter_checks.CHECKS``, with
        ``capabilities`` being those switched on.

        Raises:
            ParameterError: something is refused; there is no new set.
        """
        known = {row.name: row for row in self.rows()}
        accepted = {
            name: known[name].accept(changes[name], self._release)
            for name in TYPE_CHECKS
            if name in changes and name in known
        }
        for name in changes:
            find(name, self._release)
        return self._checked(accepted, capabilities)

    def with_globals(
        self,
        properties: Iterable[tuple[str, str]],
        *,
        capabilities: AbstractSet[Capability] = frozenset(),
    ) -> MigrationParameters:
        """Return the set with ``-global migration.NAME=TEXT`` pairs laid over it, in order.

        Raises:
            ParameterError: no such property, or a value is refused (QEMU ends at start).
        """
        rows = {row.global_name: row for row in self.rows() if row.global_name}
        accepted: dict[str, object] = {}
        for name, text in properties:
            if name not in rows:
                raise ParameterError(name, text, "the name of a property of migration")
            accepted[rows[name].name] = rows[name].parse_global(text, self._release)
        return self._checked(accepted, capabilities)

    @classmethod
    def from_globals(
        cls, properties: Iterable[tuple[str, str]], release: Release = Release.DEFAULT
    ) -> MigrationParameters:
        """Return the defaults of ``release`` with ``-global`` pairs laid over them.

        Raises:
            ParameterError: no such property, or a value is refused (QEMU ends at start).
        """
        return cls(release).with_globals(properties)

    def parse_hmp(self, name: str, text: str) -> object:
        """Return the value for ``updated`` that ``migrate_set_parameter NAME TEXT`` means.

        Raises:
            ParameterError: no such parameter, or the text is not a value of its type.
        """
        row = find(name, self._release)
        return row.type.to_json(row.parse_hmp(text, self._release))

    def query(self) -> dict[str, object]:
        """Return the result of ``query-migrate-parameters``: 28 members in 10.0 by default."""
        return {
            row.name: row.type.to_json(value)
            for row, value in self._pairs()
            if value is not None  # a mapping that was never set is left out
        }

    def hmp_lines(self) -> list[str]:
        """Return the lines of ``info migrate_parameters``, without line ends."""
        return [
            line for row, value in self._pairs() for line in row.hmp_lines(value, self._release)
        ]

    def _pairs(self) -> Iterator[tuple[Parameter[object], object]]:
        return ((row, self._values[row.name]) for row in self.rows())

    def _checked(
        self, changes: Mapping[str, object], capabilities: AbstractSet[Capability]
    ) -> MigrationParameters:
        new = MigrationParameters.__new__(MigrationParameters)
        new._release = self._release
        new._values = {**self._values, **changes}
        check_all(new, self, capabilities)
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MigrationParameters):
            return NotImplemented
        return self._release == other._release and self._values == other._values

    def __hash__(self) -> int:
        return hash((self._release, tuple(self._values.values())))

    def __repr__(self) -> str:
        initial = MigrationParameters(self._release).stored
        changed = [f"{name}={v!r}" for name, v in self._values.items() if v != initial[name]]
        return f"MigrationParameters({', '.join([str(self._release), *changed])})"


PARAMETERS: Final[tuple[Parameter[object], ...]] = tuple(
    row for row in vars(ParameterTable).values() if isinstance(row, Parameter)
)
"""Every row, in the order in which the human monitor prints them."""

_BY_NAME: Final[dict[str, Parameter[object]]] = {row.name: row for row in PARAMETERS}


def parameters_of(release: Release = Release.DEFAULT) -> tuple[Parameter[object], ...]:
    """Return the rows of the parameters that ``release`` has."""
    return tuple(row for row in PARAMETERS if row.exists_in(release))


def find(name: str, release: Release = Release.DEFAULT) -> Parameter[object]:
    """Return the row of the parameter with this QMP name.

    Raises:
        ParameterError: the release has no such parameter.
    """
    row = _BY_NAME.get(name)
    if row is None or not row.exists_in(release):
        raise ParameterError(name, None, f"the name of a parameter of QEMU {release}")
    return row
