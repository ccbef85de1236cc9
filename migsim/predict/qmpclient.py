"""A QMP connection that can only ask: every command that could change a guest is refused here."""

from __future__ import annotations

import json
import socket
from typing import Any, Final, Self

from ..errors import ChannelError, StateError

READ_ONLY: Final = frozenset(
    {
        "qmp_capabilities",
        "query-version",
        "query-status",
        "query-memory-size-summary",
        "query-migrate",
        "query-migrate-parameters",
        "query-migrate-capabilities",
        "query-dirty-rate",
        "calc-dirty-rate",
    }
)
"""Commands that leave the guest and its settings as they are.

``calc-dirty-rate`` reads samples of RAM; in its default mode, the only one used, it logs nothing.
"""


class ReadOnlyQmp:
    """A connection to a running QEMU's QMP socket.

    Raises:
        ChannelError: there is no such socket, or it stops answering.
    """

    def __init__(self, path: str, timeout_s: float = 15.0) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
            self._file = self._socket.makefile("rb")
            self.greeting = self._read()
            self.ask("qmp_capabilities")
        except OSError as error:
            self.close()
            raise ChannelError(path, "connect", error.strerror or str(error)) from error
        except BaseException:
            self.close()
            raise

    def ask(self, command: str, **arguments: object) -> Any:  # noqa: ANN401
        """Return the answer to a command that changes nothing.

        Raises:
            StateError: the command is not one of `READ_ONLY`, or QEMU refuses it.
            ChannelError: the connection ended.
        """
        if command not in READ_ONLY:
            raise StateError(command, "read-only", hint="this connection only asks")
        message: dict[str, object] = {"execute": command}
        if arguments:
            message["arguments"] = {name.replace("_", "-"): v for name, v in arguments.items()}
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            while True:
                answer = self._read()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise StateError(command, "refused", hint=str(answer["error"].get("desc")))
        except OSError as error:
            raise ChannelError(self._path, command, error.strerror or str(error)) from error

    def peer_pid(self) -> int | None:
        """Return the process at the other end, or None where the system does not say."""
        option = getattr(socket, "SO_PEERCRED", None)
        if option is None:
            return None
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, option, 12)[:4], "little")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _read(self) -> dict[str, Any]:
        line = self._file.readline()
        try:
            value = json.loads(line)
        except ValueError:
            raise ChannelError(self._path, "read", "no QMP at the other end") from None
        if not isinstance(value, dict):
            raise ChannelError(self._path, "read", "no QMP at the other end")
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
