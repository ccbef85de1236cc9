"""Entry point of ``migsim-system-x86_64``: says hello, then imports what a machine needs.

A client of a machine whose command line cannot be wrong gets its greeting while the engines are
still being imported.  This module imports nothing of migsim at its top.
"""

from __future__ import annotations

import gc
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Sequence

_SAFE = {
    "-machine": "none|q35|pc|microvm",
    "-m": "[1-9][0-9]{0,3}M?|[1-8]G",
    "-accel": "kvm|tcg|qtest",
    "-cpu": "max|qemu64",
    "-smp": "[1-8]",
    "-name": "[A-Za-z0-9_.-]+",
    "-uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "-display": "none",
    "-audio": "none",
    "-vga": "none",
    "-nic": "none",
    "-net": "none",
    "-serial": "none|null",
    "-parallel": "none|null",
    "-monitor": "none|null",
    "-incoming": "defer",
    "-enable-kvm": "",
    "-nodefaults": "",
    "-no-user-config": "",
    "-no-reboot": "",
    "-no-shutdown": "",
    "-S": "",
}
"""Options that cannot make a start fail with an argument of this shape; without one if empty."""


class Greeter:
    """Listens at the path of a QMP socket, and greets the first client from a thread.

    `finish` hands both sockets over; from then on nothing is done here.
    """

    def __init__(self, path: str, greeting: bytes) -> None:
        self.path = path
        self._greeting = greeting
        self._client: socket.socket | None = None
        self._wake_in, self._wake_out = os.pipe2(os.O_CLOEXEC)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.listener.bind(path)
        os.chmod(path, 0o600)
        self.listener.listen(16)
        self._thread = threading.Thread(target=self._greet, name="greeter", daemon=True)
        self._thread.start()

    def finish(self) -> tuple[socket.socket, socket.socket | None]:
        """Return the listening socket, and the client that was greeted, or None."""
        os.write(self._wake_out, b"\0")
        self._thread.join()
        os.close(self._wake_in)
        os.close(self._wake_out)
        self.listener.setblocking(False)
        return self.listener, self._client

    def _greet(self) -> None:
        import select

        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(self._wake_in, select.POLLIN)
        for fd, _ in poll.poll():
            if fd == self.listener.fileno():
                self._client, _ = self.listener.accept()
                self._client.sendall(self._greeting)


def greet_early(argv: Sequence[str]) -> Greeter | None:
    """Return a greeter if ``argv`` cannot be wrong and has one QMP socket; else None."""
    path, words = None, iter(argv)
    for word in words:
        if word == "-qmp" and path is None:
            path = _unix_path(next(words, ""))
            if path is None:
                return None
        elif word not in _SAFE or (_SAFE[word] and not re.fullmatch(_SAFE[word], next(words, ""))):
            return None
    if path is None or os.path.lexists(path):
        return None
    try:
        return Greeter(path, _greeting(os.environ.get("MIGSIM_RELEASE") or "10.0"))
    except (OSError, ValueError):
        return None  # the long way finds the words for it


def _unix_path(text: str) -> str | None:
    kind, _, rest = text.partition(":")
    path, *options = rest.split(",")
    known = {"server=on", "wait=off", "server", "nowait"}
    if kind != "unix" or not path or not {"server=on", "server"} & set(options):
        return None
    return path if set(options) <= known else None


def _greeting(release: str) -> bytes:
    major, minor = (int(part) for part in release.split("."))
    version = {"qemu": {"major": major, "minor": minor, "micro": 0}, "package": "migsim"}
    message = {"QMP": {"version": version, "capabilities": ["oob"]}}
    return json.dumps(message).encode() + b"\r\n"


def console() -> None:
    """Run the process, and end it without waiting for threads that read from a dead source."""
    gc.disable()  # imports make nothing that could be collected
    greeter = greet_early(sys.argv[1:])
    from .process import main

    status = main(greeter=greeter)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
