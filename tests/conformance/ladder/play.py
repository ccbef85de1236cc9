"""Plays one case: probes, the pair, its end; a failure is a value."""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .pair import Setting, common_machine, pair
from .program import find_program, probe
from .wire import CaseFailed, check

if TYPE_CHECKING:
    from .table import Case


def _beside_python() -> str:
    name = "migsim-system-x86_64"
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else (shutil.which(name) or name)


DEFAULT = _beside_python()
"""Our own program."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: what went wrong, empty if nothing, and how long it took."""

    problem: str
    seconds: float


def setting_of(
    source: str,
    target: str,
    folder: Path,
    *,
    thorough: bool,
    accels: Sequence[str] | None = None,
) -> Setting:
    """Return the setting for two commands."""
    find = functools.cache(find_program)
    return Setting(find(source), find(target), folder, thorough, tuple(accels or ("tcg",)))


def play(case: Case, setting: Callable[[Path], Setting]) -> Outcome:
    """Play a case in a folder of its own."""
    begin = time.monotonic()
    problem = ""
    with tempfile.TemporaryDirectory(prefix="ladder") as folder:
        try:
            play_in(case, setting(Path(folder)))
        except (CaseFailed, OSError) as error:
            problem = f"{error or type(error).__name__}"
    return Outcome(problem, time.monotonic() - begin)


def play_in(case: Case, setting: Setting) -> None:
    """Play a case; raise what went wrong."""
    machine = _machine(setting) if setting.sequential else _remembered(setting)
    with pair(setting, machine, suspends=case.suspends) as players:
        case.play(players)


def _machine(setting: Setting) -> str:
    """Return the machine's name, after the questions that the outside client asks first."""
    types = probe(
        setting.source, setting.folder, "qom-list-types", implements="accel", abstract=False
    )
    assert isinstance(types, list)
    check(any(row["name"] == "tcg-accel" for row in types), f"accelerators: {types}")
    return common_machine(setting)


_names: dict[tuple[str, str], str] = {}


def _remembered(setting: Setting) -> str:
    key = setting.source.command, setting.target.command
    if key not in _names:
        _names[key] = common_machine(setting)
    return _names[key]
