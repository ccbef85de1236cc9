"""The standard streams of the process as a character device.

Files and pipes cannot all be watched by an event loop, so two threads carry the bytes to and from
a socket that can be.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading

_CHUNK_BYTES = 1 << 16
_FINISH_S = 2.0


class StandardStreams:
    """Carries bytes between file descriptors and `sock`, until `finish`.

    The end of the input disconnects the user of the device, as on a real monitor; the process
    goes on.
    """

    def __init__(self, input_fd: int = 0, output_fd: int = 1) -> None:
        self.sock, self._inner = socket.socketpair()
        self._input_fd = input_fd
        self._output_fd = output_fd
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        self._writer = threading.Thread(target=self._write, name="stdout", daemon=True)
        self._writer.start()

    def finish(self) -> None:
        """Wait until what was said has been written; `sock` is closed by then."""
        self._writer.join(_FINISH_S)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._input_fd, _CHUNK_BYTES):
                self._inner.sendall(data)
        with contextlib.suppress(OSError):
            self._inner.shutdown(socket.SHUT_WR)

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._inner.recv(_CHUNK_BYTES):
                while data:
                    data = data[os.write(self._output_fd, data) :]
