"""Our program as a fork of this process, in which everything is imported already.

Quick runs use it: most of the time of a case would go into starting interpreters.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence


class ForkedProcess:
    """As much of ``subprocess.Popen`` as an instance needs."""

    stdout = None

    def __init__(self, argv: Sequence[str], *, quiet: bool) -> None:
        self.returncode: int | None = None
        import migsim.monitor.commands
        import migsim.server.frontend  # noqa: F401

        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(argv, quiet=quiet)
        # One that is forgotten would keep the pipes open that were inherited.
        atexit.register(self.kill)

    def poll(self) -> int | None:
        """Return the exit status if the process has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and timeout is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked program", timeout)
            time.sleep(0.001)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)
        atexit.unregister(self.kill)

    def _child(self, argv: Sequence[str], *, quiet: bool) -> None:
        status = 70
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if quiet:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            os.environ["MIGSIM_ALLOW_EXEC"] = "1"
            sys.argv[0] = "migsim-system-x86_64"
            from migsim.server.process import main

            status = main(argv)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
