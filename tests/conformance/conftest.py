"""A real QEMU on a leash: started for one test, spoken to with timeouts, always stopped."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

PROGRAM = "qemu-system-x86_64"
BASE = ("-nodefaults", "-no-user-config", "-display", "none")


class QmpError(Exception):
    """The error that a command was answered with."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(error["desc"])
        self.cls = error["class"]


class Qemu:
    """One QEMU process and its monitor.

    Without ``bare`` it has the devices that a machine has when nobody asks; ``program`` is what to
    run in place of QEMU.  Every wait has a limit: malformed streams can leave a process dead or its
    monitor mute.
    """

    def __init__(
        self,
        directory: Path,
        *args: str,
        timeout_s: float = 20,
        bare: bool = True,
        program: Sequence[str] | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.events: list[dict[str, object]] = []
        path = directory / f"qmp{len(list(directory.iterdir()))}"
        self.log_path = path.with_suffix(".log")
        monitor = f"unix:{path},server=on,wait=off"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*(program or [PROGRAM]), *(BASE if bare else BASE[1:]), "-qmp", monitor, *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._connect(path)
            self._file = self._socket.makefile("rwb")
            self.greeting = json.loads(self._file.readline())
            self("qmp_capabilities")
        except BaseException:
            self.stop()
            raise

    def _connect(self, path: Path) -> None:
        limit = time.monotonic() + self.timeout_s
        while True:
            try:
                self._socket.connect(os.fspath(path))
            except OSError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError(f"{PROGRAM} did not start: {self.log}") from None
                time.sleep(0.01)
            else:
                return

    @property
    def log(self) -> str:
        """What the process has printed."""
        return self.log_path.read_text(errors="replace")

    def __call__(self, command: str, /, **arguments: object) -> object:
        """Run a QMP command and return its answer; an error is raised as QmpError."""
        message: dict[str, object] = {"execute": command}
        if arguments:
            message["arguments"] = {
                name.replace("_", "-"): value for name, value in arguments.items()
            }
        answer = self.raw(message)
        if "error" in answer:
            raise QmpError(answer["error"])
        return answer["return"]

    def raw(self, message: dict[str, object]) -> dict[str, object]:
        """Send a QMP message as it is and return the answer, an error too."""
        self._file.write(json.dumps(message).encode() + b"\n")
        self._file.flush()
        while line := self._file.readline():
            answer = json.loads(line)
            if "event" in answer:
                self.events.append(answer)
            else:
                return answer
        raise RuntimeError(f"the monitor closed: {self.log}")

    def capabilities(self, **states: bool) -> None:
        """Switch migration capabilities; underscores stand for hyphens."""
        rows = [
            {"capability": name.replace("_", "-"), "state": state} for name, state in states.items()
        ]
        self("migrate-set-capabilities", capabilities=rows)

    def migration(self, *statuses: str) -> dict[str, object]:
        """Wait until the migration has one of ``statuses``; return what it says of itself."""
        limit = time.monotonic() + self.timeout_s
        while True:
            answer = self("query-migrate")
            assert isinstance(answer, dict)
            if answer.get("status") in statuses:
                return answer
            if time.monotonic() > limit:
                raise TimeoutError(f"status is {answer.get('status')}: {self.log}")
            time.sleep(0.005)

    def load(self, uri: str) -> str:
        """Load a stream; return ``completed`` or ``failed``."""
        self("migrate-incoming", uri=uri, exit_on_error=False)
        return str(self.migration("completed", "failed")["status"])

    def stop(self) -> None:
        """End the process, by force if it does not go; a second call does nothing."""
        self._socket.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


@pytest.fixture
def qemu() -> Iterator[Callable[..., Qemu]]:
    """Return a function that starts a QEMU with more arguments; all are stopped at the end."""
    # Not pytest's directory: the path of a socket must be short.
    directory = Path(tempfile.mkdtemp(prefix="qemu"))
    started: list[Qemu] = []

    def start(
        *args: str,
        timeout_s: float = 20,
        bare: bool = True,
        program: Sequence[str] | None = None,
    ) -> Qemu:
        machine = Qemu(directory, *args, timeout_s=timeout_s, bare=bare, program=program)
        started.append(machine)
        return machine

    try:
        yield start
    finally:
        for machine in started:
            machine.stop()
        shutil.rmtree(directory, ignore_errors=True)
