"""Launches a program as the outside client does: it connects to two sockets that listen here."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .forked import ForkedProcess
from .wire import CaseFailed, Qmp, Qtest, check, poll

Process = subprocess.Popen[bytes] | ForkedProcess
_ACCEPT_S = 50.0
_EXIT_S = 30.0
_numbers = itertools.count()


FORKED = "migsim-system-x86_64 forked"
"""Stands for our program as a fork of this process."""


@dataclass(frozen=True)
class Program:
    """A program under test.

    Attributes:
        command: pasted into a shell command line; ends in ``-system-ARCHITECTURE``.
        qtest_accel: whether it knows ``-accel qtest``; a distribution's QEMU may not.
        forked: it is ours, and started as a fork of this process.
    """

    command: str
    qtest_accel: bool = True
    forked: bool = False


def find_program(command: str) -> Program:
    """Return the program behind ``command``, after a look at what it accepts."""
    check("-system-" in command, f"{command}: no name of a system emulator")
    if command == FORKED:
        return Program(command, forked=True)
    plain = subprocess.run(
        ["sh", "-c", f"exec {command} -accel help"], capture_output=True, text=True, check=False
    )
    return Program(command, "migsim" in command or "qtest" in plain.stdout)


@dataclass
class Instance:
    """One running program with its two connections.

    Attributes:
        status: the exit status that is expected, after SIGTERM or of a program that ends itself.
    """

    who: str
    process: Process
    qtest: Qtest
    qmp: Qmp
    serial: Path
    status: int = 0
    ended: bool = field(default=False, init=False)

    def wait_serial(self, *, allowed: str = "AB") -> None:
        """Wait for a ``B`` in what the guest printed."""

        def printed() -> bool:
            text = self.serial.read_bytes().decode("latin-1")
            check(set(text) <= set(allowed), f"{self.who}: the serial port printed {text!r}")
            return "B" in text

        poll(printed, f"{self.who}: a B on the serial port")

    def wait_end(self) -> None:
        """Wait until the program has ended by itself, as it has to."""
        try:
            status = self.process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            raise CaseFailed(f"{self.who}: does not end by itself") from None
        self._close(status)

    def quit(self) -> None:
        """End the program by SIGTERM, and check its exit status."""
        if self.ended:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            raise CaseFailed(f"{self.who}: does not end after SIGTERM") from None
        self._close(status)

    def _close(self, status: int) -> None:
        self.ended = True
        self.qmp.drain()
        self.kill()
        check(status == self.status, f"{self.who}: exit status {status} instead of {self.status}")

    def kill(self) -> None:
        """Let go of everything, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.qtest.close()
        self.qmp.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def launch(
    program: Program, folder: Path, who: str, options: Sequence[str], *, quiet: bool = False
) -> Instance:
    """Start ``program`` with the options of the client and ``options``; return it connected.

    ``folder`` has a short name.  ``quiet`` drops what the program says about expected errors.
    """
    number = next(_numbers)
    paths = folder / f"q{number}.sock", folder / f"q{number}.qmp"
    arguments = [
        *("-qtest", f"unix:{paths[0]}", "-qtest-log", "/dev/null"),
        *("-chardev", f"socket,path={paths[1]},id=char0", "-mon", "chardev=char0,mode=control"),
        *("-display", "none", "-audio", "none", *options),
        *(("-accel", "qtest") if program.qtest_accel else ()),
    ]
    words = shlex.join(arguments)
    command = f"exec {program.command} {words}" + (" 2>/dev/null" if quiet else "")
    with _listening(paths[0]) as qtest_socket, _listening(paths[1]) as qmp_socket:
        process: Process
        if program.forked:
            process = ForkedProcess(arguments, quiet=quiet)
        else:
            process = subprocess.Popen(
                ["sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if who == "probe" else None,
                env={**os.environ, "MIGSIM_ALLOW_EXEC": "1"},
            )
        try:
            qtest = Qtest(_accept(qtest_socket, process, who), who)
            qmp = Qmp(_accept(qmp_socket, process, who), who)
        except BaseException:
            process.kill()
            process.wait()
            raise
    instance = Instance(who, process, qtest, qmp, folder / f"{who}_serial")
    try:
        check(qtest.ask("endianness") == "little", f"{who}: endianness")
        qmp.greet()
    except BaseException:
        instance.kill()
        raise
    return instance


def probe(program: Program, folder: Path, command: str, /, **arguments: object) -> object:
    """Return what a machine ``none`` answers, in a process of its own that must say nothing."""
    with launch(program, folder, "probe", ["-machine", "none"]) as instance:
        answer = instance.qmp.ok(command, **arguments)
        instance.quit()
        printed = b""
        if instance.process.stdout is not None:
            printed = instance.process.stdout.read()
            instance.process.stdout.close()
    check(not printed, f"probe: printed {printed!r}")
    return answer


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        try:
            yield listener
        finally:
            path.unlink()


def _accept(listener: socket.socket, process: Process, who: str) -> socket.socket:
    listener.settimeout(0.2)
    for _ in range(int(_ACCEPT_S / 0.2)):
        try:
            connection, _address = listener.accept()
        except TimeoutError:
            status = process.poll()
            check(status is None, f"{who}: ended with status {status} before it connected")
        else:
            return connection
    raise CaseFailed(f"{who}: does not connect")
