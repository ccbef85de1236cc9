"""Short runs of a real QEMU with stopped guests, for calibration."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import ChannelError
from ..units import PAGE_SIZE

START_LIMIT_S = 20.0
SAVE_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class MeasuredSave:
    """One measured migration.

    Attributes:
        seconds: its total time.
        version: of QEMU.
        load_s: how long a new process took to load the file; 0 for a live destination.
    """

    seconds: float
    version: str
    load_s: float = 0.0


class Process:
    """A QEMU with a guest of ``memory`` and a QMP connection.

    The guest is stopped and has no devices, unless ``running`` names a machine.

    Raises:
        ChannelError: it does not start, or does not answer.
    """

    def __init__(
        self, binary: str, root: Path, name: str, memory: Path, *more: str, running: str = ""
    ) -> None:
        self._path = root / f"{name}.qmp"
        self._path.unlink(missing_ok=True)
        size = memory.stat().st_size
        backend = f"memory-backend-file,id=ram0,size={size},mem-path={memory},share=on"
        command = [binary, "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-machine", f"{running or 'none'},memory-backend=ram0", "-m", f"{size}B"]
        command += [] if running else ["-S"]
        command += ["-object", backend, "-qmp", f"unix:{self._path},server=on,wait=off", *more]
        self.events: list[tuple[float, str, str]] = []
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise ChannelError(binary, "run", error.strerror or str(error)) from error
        try:
            self._socket = self._connect()
            self._file = self._socket.makefile("rb")
            version = json.loads(self._file.readline())["QMP"]["version"]["qemu"]
            self.version = f"{version['major']}.{version['minor']}.{version['micro']}"
            self.ask("qmp_capabilities")
        except BaseException:
            self.end()
            raise

    def ask(self, command: str, **arguments: object) -> Any:  # noqa: ANN401
        """Return the answer to a QMP command.

        Raises:
            ChannelError: QEMU refuses it or has ended.
        """
        message: dict[str, object] = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        for line in self._file:
            answer = json.loads(line)
            if "event" in answer:
                at = answer["timestamp"]
                status = str(answer.get("data", {}).get("status", ""))
                self.events.append(
                    (at["seconds"] + at["microseconds"] / 1e6, answer["event"], status)
                )
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise ChannelError(command, "ask", str(answer["error"].get("desc")))
        raise ChannelError(str(self._path), command, "QEMU has ended")

    def switch_on(self, *capabilities: str) -> None:
        """Switch migration capabilities on.

        Raises:
            ChannelError: QEMU does not know one of them.
        """
        switches = [{"capability": name, "state": True} for name in capabilities]
        self.ask("migrate-set-capabilities", capabilities=switches)

    def save(self, uri: str) -> float:
        """Migrate to ``uri`` without a speed limit and return the total time in seconds.

        Raises:
            ChannelError: the migration failed or did not end.
        """
        self.ask("migrate-set-parameters", **{"max-bandwidth": 0})
        self.ask("migrate", uri=uri)
        return float(self.wait_migrated(uri)["total-time"]) / 1000

    def load(self, uri: str) -> float:
        """Load ``uri`` into this process and return the seconds that it took.

        Raises:
            ChannelError: the load failed or did not end.
        """
        self.switch_on("events")
        self.ask("migrate-incoming", uri=uri)
        self.wait_migrated(uri)
        times = {status: at for at, name, status in self.events if name == "MIGRATION"}
        return times["completed"] - times["active"]

    def wait_migrated(self, uri: str) -> dict[str, Any]:
        """Return what QEMU says of the migration when it has completed.

        Raises:
            ChannelError: the migration failed or did not end.
        """
        end = time.monotonic() + SAVE_LIMIT_S
        while time.monotonic() < end:
            info = self.ask("query-migrate")
            if info.get("status") == "completed":
                return dict(info)
            if info.get("status") in ("failed", "cancelled"):
                break
            time.sleep(0.01)
        raise ChannelError(uri, "migrate", "the measured migration did not complete")

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        if hasattr(self, "_file"):
            self._file.close()
        if hasattr(self, "_socket"):
            self._socket.close()

    def _connect(self) -> socket.socket:
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end and self._process.poll() is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(SAVE_LIMIT_S)
            try:
                connection.connect(str(self._path))
            except OSError:
                connection.close()
                time.sleep(0.02)
            else:
                return connection
        raise ChannelError(str(self._path), "connect", "QEMU did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.end()


def measure_file_save(
    binary: str, root: Path, pages: int, fill: float, capabilities: Sequence[str] = ()
) -> MeasuredSave:
    """Return a save into a file in ``root`` of a guest of which ``fill`` (0 to 1) is not zero.

    Raises:
        ChannelError: QEMU cannot be run, or the save or the load of it failed.
    """
    memory, target = make_memory(root, "ram", pages, fill), root / "saved"
    with Process(binary, root, "src", memory) as source:
        source.switch_on(*capabilities)
        seconds = source.save(f"file:{target}")
        version = source.version
    other = make_memory(root, "ram2", pages, 0.0)
    with Process(binary, root, "dst", other, "-incoming", "defer") as process:
        process.switch_on(*capabilities)
        load_s = process.load(f"file:{target}")
    target.unlink()
    return MeasuredSave(seconds, version, load_s)


def measure_socket_save(
    binary: str, root: Path, pages: int, fill: float, capabilities: Sequence[str] = ()
) -> MeasuredSave:
    """Return a migration to a second QEMU; otherwise as `measure_file_save`."""
    memory, other = make_memory(root, "ram", pages, fill), make_memory(root, "ram2", pages, 0.0)
    target = root / "mig.sock"
    target.unlink(missing_ok=True)
    with (
        Process(binary, root, "dst", other, "-incoming", "defer") as process,
        Process(binary, root, "src", memory) as source,
    ):
        for end in (process, source):
            end.switch_on(*capabilities)
        process.ask("migrate-incoming", uri=f"unix:{target}")
        return MeasuredSave(source.save(f"unix:{target}"), source.version)


def make_memory(root: Path, name: str, pages: int, fill: float) -> Path:
    """Return a file of guest RAM; it is touched, so that no first use is measured."""
    path = root / name
    full, chunk = int(pages * fill), 1024
    with path.open("wb", buffering=0) as file:
        for first in range(0, pages, chunk):
            byte = b"\x5a" if first < full else b"\0"
            file.write(byte * (min(chunk, pages - first) * PAGE_SIZE))
    return path
