"""Background jobs: those that snapshots of drives would be.

No drive has content here, so a snapshot job ends with an error, in the way in which QEMU's ends
for a drive that cannot take one (seen on QEMU 10.0.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from .errors import QmpError
from .schema import Arguments, Command, Handler

if TYPE_CHECKING:
    from ..machine.machine import Machine

_CONCLUDED: Final = "concluded"
_PATH: Final = ("created", "running", "aborting", _CONCLUDED)
_PROBLEM: Final = "drives are known by their formats alone and take no snapshots"


_ENDED: WeakKeyDictionary[Machine, dict[str, str]] = WeakKeyDictionary()
"""The jobs of each machine that have ended and were not dismissed: names and types."""


def _jobs(vm: Machine) -> dict[str, str]:
    return _ENDED.setdefault(vm, {})


def _starter(kind: str) -> Handler:
    def start(vm: Machine, arguments: Arguments) -> object:
        name = str(arguments["job-id"])
        if not name or not name[0].isalpha():
            raise QmpError(f"{kind}: {name!r} is no name of a job")
        jobs = _jobs(vm)
        if name in jobs:
            raise QmpError(f"{kind}: there is a job {name!r}")
        jobs[name] = kind
        for status in _PATH:
            vm.emit("JOB_STATUS_CHANGE", {"status": status, "id": name})
        return {}

    return start


def _query(vm: Machine, _arguments: Arguments) -> object:
    return [
        {
            "id": name,
            "type": kind,
            "status": _CONCLUDED,
            "current-progress": 1,
            "total-progress": 1,
            "error": _PROBLEM,
        }
        for name, kind in _jobs(vm).items()
    ]


def _dismiss(vm: Machine, arguments: Arguments) -> object:
    name = str(arguments["id"])
    if _jobs(vm).pop(name, None) is None:
        raise QmpError(f"job-dismiss: there is no job {name!r}")
    vm.emit("JOB_STATUS_CHANGE", {"status": "null", "id": name})
    return {}


def _too_late(command: str) -> Command:
    def handler(vm: Machine, arguments: Arguments) -> object:
        name = str(arguments["id"])
        ended = "has ended" if name in _jobs(vm) else "is not there"
        raise QmpError(f"{command}: job {name!r} {ended}")

    return Command(command, handler, "Refused: every job has ended when its command returns.")


JOB_COMMANDS: Final = (
    Command("query-jobs", _query, "List background jobs."),
    Command("job-dismiss", _dismiss, "Forget a job that has ended."),
    *(
        _too_late(name)
        for name in ("job-cancel", "job-complete", "job-finalize", "job-pause", "job-resume")
    ),
    *(
        Command(name, _starter(name), "Begin a job, which fails: drives have no content here.")
        for name in ("snapshot-save", "snapshot-load", "snapshot-delete")
    ),
)
"""The commands of this module."""
