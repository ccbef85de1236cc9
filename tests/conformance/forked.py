"""Plays scenarios of the kit against migsim in forked copies of this process.

Starting an interpreter for each of the hundreds of machines would take most of the time, so the
program under test is a fork in which everything is imported already.  Run as a script it takes
the arguments ``check --filter REGEX --release R --jobs N`` and prints what the kit prints.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType, SimpleNamespace

KIT = Path(__file__).with_name("kit")
GOLDEN = {"10.0": KIT / "golden", "11.1": KIT / "golden-11.1"}
MORE = Path(__file__).with_name("more")
"""Scenarios of our own, with what QEMU 10.0.2 answered."""


def load_kit() -> ModuleType:
    """Return the kit's program as a module that starts forks."""
    spec = importlib.util.spec_from_file_location("conformance_kit", KIT / "conformance.py")
    assert spec is not None
    assert spec.loader is not None
    kit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kit)
    real = kit.subprocess
    kit.subprocess = SimpleNamespace(
        Popen=ForkedProgram, DEVNULL=real.DEVNULL, TimeoutExpired=real.TimeoutExpired
    )
    return kit


class ForkedProgram:
    """As much of ``subprocess.Popen`` as the kit needs."""

    def __init__(self, argv, *, stdout, cwd, **_more) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._child(argv, stdout.fileno(), cwd)
        os.setpgid(self.pid, self.pid)

    def _child(self, argv: list[str], log: int, cwd: str) -> None:
        status = 70
        try:
            os.setpgid(0, 0)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            os.chdir(cwd)
            os.environ["MIGSIM_ALLOW_EXEC"] = "1"
            sys.argv[0] = argv[0]
            from migsim.server.process import main

            status = main(argv[1:])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        import subprocess

        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked program", timeout)
            time.sleep(0.002)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


EXTRA = ["-display", "none", "-nodefaults", "-accel", "kvm", "-accel", "tcg"]
"""Options with which the transcripts were recorded, beyond those of the scenarios."""


def warm_up() -> None:
    """Import everything that a machine needs."""
    import migsim.cmdline.build
    import migsim.cmdline.parse
    import migsim.monitor.hub
    import migsim.monitor.session
    import migsim.server.connector
    import migsim.server.driver
    import migsim.server.frontend
    import migsim.server.process
    import migsim.vm  # noqa: F401


def differences(
    kit: ModuleType,
    scenario: dict,
    release: str,
    time_factor: float = 1.0,
    golden: Path | None = None,
) -> list[str]:
    """Play one scenario; return complaints and differences to the recorded transcript.

    Transcripts are those of the kit unless they are in ``golden``.
    """
    import difflib
    import json
    import shutil

    program = ["migsim-system-x86_64", "-release", release]
    options = SimpleNamespace(
        program=program, extra=EXTRA, workdir=None, time_factor=time_factor, verbose=False
    )
    played, complaints, directory = kit.play(scenario, options)
    lines = list(complaints)
    recorded = (golden or GOLDEN[release]) / scenario["_rel"]
    wanted = json.loads(recorded.read_text())
    if wanted.pop("digest") != played.pop("digest"):
        lines.append("the transcript belongs to another version of this scenario")
    if wanted != played:
        texts = [kit.dump(doc).splitlines() for doc in (wanted, played)]
        lines += list(difflib.unified_diff(*texts, "golden", "now", lineterm="", n=4))[:80]
    if lines:
        for log in sorted(Path(directory).glob("*.log")):
            lines += [f"{log.name}| {line}" for line in log.read_text().splitlines()[-20:]]
    shutil.rmtree(directory, ignore_errors=True)
    return lines


def scenarios(
    kit: ModuleType,
    pattern: str,
    release: str,
    without: set[str],
    *,
    folder: Path = KIT,
    golden: Path | None = None,
) -> list[dict]:
    """Return the scenarios whose path matches and that the release has a transcript of."""
    found, _ = kit.find_scenarios([str(folder / "scenarios")], pattern, without)
    return [s for s in found if ((golden or GOLDEN[release]) / s["_rel"]).exists()]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--filter", default="")
    parser.add_argument("--release", default="10.0")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--time-factor", type=float, default=0.3)
    parser.add_argument("--without", default="")
    parser.add_argument("--folder", type=Path, help="with 'scenarios' and 'golden'; the kit's")
    options = parser.parse_args()
    kit = load_kit()
    warm_up()
    folder = options.folder or KIT
    golden = options.folder and options.folder / "golden"
    without = set(options.without.split(","))
    todo = scenarios(kit, options.filter, options.release, without, folder=folder, golden=golden)
    workers = []
    for job in range(options.jobs):
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.close(read_end)
            with open(write_end, "w") as out:
                for scenario in todo[job :: options.jobs]:
                    lines = differences(kit, scenario, options.release, options.time_factor, golden)
                    verdict = "FAIL" if lines else "PASS"
                    print(f"{verdict} {scenario['_rel']}", *lines, sep="\n     ", file=out)
                    out.flush()
            os._exit(0)
        os.close(write_end)
        workers.append(open(read_end))  # noqa: SIM115
    text = "".join(worker.read() for worker in workers)
    sys.stdout.write(text)
    passed = text.count("PASS ")
    print(f"{passed} passed, {len(todo) - passed} failed")
    return int(passed != len(todo))


if __name__ == "__main__":
    sys.exit(main())
