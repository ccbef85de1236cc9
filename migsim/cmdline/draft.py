"""A command line while it is read: what the options said so far, not yet put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..qapi.release import Release
from .model import GlobalOption, Info, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .keyval import Tree
    from .options import Options


@dataclass(slots=True)
class Given:
    """One occurrence of an option that is looked at when all are known.

    Attributes:
        option: its name without dashes.
        text: its argument, empty if it takes none.
        options: the argument as flat options, or
        members: as JSON members, where it came as JSON.
    """

    option: str
    text: str
    options: Options | None = None
    members: Mapping[str, object] | None = None


@dataclass(slots=True)
class Draft:
    """The options so far; repeated ones are merged or collected as QEMU does.

    Attributes:
        machine: ``-machine``, all occurrences merged.
        smp: ``-smp``, merged.
        memory: ``-m``, merged.
        texts: options of which the last occurrence counts, by name.
        flags: options without argument that were given.
        given: options that can come several times, by name, in order.
    """

    release: Release = Release.DEFAULT
    machine: dict[str, Tree] = field(default_factory=dict)
    smp: dict[str, Tree] = field(default_factory=dict)
    memory: Options | None = None
    texts: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    given: dict[str, list[Given]] = field(default_factory=dict)
    globals: list[GlobalOption] = field(default_factory=list)
    info: Info | None = None
    warnings: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    own: list[tuple[str, str | None]] = field(default_factory=list)

    def keep(self, given: Given, group: str = "") -> None:
        """Remember one more occurrence of an option, or of its ``group``; warn about shorthand."""
        self.given.setdefault(group or given.option, []).append(given)
        if given.options is not None:
            self.warn_shorthand(given.option, given.options)

    def all(self, *names: str) -> list[Given]:
        """Return the occurrences of these options, option by option."""
        return [given for name in names for given in self.given.get(name, ())]

    def ask(self, info: Info) -> None:
        """Remember that a text is wanted; the first wish counts."""
        self.info = self.info or info

    def warn(self, line: str) -> None:
        """Add a line for the standard error stream, once."""
        if line not in self.warnings:
            self.warnings.append(line)

    def warn_shorthand(self, option: str, options: Options) -> None:
        """Warn about words without ``=``, which QEMU will stop to accept."""
        for word in options.shorthand[:1]:
            self.warn(f"-{option}: the bare word {word[:40]!r} is deprecated; write {word[:40]}=on")

    def refuse(self, option: str, reason: str) -> None:
        """Remember something that migsim cannot run with."""
        self.refused.append(Refusal(option, reason))
