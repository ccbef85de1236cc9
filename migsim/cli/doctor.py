"""``migsim doctor``: what is installed here, and what works with it."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from .. import __version__
from ..extras import EXTRA_MODULES, require

QEMU: Final = "qemu-system-x86_64"
KVM: Final = "/dev/kvm"
COMPARED_RELEASE: Final = "10.0"
"""The release whose outcomes migsim is compared with by default."""
_ANSWER_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        fine: it is there and fits.
        found: what was found, in words.
        advice: what to do if it is wanted; empty where nothing is missing.
    """

    subject: str
    fine: bool
    found: str
    advice: str = ""


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Say what is installed, which QEMU there is, and what works without what is missing.

    Nothing but numpy is needed by the library itself, so the status is 0 unless that is broken.
    """
    facts = survey()
    if as_json:
        import json

        typer.echo(json.dumps([asdict(fact) for fact in facts], indent=2))
    else:
        for fact in facts:
            mark = "ok     " if fact.fine else "missing"
            typer.echo(f"{mark}  {fact.subject + ':':<18} {fact.found}")
            if fact.advice:
                typer.echo(f"{'':27} {fact.advice}")
    return 0


def survey() -> list[Fact]:
    """Return everything that is looked at, in the order in which it is printed."""
    from importlib.metadata import version

    return [
        Fact("migsim", True, __version__),
        Fact("Python", True, f"{platform.python_version()} on {platform.machine()}"),
        Fact("numpy", True, version("numpy")),
        *(_extra(name) for name in EXTRA_MODULES),
        _qemu(),
        _kvm(),
        Fact("processors", True, str(len(os.sched_getaffinity(0)))),
        _shared_memory(),
    ]


def _extra(name: str) -> Fact:
    from ..errors import MissingExtraError

    subject = f"extra {name}"
    try:
        require(name)
    except MissingExtraError as error:
        return Fact(subject, False, "not installed", str(error))
    return Fact(subject, True, ", ".join(_version_of(module) for module in EXTRA_MODULES[name]))


def _version_of(module: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{module} {version(module)}"
    except PackageNotFoundError:
        return module


def _qemu() -> Fact:
    import subprocess

    binary = shutil.which(QEMU)
    if binary is None:
        advice = "wanted only to compare with: tests that use it skip, calibrate does without"
        return Fact("QEMU", False, f"no {QEMU} on the path", advice)
    try:
        answer = subprocess.run(
            [binary, "-version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Fact("QEMU", False, f"{binary} does not answer: {error}", "see why it does not run")
    first = answer.stdout.partition("\n")[0].strip()
    fits = f"version {COMPARED_RELEASE}." in first
    advice = "" if fits else f"outcomes are compared with release {COMPARED_RELEASE}"
    return Fact("QEMU", True, f"{first} ({binary})", advice)


def _kvm() -> Fact:
    if os.access(KVM, os.R_OK | os.W_OK):
        return Fact("KVM", True, f"{KVM} can be used")
    return Fact("KVM", False, f"{KVM} cannot be used", "migsim never needs it; a real QEMU is slow")


def _shared_memory() -> Fact:
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return Fact("shared memory", False, "no /dev/shm", "RAM files go to another folder")
    from ..units import format_size

    return Fact("shared memory", True, f"{format_size(free)} free in /dev/shm")
