"""Machine ``none`` here and in a real QEMU: streams both ways, the same commands on both."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from vms import MIB, PAGE, STRICT, fill, make, short, waiting

from migsim.guest.workloads import HotCold
from migsim.machine.config import MachineConfig
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.vm import VM

pytestmark = pytest.mark.live

SIZE = 64 * MIB


@pytest.fixture
def shm():
    """Return a directory in memory: RAM files on disk would be slow."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    path = Path(tempfile.mkdtemp(dir=base, prefix="migsim"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def arguments(ram: Path, size=SIZE) -> list[str]:
    backend = f"memory-backend-file,id=ram0,size={size},mem-path={ram},share=on"
    return ["-machine", "none,memory-backend=ram0", "-m", f"{size // MIB}M", "-object", backend]


def mix(vm: VM) -> None:
    """Fill RAM with runs of zero, constant and random pages."""
    view = vm.ram["ram0"].view()
    generator = np.random.default_rng(7)
    view[100:1100] = generator.integers(0, 256, (1000, PAGE), np.uint8)
    view[4000:8000] = 7
    view[-1, -1] = 1


def busy(seed: int = 5) -> HotCold:
    return HotCold(
        200, 9000, hot_pages=50, hot_share=0.5, rate_pages_per_s=20_000.0, seed=seed
    )  # fmt: skip


@pytest.mark.parametrize("offset", [0, 0x5000], ids=["", "offset"])
@pytest.mark.parametrize("in_place", [False, True], ids=["copied", "in-place"])
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_a_real_qemu_loads_what_migsim_saves(mode, in_place, offset, qemu, shm):
    source = make(SIZE, shm / "ram0", workload=busy())
    mix(source)
    source.advance(0.5)
    # Slow enough for some passes in which the guest goes on writing.
    source.set_parameters({"mode": mode, "max-bandwidth": 50 * MIB})
    source.set_capabilities([("x-ignore-shared", in_place)])
    uri = f"file:{shm}/state" + (f",offset={offset}" if offset else "")
    info = source.save(uri)
    passes = info["ram"]["dirty-sync-count"]
    assert passes > 2 if mode == "normal" and not in_place else passes >= 2
    before = np.array(source.ram["ram0"].view())
    source.quit()

    target_ram = shm / ("ram0" if in_place else "ram1")
    target = qemu(*arguments(target_ram), "-incoming", "defer")
    target.capabilities(events=True, x_ignore_shared=in_place)
    assert target.load(uri) == "completed"
    assert target("query-status")["status"] == "running"
    names = [event["event"] for event in target.events]
    assert names == ["MIGRATION", "MIGRATION", "RESUME", "MIGRATION"]
    target.stop()
    assert target_ram.read_bytes() == before.tobytes()


@pytest.mark.parametrize("state", ["paused", "prelaunch", "suspended", "shutdown"])
def test_a_real_qemu_takes_over_the_run_state(state, qemu, shm):
    source = make(MIB, start_stopped=state == "prelaunch")
    match state:
        case "paused":
            source.stop()
        case "suspended":
            source.suspend()
        case "shutdown":
            from migsim.qapi.enums import RunState

            source.run.set(RunState.SHUTDOWN)
    source.save(f"file:{shm}/state")
    target = qemu(*arguments(shm / "ram1", MIB), "-incoming", "defer")
    assert target.load(f"file:{shm}/state") == "completed"
    assert target("query-status")["status"] == state


@pytest.mark.parametrize("offset", [0, 0x5000], ids=["", "offset"])
@pytest.mark.parametrize("in_place", [False, True], ids=["copied", "in-place"])
@pytest.mark.parametrize("mode", ["normal", "cpr-reboot"])
def test_migsim_loads_what_a_real_qemu_saves(mode, in_place, offset, qemu, shm):
    filler = make(SIZE, shm / "ram0")
    mix(filler)
    before = np.array(filler.ram["ram0"].view())
    filler.quit()
    source = qemu(*arguments(shm / "ram0"))
    source.capabilities(x_ignore_shared=in_place)
    source("migrate-set-parameters", mode=mode)
    uri = f"file:{shm}/state" + (f",offset={offset}" if offset else "")
    source("migrate", uri=uri)
    theirs = source.migration("completed")["ram"]
    source.stop()

    target = waiting(SIZE, shm / ("ram0" if in_place else "ram1"))
    target.set_capabilities([("x-ignore-shared", in_place)])
    target.load(uri)
    assert target.run.state == "running"
    assert short(target) == ["M setup", "M active", "RESUME", "M completed"]
    assert (target.ram["ram0"].view() == before).all()

    # And what migsim then saves is counted as the real one counted it.
    target.set_parameters({"mode": mode})
    ours = target.save(f"file:{shm}/again")["ram"]
    same = ("normal", "duplicate", "total", "dirty-sync-count", "normal-bytes")
    exact = ("transferred", "precopy-bytes", "downtime-bytes")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    if theirs["dirty-sync-count"] == 2:  # the real one stayed below a window, as we did
        parts = abs(ours["transferred"] - theirs["transferred"])
        assert parts % 18 == 0, "framing apart, which depends on slices of time"
        if parts == 0:
            assert {key: ours[key] for key in exact} == {key: theirs[key] for key in exact}


# The same commands on both.

RAM_KEYS = ("normal", "duplicate", "total", "remaining", "normal-bytes", "page-size")
BYTE_KEYS = ("transferred", "precopy-bytes", "downtime-bytes", "dirty-sync-count")
SETTLED = ("active", "pre-switchover", "completed", "failed", "cancelled", None)


@dataclass
class Ours:
    """Our machine, spoken to as a real one is."""

    vm: VM
    seen: list[object] = field(default_factory=list)

    def command(self, name, arguments):
        reply = self.vm.qmp(name, arguments)
        return reply["error"]["class"] if "error" in reply else "ok"

    def settle(self, statuses=SETTLED):
        while self.query("query-migrate").get("status") not in statuses:
            self.vm.advance(0.01)

    def query(self, name):
        return self.vm.qmp(name)["return"]

    def events(self):
        return short(self.vm)


class Theirs:
    """A real QEMU, its replies reduced to what can be compared."""

    def __init__(self, qemu):
        self.qemu = qemu

    def command(self, name, arguments):
        try:
            self.qemu(name, **{key.replace("-", "_"): value for key, value in arguments.items()})
        except Exception as error:
            if not hasattr(error, "cls"):
                raise
            return error.cls
        return "ok"

    def settle(self, statuses=SETTLED):
        limit = time.monotonic() + 20
        while self.query("query-migrate").get("status") not in statuses:
            assert time.monotonic() < limit
            time.sleep(0.002)
        # Resets and the last events come from the main loop, a moment after the reply.
        for _ in range(3):
            time.sleep(0.002)
            self.query("query-status")

    def query(self, name):
        return self.qemu(name)

    def events(self):
        words = []
        for event in self.qemu.events:
            match event["event"]:
                case "MIGRATION":
                    words.append(f"M {event['data']['status']}")
                case "MIGRATION_PASS":
                    words.append(f"P {event['data']['pass']}")
                case name:
                    words.append(name)
        return words


@pytest.fixture
def pair(qemu, shm):
    """Return a function that makes one machine of either kind, with the same RAM."""

    def start(*extra, size=16 * MIB, pages=None, **config):
        for name in ("ours", "theirs"):
            filler = make(size, shm / f"{name}.ram")
            fill(filler, size // PAGE if pages is None else pages)
            filler.quit()
        theirs = qemu(*arguments(shm / "theirs.ram", size), *extra)
        memory = BackendSpec(
            BackendKind.FILE, "ram0", size, mem_path=str(shm / "ours.ram"), share=True
        )
        ours = VM(MachineConfig(memory=memory, profile=STRICT, **config))
        both = (Ours(ours), Theirs(theirs))
        for end in both:
            entry = {"capability": "events", "state": True}
            assert end.command("migrate-set-capabilities", {"capabilities": [entry]}) == "ok"
        theirs.events.clear()  # a RESUME from the start may or may not have been seen
        return both

    return start


def play(both, steps, shm, *, exact=False):
    """Play ``steps`` on both ends and compare after each of them."""
    done = []
    for name, arguments, statuses in steps:
        done.append((name, arguments))
        found = []
        for end, directory in zip(both, ("ours", "theirs"), strict=True):
            (shm / directory).mkdir(exist_ok=True)
            mine = {
                key: value.replace("{dir}", str(shm / directory))
                if isinstance(value, str)
                else value
                for key, value in arguments.items()
            }
            outcome = end.command(name, mine)
            end.settle(statuses or SETTLED)
            info = end.query("query-migrate")
            status = end.query("query-status")
            picture = {
                "outcome": outcome,
                "run": (status["status"], status["running"]),
                "status": info.get("status"),
                "members": sorted(set(info) - {"error-desc"}),
                "ram members": sorted(info.get("ram", ())),
            }
            if info.get("status") == "completed":
                keys = RAM_KEYS + (BYTE_KEYS if exact else ())
                picture |= {key: info["ram"][key] for key in keys}
            found.append(picture)
        assert found[0] == found[1], done
    words = [end.events() for end in both]
    if not exact:  # the number of passes depends on how fast the host is
        words = [[word for word in list_ if not word.startswith("P ")] for list_ in words]
    assert words[0] == words[1], done


def cap(name, state=True):
    entry = {"capability": name, "state": state}
    return ("migrate-set-capabilities", {"capabilities": [entry]}, None)


def param(**values):
    named = {key.replace("_", "-"): value for key, value in values.items()}
    return ("migrate-set-parameters", named, None)


def do(name, **arguments):
    return (name, arguments, None)


END = ("completed", "failed", "cancelled")
SAVE = ("migrate", {"uri": "file:{dir}/state"}, END)
BEGIN = ("migrate", {"uri": "file:{dir}/state"}, ("active",))
LET_GO = ("migrate-set-parameters", {"max-bandwidth": 0}, END)
SLOW = param(max_bandwidth=65536)
PRE = "pre-switchover"
SCRIPTS = {
    "normal": [SAVE, SAVE, do("cont"), SAVE],
    "cpr": [param(mode="cpr-reboot"), SAVE, do("system_reset"), SAVE],
    "stopped": [do("stop"), SAVE, do("cont")],
    "stopped cpr": [do("stop"), param(mode="cpr-reboot"), SAVE, do("cont"), do("stop")],
    "in place": [cap("x-ignore-shared"), param(mode="cpr-reboot"), SAVE],
    "missing directory": [
        ("migrate", {"uri": "file:{dir}/no/state"}, END),
        param(mode="cpr-reboot"),
        ("migrate", {"uri": "file:{dir}/no/state"}, END),
        SAVE,
    ],
    "return path to a file": [
        cap("return-path"), SAVE, do("cont"), param(mode="cpr-reboot"), SAVE,
        cap("return-path", state=False), SAVE,
    ],
    "pause": [
        cap("pause-before-switchover"), ("migrate", {"uri": "file:{dir}/state"}, (PRE,)),
        do("cont"), do("migrate"), do("migrate-continue", state="device"),
        ("migrate-continue", {"state": PRE}, END),
    ],
    "pause and cancel": [
        cap("pause-before-switchover"), param(mode="cpr-reboot"),
        ("migrate", {"uri": "file:{dir}/state"}, (PRE,)), ("migrate_cancel", {}, END), SLOW,
    ],
}  # fmt: skip
SLOW_SCRIPTS = {
    "cancel": [SLOW, BEGIN, ("migrate_cancel", {}, END), BEGIN, ("migrate_cancel", {}, END)],
    "cancel cpr": [
        SLOW, param(mode="cpr-reboot"), BEGIN, do("cont"), do("stop"), do("system_reset"),
        do("system_wakeup"), ("migrate_cancel", {}, END), do("migrate_cancel"),
    ],
    "cancel stopped cpr": [
        SLOW, param(mode="cpr-reboot"), do("stop"), BEGIN, ("migrate_cancel", {}, END),
    ],
    "busy": [
        SLOW, BEGIN, do("migrate", uri="file:{dir}/other"), cap("xbzrle"),
        ("migrate-set-capabilities", {"capabilities": []}, None), do("migrate-incoming", uri="x:"),
        do("migrate-continue", state="active"), do("migrate-continue", state="device"), LET_GO,
    ],
    "stop in the middle": [SLOW, BEGIN, do("stop"), LET_GO],
    "stop and go": [SLOW, BEGIN, do("stop"), do("cont"), do("system_reset"), LET_GO],
    "reset while stopped": [SLOW, BEGIN, do("stop"), do("system_reset"), LET_GO, do("cont")],
    "cpr to normal": [SLOW, param(mode="cpr-reboot"), BEGIN, param(mode="normal"), LET_GO],
    "cpr to normal, and a failure": [  # the guest is lost
        SLOW, cap("return-path"), param(mode="cpr-reboot"), BEGIN, param(mode="normal"), LET_GO,
        do("cont"), do("system_reset"), do("stop"), SAVE,
    ],
    "stopped, normal to cpr": [
        SLOW, do("stop"), BEGIN, param(mode="cpr-reboot"), LET_GO,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_short_scripts(name, pair, shm):
    play(pair(size=4 * MIB, pages=100), SCRIPTS[name], shm, exact=True)


@pytest.mark.parametrize("name", SLOW_SCRIPTS)
def test_scripts_with_an_active_migration(name, pair, shm):
    play(pair(), SLOW_SCRIPTS[name], shm)


def random_script(seed: int) -> list[tuple[str, dict[str, object], tuple[str, ...] | None]]:
    """Return commands at random; none that makes a real QEMU abort or take its time."""
    choice = random.Random(seed)
    steps: list[tuple[str, dict[str, object], tuple[str, ...] | None]] = [SLOW]
    plain = [do(name) for name in ("stop", "cont", "system_reset", "system_wakeup")]
    plain += [do("system_powerdown"), do("migrate_cancel"), do("query-status")]
    plain += [do("migrate-continue", state=PRE), do("migrate-incoming", uri="file:{dir}/state")]
    plain += [do("migrate", uri="file:{dir}/no/state"), cap("auto-converge"), cap("zero-blocks")]
    go = ("active", PRE, "completed", "failed", "cancelled", None)
    for _ in range(20):
        kind = choice.random()
        if kind < 0.2:
            # The mode is only chosen where a migration is not under way.
            steps.append(("migrate_cancel", {}, ("completed", "failed", "cancelled", None)))
            steps.append(cap("pause-before-switchover", state=choice.random() < 0.3))
            steps.append(param(mode=choice.choice(["normal", "cpr-reboot"])))
            steps.append(("migrate", {"uri": "file:{dir}/state"}, go))
        elif kind < 0.3:
            steps.append(("migrate-set-parameters", {"max-bandwidth": 0}, (PRE, *END, None)))
            steps.append(SLOW)
        else:
            steps.append(choice.choice(plain))
    return steps


@pytest.mark.parametrize("seed", range(8))
def test_random_commands(seed, pair, shm):
    play(pair(), random_script(seed), shm)


def test_quit_while_active(pair, shm):
    both = pair()
    play(both, [SLOW, BEGIN], shm)
    ours, theirs = both
    assert ours.command("quit", {}) == theirs.command("quit", {}) == "ok"
    assert ours.events()[-2:] == theirs.events()[-2:] == ["SHUTDOWN", "M cancelling"]
    assert theirs.qemu.process.wait(5) == ours.vm.exited.status == 0


def test_a_mode_changed_in_the_middle_aborts_the_real_one(pair, shm):
    from migsim.errors import AbortError

    ours, theirs = pair()
    play((ours, theirs), [SLOW, BEGIN, param(mode="cpr-reboot")], shm)
    ours.command("migrate-set-parameters", {"max-bandwidth": 0})
    theirs.command("migrate-set-parameters", {"max-bandwidth": 0})
    with pytest.raises(AbortError):
        ours.settle(END)
    assert theirs.qemu.process.wait(10) == -6
    assert ours.vm.exited.signal == "SIGABRT"


BROKEN = {
    "empty": b"",
    "magic": b"QEVX\0\0\0\3",
    "cut header": b"QEVM\0\0",
    "nothing behind the header": b"QEVM\0\0\0\3",
}


@pytest.mark.parametrize("name", BROKEN)
def test_failed_loads_leave_the_same_state(name, pair, shm):
    (shm / "state").write_bytes(BROKEN[name])
    load = ("migrate-incoming", {"uri": f"file:{shm}/state", "exit-on-error": False}, END)
    both = pair("-incoming", "defer", incoming="defer")
    after = [do("cont"), do("stop"), do("migrate", uri=f"file:{shm}/x"), load, do("migrate_cancel")]
    play(both, [load, *after], shm)


def test_a_missing_source_leaves_setup_behind(pair, shm):
    load = ("migrate-incoming", {"uri": f"file:{shm}/no", "exit-on-error": False}, ("setup",))
    play(pair("-incoming", "defer", incoming="defer"), [load, load], shm)
