"""QEMU releases: which behaviour is meant when QEMU changed its mind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from ..errors import ParameterError

_RELEASE = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True, order=True, repr=False)
class Release:
    """One feature release of QEMU, ordered by age.

    A table row carries the release it came with (``since``) and the first one without it
    (``until``) as text, so a row can name any release; ``has`` compares.  Three releases are
    known in all tables: 8.2 (as the per-mode blocker series was merged), 10.0 (the default, the
    one compared with a real process) and 11.1.  Stable updates (the third number) change nothing
    that is modelled.
    """

    major: int
    minor: int

    V8_2: ClassVar[Release]
    V10_0: ClassVar[Release]
    V11_1: ClassVar[Release]
    DEFAULT: ClassVar[Release]

    @classmethod
    def parse(cls, text: str) -> Release:
        """Return the release that ``text`` names: ``10.0``, or ``10.0.2`` for the same.

        Raises:
            ParameterError: not two or three numbers with dots between.
        """
        return _parse(text)

    def has(self, since: str | None = None, until: str | None = None) -> bool:
        """Return whether something that came with ``since`` and went with ``until`` is here."""
        if since is not None and self < _parse(since):
            return False
        return until is None or self < _parse(until)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    def __repr__(self) -> str:
        return f"Release({self.major}, {self.minor})"


Release.V8_2 = Release(8, 2)
Release.V10_0 = Release(10, 0)
Release.V11_1 = Release(11, 1)
Release.DEFAULT = Release.V10_0


@lru_cache(maxsize=256)
def _parse(text: str) -> Release:
    match = _RELEASE.fullmatch(text)
    if match is None:
        raise ParameterError("release", text, "a QEMU release such as 8.2, 10.0 or 11.1")
    return Release(int(match[1]), int(match[2]))
