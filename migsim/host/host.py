"""The host under the machines: what is mounted, who runs, and what a reboot takes away.

A host enforces nothing.  It does what a real one would do to real files and memory, and keeps a
log of what was lost, so that a cpr-reboot with RAM in the wrong place goes wrong visibly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..clock import Clock, VirtualClock
from ..errors import ConfigError, StateError
from .holdings import Holding, Process, holding
from .liveupdate import Session, Sessions, SessionState
from .mounts import MOUNT_KINDS, MOUNTS, FileLoss, Mount, make_mounts
from .survival import SURVIVES, Fate, HostEvent, Loss, RamKind

if TYPE_CHECKING:
    import types

    from ..ram import MemoryBackend


class _Entry:
    """A process on the host and what it holds."""

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.holdings: list[Holding] = []


class Host:
    """A host with mounts below a directory, processes, and a kernel that can be replaced.

    Args:
        root: directory of the mounts; created if missing.  Events wipe what is below the mounts.
        clock: gives the time of losses; by default a virtual one at zero.
        mounts: names and kinds of the mounts, by default ``MOUNTS``.

    Attributes:
        lost: everything that was lost so far, oldest first.
        boots: how many kernels have run, this one included.

    Raises:
        ConfigError: the mounts cannot be made there; see ``make_mounts``.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock | None = None,
        mounts: Mapping[str, RamKind] = MOUNTS,
    ) -> None:
        self.clock: Clock = VirtualClock() if clock is None else clock
        self.lost: list[Loss] = []
        self.boots = 1
        self._mounts = make_mounts(root, mounts)
        self._entries: list[_Entry] = []
        self._sessions = Sessions()

    # -- files ---------------------------------------------------------------------------------

    def path(self, mount: str, *names: str) -> Path:
        """Return the path of a file or folder in a mount; it need not exist.

        Raises:
            ConfigError: no such mount, or the names lead out of it.
        """
        if mount not in self._mounts:
            known = ", ".join(self._mounts)
            raise ConfigError(f"mount {mount}", f"unknown; there are: {known}")
        if any(part in ("..", "/") for name in names for part in Path(name).parts):
            raise ConfigError(f"mount {mount}", f"{'/'.join(names)} leads out of it")
        return self._mounts[mount].path.joinpath(*names)

    def kind_at(self, path: Path | str) -> RamKind:
        """Return what the file ``path`` lies in, or would if it existed.

        Raises:
            ConfigError: the path is in none of the mounts.
        """
        return self._mount_of(Path(path).resolve()).kind

    def sync(self) -> None:
        """Write out everything that was written to disks and persistent memory until now."""
        for mount in self._mounts.values():
            if SURVIVES[mount.kind, HostEvent.POWER_LOSS] is Fate.IF_SYNCED:
                mount.sync()

    # -- processes and their RAM ---------------------------------------------------------------

    @property
    def processes(self) -> tuple[Process, ...]:
        """The processes that run, in the order in which they were attached."""
        return tuple(entry.process for entry in self._entries)

    def attach(
        self, process: Process, name: str = "vm", backends: Iterable[MemoryBackend] = ()
    ) -> None:
        """Let ``process`` run on this host, with ``backends`` as its RAM.

        Raises:
            StateError: it runs here already.
            ConfigError: a backend lies in a file outside of the mounts.
        """
        if any(entry.process is process for entry in self._entries):
            raise StateError(f"attaching {name}", "attached")
        entry = _Entry(process, name)
        entry.holdings = [self._holding(backend) for backend in backends]
        self._entries.append(entry)

    def hold(self, process: Process, backend: MemoryBackend) -> None:
        """Note that a process that runs here has got ``backend`` too.

        Raises:
            StateError: the process does not run here.
            ConfigError: the backend lies in a file outside of the mounts.
        """
        self._entry(process).holdings.append(self._holding(backend))

    def drop(self, process: Process, backend: MemoryBackend) -> None:
        """Note that a process gave ``backend`` up; an unknown one is ignored.

        Raises:
            StateError: the process does not run here.
        """
        entry = self._entry(process)
        entry.holdings = [held for held in entry.holdings if held.backend is not backend]

    def kind_of(self, backend: MemoryBackend) -> RamKind:
        """Return what the memory of an open backend lies in, at this moment.

        A private mapping is anonymous whatever file it maps, and so is a phantom; a file without
        a name counts as a memfd; a memfd as preserved while the next kexec would keep it.

        Raises:
            ConfigError: it lies in a file outside of the mounts.
        """
        return self._kind(holding(backend))

    def fate_of(self, backend: MemoryBackend, event: HostEvent) -> Fate:
        """Return what ``event`` would do to the memory of ``backend``; raises like ``kind_of``.

        It is that of the table; memory that another process holds too outlives the end of one.
        """
        return SURVIVES[self.kind_of(backend), event]

    # -- events --------------------------------------------------------------------------------

    def quit(self, process: Process) -> tuple[Loss, ...]:
        """Kill a process; return what was lost with it.

        Raises:
            StateError: it does not run here.
        """
        self._entry(process)
        process.kill()
        return self.exited(process)

    def exited(self, process: Process) -> tuple[Loss, ...]:
        """Note that a process ended by itself; return what was lost with it.

        Raises:
            StateError: it does not run here.
        """
        entry = self._entry(process)
        self._entries.remove(entry)
        losses = self._ram_losses([entry], HostEvent.PROCESS_QUIT)
        self.lost += losses
        return tuple(losses)

    def kexec(self) -> tuple[Loss, ...]:
        """Boot another kernel after an orderly shutdown; return what was lost.

        Every process is killed and disks are synced; what the table of survival keeps stays.
        """
        losses = self._end(HostEvent.KEXEC, self._sessions.kexec)
        self.sync()
        return losses

    def power_loss(self) -> tuple[Loss, ...]:
        """Lose power and boot again; return what was lost."""
        return self._end(HostEvent.POWER_LOSS, self._sessions.clear)

    # -- preserved memfds ----------------------------------------------------------------------

    @property
    def luo_sessions(self) -> dict[str, SessionState]:
        """How far every session of preserved memory is, by name."""
        return self._sessions.states()

    def luo_preserve(self, name: str, backend: MemoryBackend) -> None:
        """Let the next kexec keep the memfd of a backend, as session ``name``.

        The session also keeps it when the process ends before the kexec.

        Raises:
            ConfigError: the name is taken, or the backend is no memfd, mapped shared.
            StateError: the memfd is preserved already, or the backend is closed.
        """
        held = holding(backend)
        if held.inode is None:
            raise ConfigError(f"session {name}", "only a memfd that is mapped shared can be kept")
        self._sessions.preserve(name, backend.fileno())

    def luo_retrieve(self, name: str) -> Path:
        """Return a path that opens the memfd of session ``name`` after the kexec.

        It serves as mem-path of a file backend with share on, as long as the session is not
        finished.  To come through another kexec the memory must be preserved anew.

        Raises:
            ConfigError: there is no such session.
            StateError: there was no kexec since it was preserved.
        """
        return self._sessions.retrieve(name)

    def luo_finish(self, name: str) -> None:
        """End session ``name``: its memory is there only while a process has it mapped.

        Raises:
            ConfigError: there is no such session.
        """
        self._sessions.finish(name)

    def close(self) -> None:
        """Let go of preserved memory; files and processes stay.  Closing twice is fine."""
        self._sessions.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()

    # -- inside --------------------------------------------------------------------------------

    def _mount_of(self, path: Path) -> Mount:
        for mount in self._mounts.values():
            if path.is_relative_to(mount.path):
                return mount
        raise ConfigError(f"file {path}", "it is in none of the host's mounts")

    def _entry(self, process: Process) -> _Entry:
        for entry in self._entries:
            if entry.process is process:
                return entry
        raise StateError("an event of a process", "not attached", ["attached"])

    def _holding(self, backend: MemoryBackend) -> Holding:
        held = holding(backend)
        self._kind(held)
        return held

    def _kind(self, held: Holding) -> RamKind:
        if held.inode is None:
            return RamKind.ANONYMOUS
        if self._sessions.preserved(held.inode):
            return RamKind.MEMFD_LUO
        if held.path is None or not held.named:
            return RamKind.MEMFD
        return self._mount_of(held.path).kind

    def _end(self, event: HostEvent, end_sessions: Callable[[], list[Session]]) -> tuple[Loss, ...]:
        """End everything that runs, as every boot of a kernel does; return what was lost."""
        entries, self._entries = self._entries, []
        losses = self._ram_losses(entries, event)
        # Which files were in use has to be asked before their processes are gone.
        users = _users(entries)
        reported = {held.inode for entry in entries for held in entry.holdings}
        for entry in entries:
            entry.process.kill()
        for session in end_sessions():
            if session.inode not in reported:
                kept = session.state is SessionState.PRESERVED
                kind = RamKind.MEMFD_LUO if kept else RamKind.MEMFD
                losses.append(self._loss(event, kind, session.name, session.size_bytes))
        for mount in self._mounts.values():
            for path, size_bytes in _lost_files(mount, event):
                holders = users.get(path, ())
                losses.append(self._loss(event, mount.kind, str(path), size_bytes, holders))
        self.boots += 1
        self.lost += losses
        return tuple(losses)

    def _ram_losses(self, gone: list[_Entry], event: HostEvent) -> list[Loss]:
        """Return the memory without a name that ``gone`` processes take along, each piece once."""
        lost: dict[object, tuple[Holding, RamKind, list[str]]] = {}
        for entry in gone:
            for held in entry.holdings:
                kind = self._kind(held)
                if kind in MOUNT_KINDS or SURVIVES[kind, event] is Fate.KEPT:
                    continue
                if event is HostEvent.PROCESS_QUIT and self._held_elsewhere(held):
                    continue
                # The same memfd may be in several hands; anonymous memory is in one.
                key = held if held.inode is None else held.inode
                lost.setdefault(key, (held, kind, []))[2].append(entry.name)
        return [
            self._loss(event, kind, held.backend.id, held.backend.size_bytes, tuple(names))
            for held, kind, names in lost.values()
        ]

    def _held_elsewhere(self, held: Holding) -> bool:
        """Return whether a process that goes on, or the agent, keeps a file without a name."""
        if held.inode is None:
            return False
        others = (other.inode for entry in self._entries for other in entry.holdings)
        return held.inode in others or self._sessions.held(held.inode)

    def _loss(
        self,
        event: HostEvent,
        kind: RamKind,
        what: str,
        size_bytes: int,
        holders: tuple[str, ...] = (),
    ) -> Loss:
        return Loss(self.clock.now, event, kind, what, size_bytes, holders)


def _users(entries: list[_Entry]) -> dict[Path, tuple[str, ...]]:
    """Return the names of the processes that use a file as RAM, by its path."""
    users: dict[Path, tuple[str, ...]] = {}
    for entry in entries:
        for held in entry.holdings:
            if held.path is not None and held.named:
                users[held.path] = (*users.get(held.path, ()), entry.name)
    return users


def _lost_files(mount: Mount, event: HostEvent) -> list[FileLoss]:
    fate = SURVIVES[mount.kind, event]
    if fate is Fate.LOST:
        return mount.wipe()
    return mount.lose_unsynced() if fate is Fate.IF_SYNCED else []
