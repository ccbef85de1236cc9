"""A source and a target, and the steps that every case is made of."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .guestmem import check_memory, wait_for_dirty_memory, write_marker
from .image import boot_image
from .program import Instance, Program, launch, probe
from .wire import CaseFailed, check, poll

_FAILING = frozenset({"setup", "failing", "failed"})


@dataclass(frozen=True)
class Setting:
    """Who plays, where and how thoroughly.

    Attributes:
        folder: takes sockets and files; a short name.
        sequential: the sweep over memory waits for each reply, and instances are probed first.
        accels: accelerators in the order of preference.
    """

    source: Program
    target: Program
    folder: Path
    sequential: bool = False
    accels: Sequence[str] = ("tcg",)


@dataclass
class Pair:
    """Two instances, and what a case does with them.

    Attributes:
        stack: ends the instances when the case is over.
        machine: name of the machine type that both know.
    """

    setting: Setting
    stack: ExitStack
    machine: str
    suspends: bool = False
    source: Instance = field(init=False)
    target: Instance = field(init=False)

    # Instances.

    def start(
        self,
        incoming: str | None = "defer",
        *,
        both: Sequence[str] = (),
        source: Sequence[str] = (),
        target: Sequence[str] = (),
        memory: Sequence[str] = ("-m", "150M"),
        quiet: bool = False,
    ) -> None:
        """Launch both sides; events are switched on."""
        self.start_source((*memory, *both, *source), quiet=quiet)
        self.start_target(incoming, (*memory, *both, *target), quiet=quiet)

    def start_source(self, options: Sequence[str], *, quiet: bool = False) -> None:
        """Launch the source."""
        self.source = self._launch(self.setting.source, "source", options, quiet=quiet)

    def start_target(
        self, incoming: str | None, options: Sequence[str], *, quiet: bool = False
    ) -> None:
        """Launch a target, or one more."""
        more = ("-incoming", incoming) if incoming is not None else ()
        self.target = self._launch(self.setting.target, "target", (*options, *more), quiet=quiet)

    def _launch(
        self, program: Program, who: str, options: Sequence[str], *, quiet: bool
    ) -> Instance:
        folder = self.setting.folder
        image = folder / "bootsect"
        image.write_bytes(boot_image(suspends=self.suspends))
        accels = [word for accel in self.setting.accels for word in ("-accel", accel)]
        words = [
            *accels,
            *("-machine", f"{self.machine},", "-name", f"{who},debug-threads=on"),
            *("-serial", f"file:{folder / who}_serial"),
            *("-drive", f"if=none,id=d0,file={image},format=raw"),
            *("-device", "ide-hd,drive=d0,secs=1,cyls=1,heads=1"),
            *options,
        ]
        instance = self.stack.enter_context(launch(program, folder, who, words, quiet=quiet))
        capability(instance, "events")
        return instance

    @property
    def both(self) -> tuple[Instance, Instance]:
        """Source and target."""
        return self.source, self.target

    # Migration.

    def not_converging(self) -> None:
        """Make sure that the migration does not end by itself."""
        parameters(self.source, max_bandwidth=3_000_000, downtime_limit=1)

    def converging(self) -> None:
        """Let the migration end."""
        parameters(self.source, max_bandwidth=1_000_000_000, downtime_limit=30_000)

    def listen(self, uri: str, *, exit_on_error: bool | None = None) -> None:
        """Give the target its address; it has to say that it waits."""
        more = {} if exit_on_error is None else {"exit_on_error": exit_on_error}
        capability(self.target, "events")
        self.target.qmp.ok("migrate-incoming", uri=uri, **more)
        self.target.qmp.wait_migration_event("setup")

    def listen_channels(self, channels: object) -> None:
        """Give the target its addresses as channels."""
        capability(self.target, "events")
        self.target.qmp.ok("migrate-incoming", channels=channels)
        self.target.qmp.wait_migration_event("setup")

    def where(self) -> dict[str, str]:
        """Return the address at which the target listens."""
        found: list[dict[str, str]] = []

        def told() -> bool:
            info = migration(self.target)
            addresses = info.get("socket-address")
            if isinstance(addresses, list):
                found.extend(addresses)
            return bool(found)

        poll(told, "the target's address")
        return found[0]

    def uri(self) -> str:
        """Return the address of the target as a URI."""
        address = self.where()
        if address["type"] == "unix":
            return f"unix:{address['path']}"
        return f"tcp:{address['host']}:{address['port']}"

    def migrate(self, uri: str | None = None, channels: object = None) -> None:
        """Begin the migration."""
        if channels is not None:
            self.source.qmp.ok("migrate", channels=channels)
        else:
            self.source.qmp.ok("migrate", uri=self.uri() if uri is None else uri)

    def completed(self, instance: Instance) -> None:
        """Wait for the end of a migration that has to work."""
        wait_status(instance, "completed", never={"failed", "cancelled"})

    def stop_source(self) -> None:
        """Stop the guest before the migration."""
        self.source.qmp.ok("stop")
        self.source.qmp.wait_flag("STOP")

    def wait_source_guest(self) -> None:
        """Wait until the guest has printed, and, if it is one that sleeps, is asleep."""
        self.source.wait_serial()
        if self.suspends:
            self.source.qmp.wait_flag("SUSPEND")

    def wait_target_guest(self) -> None:
        """Wait until the guest runs on the target and has printed there."""
        self.target.qmp.wait_flag("RESUME")
        if self.suspends:
            self.target.qmp.ok("system_wakeup")
        self.target.wait_serial()

    def live_part(self, passes: int = 1) -> None:
        """See that the migration goes on for a while; then let it end."""
        poll(lambda: passes_of(self.source) >= passes, "passes over memory")
        if self.suspends:
            from .guestmem import MARKER, MARKER_ADDR

            poll(lambda: self.target.qtest.readq(MARKER_ADDR) == MARKER, "the marker")
        else:
            wait_for_dirty_memory(self.source, self.target)

    def prepare_dirty_memory(self) -> None:
        """Put the marker where the target is looked at."""
        write_marker(self.source)

    def end(self, *, memory: bool) -> None:
        """End both programs; ``memory`` is whether the target's is checked before."""
        self.source.quit()
        if memory:
            check_memory(self.target, sequential=self.setting.sequential)
        self.target.quit()


def capability(instance: Instance, name: str) -> None:
    """Switch a capability on."""
    instance.qmp.ok("migrate-set-capabilities", capabilities=[{"capability": name, "state": True}])


def capabilities(instances: Iterable[Instance], *names: str) -> None:
    """Switch capabilities on, on each side."""
    for instance in instances:
        for name in names:
            capability(instance, name)


def parameters(instance: Instance, /, **values: object) -> None:
    """Set parameters, one command each, and see that each is told as it was set."""
    for name, value in values.items():
        instance.qmp.ok("migrate-set-parameters", **{name: value})
        told = instance.qmp.ok("query-migrate-parameters")
        key = name.replace("_", "-")
        assert isinstance(told, dict)
        check(told.get(key) == value, f"{instance.who}: {key} is {told.get(key)!r}, not {value!r}")


def migration(instance: Instance) -> Mapping[str, object]:
    """Return what ``query-migrate`` answers."""
    answer = instance.qmp.ok("query-migrate")
    assert isinstance(answer, dict)
    return answer


def ram(instance: Instance, member: str) -> int:
    """Return a number of the RAM part; 0 if there is none."""
    part = migration(instance).get("ram")
    value = part.get(member, 0) if isinstance(part, dict) else 0
    assert isinstance(value, int)
    return value


def passes_of(instance: Instance) -> int:
    """Return how many passes over memory were begun."""
    return ram(instance, "dirty-sync-count")


def wait_status(instance: Instance, status: str, never: Iterable[str] = ()) -> None:
    """Wait for a status; one of ``never`` fails the case."""

    def arrived() -> bool:
        info = migration(instance)
        now = info.get("status")
        check(isinstance(now, str), f"{instance.who}: query-migrate has no status")
        problem = info.get("error-desc", "")
        check(now not in never or now == status, f"{instance.who}: {now} {problem}")
        return now == status

    poll(arrived, f"{instance.who}: status {status}")


def wait_failed(instance: Instance, *, active: bool) -> None:
    """Wait until a migration has failed, with nothing but these statuses before it."""
    allowed = _FAILING | ({"active"} if active else set())

    def failed() -> bool:
        now = migration(instance).get("status")
        check(now in allowed, f"{instance.who}: {now} before a failure")
        return now == "failed"

    poll(failed, f"{instance.who}: status failed")
    answer = instance.qmp.ok("query-status")
    assert isinstance(answer, dict)
    check(answer.get("running") is True, f"{instance.who}: does not run after the failure")


def common_machine(setting: Setting) -> str:
    """Return the q35 machine that both programs know, asking each in a process of its own."""
    names: list[dict[str, object]] = []
    known: list[set[object]] = []
    for program in {setting.source, setting.target}:
        machines = probe(program, setting.folder, "query-machines")
        assert isinstance(machines, list)
        known.append({machine["name"] for machine in machines})
        names += [machine for machine in machines if machine.get("alias") == "q35"]
    for machine in names:
        if all(machine["name"] in some for some in known):
            return str(machine["name"])
    raise CaseFailed("no q35 machine that both know")


@contextmanager
def pair(setting: Setting, machine: str, *, suspends: bool = False) -> Iterator[Pair]:
    """Yield a pair whose programs are killed at the end, if they still live."""
    with ExitStack() as stack:
        yield Pair(setting, stack, machine, suspends)
        time.sleep(0)
