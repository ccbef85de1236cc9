from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from migsim.clock import VirtualClock
from migsim.errors import ConfigError, StateError
from migsim.host import MOUNTS, Fate, Host, HostEvent, Loss, RamKind, SessionState
from migsim.ram import FileBackend, MemfdBackend, MemoryBackend, PhantomBackend, RamBackend

SIZE = 16 * 4096


class Vm:
    """A process with some RAM, full of a pattern."""

    def __init__(self, *backends: MemoryBackend) -> None:
        self.backends = backends
        self.alive = True
        for backend in backends:
            if backend.has_bytes:
                backend.array()[:] = pattern()

    def kill(self) -> None:
        self.alive = False
        for backend in self.backends:
            backend.close()


def pattern() -> np.ndarray:
    return (np.arange(SIZE) % 251 + 1).astype(np.uint8)


def start(host: Host, *backends: MemoryBackend, name: str = "vm") -> Vm:
    vm = Vm(*backends)
    host.attach(vm, name, backends)
    return vm


def contents(path: Path) -> bytes:
    with FileBackend("again", SIZE, path, share=True) as backend:
        return backend.array().tobytes()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path / "host", VirtualClock()) as host:
        yield host


# -- mounts and paths ------------------------------------------------------------------------------


def test_mounts_are_real_directories_below_the_root(host: Host, tmp_path: Path):
    for name, kind in MOUNTS.items():
        path = host.path(name, "ram0")
        assert path == tmp_path / "host" / name / "ram0"
        assert path.parent.is_dir()
        assert host.kind_at(path) is kind


def test_paths_stay_inside(host: Host, tmp_path: Path):
    assert host.path("disk", "a", "b").name == "b"
    for names in (("..", "x"), ("/etc/passwd",), ("a/../../x",)):
        with pytest.raises(ConfigError, match="leads out"):
            host.path("shm", *names)
    with pytest.raises(ConfigError, match="there are: shm"):
        host.path("nfs")
    with pytest.raises(ConfigError, match="none of the host"):
        host.kind_at(tmp_path / "elsewhere")


def test_a_directory_that_was_no_host_is_never_taken_over(tmp_path: Path):
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm" / "precious").write_text("x")
    with pytest.raises(ConfigError, match="would wipe it"):
        Host(tmp_path)
    assert (tmp_path / "shm" / "precious").read_text() == "x"
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "shm")
    with pytest.raises(ConfigError, match="not a directory"):
        Host(tmp_path, mounts={"link": RamKind.TMPFS})


def test_a_host_can_be_opened_again(host: Host, tmp_path: Path):
    host.path("disk", "state").write_text("saved")
    again = Host(tmp_path / "host")
    assert again.path("disk", "state").read_text() == "saved"


@pytest.mark.parametrize(("name", "kind"), [("a/b", RamKind.DISK), ("m", RamKind.MEMFD)])
def test_nonsense_mounts_are_refused(tmp_path: Path, name: str, kind: RamKind):
    with pytest.raises(ConfigError):
        Host(tmp_path, mounts={name: kind})


def test_mounts_may_be_others(tmp_path: Path):
    host = Host(tmp_path, mounts={"pmem": RamKind.DAX, "var": RamKind.DISK, "run": RamKind.TMPFS})
    assert host.kind_at(host.path("pmem", "x")) is RamKind.DAX


# -- kinds -----------------------------------------------------------------------------------------


def test_kind_of_backends(host: Host):
    for mount, kind in MOUNTS.items():
        with FileBackend("f", SIZE, host.path(mount, "ram"), share=True) as backend:
            assert host.kind_of(backend) is kind
        with FileBackend("f", SIZE, host.path(mount, "ram"), share=False) as backend:
            assert host.kind_of(backend) is RamKind.ANONYMOUS
        with FileBackend("f", SIZE, host.path(mount), share=True) as backend:
            assert host.kind_of(backend) is RamKind.MEMFD, "unnamed file in a directory"
    for share, kind in ((True, RamKind.MEMFD), (False, RamKind.ANONYMOUS)):
        with RamBackend("r", SIZE, share=share) as ram, MemfdBackend("m", SIZE, share=share) as mem:
            assert host.kind_of(ram) is kind
            assert host.kind_of(mem) is kind
    assert host.kind_of(PhantomBackend("p", SIZE, share=True, named_file=True)) is (
        RamKind.ANONYMOUS
    )


def test_kind_follows_what_happens_to_the_file(host: Host):
    with FileBackend("f", SIZE, host.path("shm", "ram"), share=True) as backend:
        vm = start(host, backend)
        host.path("shm", "ram").unlink()
        assert host.kind_of(backend) is RamKind.MEMFD
        assert [(loss.kind, loss.what) for loss in host.quit(vm)] == [(RamKind.MEMFD, "f")]


def test_file_outside_of_the_mounts_is_refused(host: Host, tmp_path: Path):
    with FileBackend("f", SIZE, tmp_path / "ram", share=True) as backend:
        with pytest.raises(ConfigError, match="none of the host"):
            host.kind_of(backend)
        vm = Vm(backend)
        with pytest.raises(ConfigError):
            host.attach(vm, "vm", [backend])
        assert host.processes == ()


def test_fate_of_a_backend(host: Host):
    with FileBackend("f", SIZE, host.path("shm", "ram"), share=True) as backend:
        assert host.fate_of(backend, HostEvent.PROCESS_QUIT) is Fate.KEPT
        assert host.fate_of(backend, HostEvent.KEXEC) is Fate.LOST


# -- processes -------------------------------------------------------------------------------------


def test_quit_kills_and_takes_private_memory(host: Host):
    host.clock.sleep(2.5)
    vm = start(
        host,
        RamBackend("ram0", SIZE),
        FileBackend("ram1", SIZE, host.path("shm", "ram1"), share=True),
        name="source",
    )
    losses = host.quit(vm)
    assert not vm.alive
    assert host.processes == ()
    assert [(loss.what, loss.kind, loss.holders) for loss in losses] == [
        ("ram0", RamKind.ANONYMOUS, ("source",))
    ]
    assert losses[0].at == 2.5
    assert losses[0].event is HostEvent.PROCESS_QUIT
    assert losses[0].size_bytes == SIZE
    assert host.lost == list(losses)
    assert contents(host.path("shm", "ram1")) == pattern().tobytes()


def test_exited_is_quit_without_a_kill(host: Host):
    vm = start(host, RamBackend("ram0", SIZE))
    vm.backends[0].close()
    assert len(host.exited(vm)) == 1
    assert vm.alive


def test_a_memfd_lives_as_long_as_anyone_holds_it(host: Host):
    first = MemfdBackend("ram0", SIZE)
    second = MemfdBackend("ram0", SIZE, fd=first.fileno())
    old, new = start(host, first, name="old"), start(host, second, name="new")
    assert host.quit(old) == ()
    assert second.array().tobytes() == pattern().tobytes()
    assert [loss.holders for loss in host.quit(new)] == [("new",)]


def test_a_memfd_in_two_hands_is_lost_once(host: Host):
    first = MemfdBackend("ram0", SIZE)
    start(host, first, name="old")
    start(host, MemfdBackend("ram0", SIZE, fd=first.fileno()), name="new")
    assert [(loss.what, loss.holders) for loss in host.kexec()] == [("ram0", ("old", "new"))]


def test_hold_and_drop_change_what_a_process_takes_along(host: Host):
    vm = start(host)
    one, two = RamBackend("one", SIZE), RamBackend("two", SIZE)
    host.hold(vm, one)
    host.hold(vm, two)
    host.drop(vm, one)
    host.drop(vm, one)
    assert [loss.what for loss in host.quit(vm)] == ["two"]
    one.close()
    two.close()


def test_processes_are_attached_once_and_known(host: Host):
    vm = start(host)
    assert host.processes == (vm,)
    with pytest.raises(StateError):
        host.attach(vm)
    host.quit(vm)
    for call in (
        lambda: host.quit(vm),
        lambda: host.exited(vm),
        lambda: host.hold(vm, PhantomBackend("p", SIZE)),
        lambda: host.drop(vm, PhantomBackend("p", SIZE)),
    ):
        with pytest.raises(StateError):
            call()


# -- reboot ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mount", sorted(MOUNTS))
@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize("event", [HostEvent.KEXEC, HostEvent.POWER_LOSS])
def test_named_ram_over_a_reboot(host: Host, mount: str, synced: bool, event: HostEvent):
    path = host.path(mount, "ram0")
    vm = start(host, FileBackend("ram0", SIZE, path, share=True))
    fate = host.fate_of(vm.backends[0], event)
    if synced:
        host.sync()
    losses = host.kexec() if event is HostEvent.KEXEC else host.power_loss()
    assert not vm.alive
    assert host.processes == ()
    assert host.boots == 2
    if fate is Fate.KEPT or (fate is Fate.IF_SYNCED and synced):
        assert losses == ()
        assert contents(path) == pattern().tobytes()
        return
    assert losses == (Loss(0.0, event, MOUNTS[mount], str(path), SIZE, ("vm",)),)
    assert path.exists() is (mount == "dax")
    assert contents(path) == bytes(SIZE)


def test_kexec_empties_a_tmpfs_with_everything_in_it(host: Host, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_text("stays")
    folder = host.path("shm", "a", "b")
    folder.mkdir(parents=True)
    (folder / "ram").write_bytes(b"x" * 10)
    host.path("shm", "link").symlink_to(outside)
    host.path("shm", "dirlink").symlink_to(tmp_path)
    os.mkfifo(host.path("shm", "fifo"))
    assert [(loss.what, loss.size_bytes) for loss in host.kexec()] == [(str(folder / "ram"), 10)]
    assert list(host.path("shm").iterdir()) == []
    assert outside.read_text() == "stays"


def test_disk_survives_power_loss_only_as_synced(host: Host):
    kept, changed, fresh = (host.path("disk", name) for name in ("kept", "changed", "fresh"))
    kept.write_bytes(b"state")
    changed.write_bytes(b"old state")
    host.sync()
    changed.write_bytes(b"new")
    fresh.write_bytes(b"never synced")
    assert {loss.what for loss in host.power_loss()} == {str(changed), str(fresh)}
    assert kept.read_bytes() == b"state"
    assert changed.read_bytes() == bytes(len(b"old state"))
    assert not fresh.exists()
    assert host.power_loss() == (), "what is left is on the disk"


def test_a_write_through_a_mapping_counts_as_a_write(host: Host):
    path = host.path("disk", "ram0")
    backend = FileBackend("ram0", SIZE, path, share=True)
    start(host, backend)
    host.sync()
    times = path.stat()
    backend.array()[12345] = 0
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [loss.what for loss in host.power_loss()] == [str(path)]
    assert contents(path) == bytes(SIZE)


def test_zeroes_written_over_holes_change_nothing(host: Host):
    path = host.path("disk", "sparse")
    with path.open("wb") as file:
        file.truncate(3 << 20)
    host.sync()
    with path.open("r+b") as file:
        file.write(bytes(5000))
    assert host.power_loss() == ()
    with path.open("r+b") as file:
        file.seek((2 << 20) + 17)
        file.write(b"\1")
    assert len(host.power_loss()) == 1


def test_zeroes_before_the_data_of_a_piece_change_nothing(host: Host):
    path = host.path("disk", "sparse")
    with path.open("wb") as file:
        file.seek((2 << 20) - 8192)
        file.write(b"data")
    host.sync()
    with path.open("r+b") as file:
        file.seek((1 << 20) + 4096)
        file.write(bytes(4096))
    assert host.power_loss() == ()


def test_content_that_moved_by_pieces_is_a_change(host: Host):
    path = host.path("disk", "file")
    path.write_bytes(b"x" + bytes(2 << 20))
    host.sync()
    path.write_bytes(bytes(1 << 20) + b"x" + bytes(1 << 20))
    assert len(host.power_loss()) == 1


def test_an_orderly_kexec_syncs_the_disks(host: Host):
    path = host.path("disk", "state")
    path.write_bytes(b"state")
    assert host.kexec() == ()
    assert host.power_loss() == ()
    assert path.read_bytes() == b"state"
    assert host.boots == 3


def test_every_process_is_killed(host: Host):
    vms = [start(host, RamBackend(f"ram{i}", SIZE), name=f"vm{i}") for i in range(3)]
    losses = host.power_loss()
    assert not any(vm.alive for vm in vms)
    assert [loss.what for loss in losses] == ["ram0", "ram1", "ram2"]


# -- preserved memfds ------------------------------------------------------------------------------


@pytest.mark.parametrize("quit_first", [False, True])
def test_preserved_memfd_over_a_kexec(host: Host, quit_first: bool):
    backend = MemfdBackend("ram0", SIZE)
    vm = start(host, backend)
    host.luo_preserve("guest", backend)
    assert host.kind_of(backend) is RamKind.MEMFD_LUO
    if quit_first:
        assert host.quit(vm) == ()
    assert host.kexec() == ()
    assert host.luo_sessions == {"guest": SessionState.INCOMING}

    path = host.luo_retrieve("guest")
    assert host.luo_retrieve("guest") == path
    again = FileBackend("ram0", SIZE, path, share=True)
    assert again.array().tobytes() == pattern().tobytes()
    assert again.ignorable
    assert host.kind_of(again) is RamKind.MEMFD, "another kexec needs another preservation"

    vm = Vm(again)
    host.attach(vm, "new", [again])
    host.luo_finish("guest")
    assert host.luo_sessions == {}
    assert again.array().tobytes() == pattern().tobytes()
    assert [loss.what for loss in host.quit(vm)] == ["ram0"]


def test_memfd_that_was_not_preserved_again_goes_with_the_next_kexec(host: Host):
    backend = MemfdBackend("ram0", SIZE)
    start(host, backend)
    host.luo_preserve("guest", backend)
    host.kexec()
    again = FileBackend("ram0", SIZE, host.luo_retrieve("guest"), share=True)
    start(host, again)
    assert [(loss.what, loss.kind) for loss in host.kexec()] == [("ram0", RamKind.MEMFD)]
    assert host.luo_sessions == {}


def test_memfd_can_be_preserved_over_two_kexecs(host: Host):
    backend = MemfdBackend("ram0", SIZE)
    start(host, backend)
    host.luo_preserve("first", backend)
    host.kexec()
    again = FileBackend("ram0", SIZE, host.luo_retrieve("first"), share=True)
    start(host, again)
    host.luo_preserve("second", again)
    assert host.kexec() == ()
    assert host.luo_sessions == {"second": SessionState.INCOMING}
    assert contents(host.luo_retrieve("second")) == pattern().tobytes()


def test_agent_keeps_a_retrieved_memfd_until_the_session_is_finished(host: Host):
    backend = MemfdBackend("ram0", SIZE)
    start(host, backend)
    host.luo_preserve("first", backend)
    host.kexec()
    path = host.luo_retrieve("first")
    again = FileBackend("ram0", SIZE, path, share=True)
    vm = start(host, again)
    host.luo_preserve("second", again)
    host.luo_finish("second")
    assert host.quit(vm) == ()
    assert contents(path) == pattern().tobytes()


def test_first_session_ends_quietly_when_another_preserves_its_memfd(host: Host):
    backend = MemfdBackend("ram0", SIZE)
    start(host, backend)
    host.luo_preserve("first", backend)
    host.kexec()
    with FileBackend("ram0", SIZE, host.luo_retrieve("first"), share=True) as again:
        host.luo_preserve("second", again)
    assert host.kexec() == ()
    assert host.luo_sessions == {"second": SessionState.INCOMING}


def test_session_that_nobody_fetched_is_lost_with_the_next_kexec(host: Host):
    backend = MemfdBackend("ram0", SIZE)
    start(host, backend)
    host.luo_preserve("guest", backend)
    host.kexec()
    losses = host.kexec()
    assert [(loss.what, loss.size_bytes, loss.holders) for loss in losses] == [("guest", SIZE, ())]


@pytest.mark.parametrize("quit_first", [False, True])
def test_power_loss_takes_preserved_memory(host: Host, quit_first: bool):
    backend = MemfdBackend("ram0", SIZE)
    vm = start(host, backend)
    host.luo_preserve("guest", backend)
    if quit_first:
        host.quit(vm)
    losses = host.power_loss()
    assert [loss.kind for loss in losses] == [RamKind.MEMFD_LUO]
    assert losses[0].what == ("guest" if quit_first else "ram0")
    assert host.luo_sessions == {}


def test_finishing_takes_a_preservation_back(host: Host):
    backend = MemfdBackend("ram0", SIZE)
    vm = start(host, backend)
    host.luo_preserve("guest", backend)
    host.luo_finish("guest")
    assert host.kind_of(backend) is RamKind.MEMFD
    assert len(host.quit(vm)) == 1


def test_sessions_are_checked(host: Host):
    with MemfdBackend("ram0", SIZE) as backend, RamBackend("private", SIZE) as private:
        host.luo_preserve("guest", backend)
        with pytest.raises(StateError, match="incoming"):
            host.luo_retrieve("guest")
        with pytest.raises(ConfigError, match="of this name"):
            host.luo_preserve("guest", backend)
        with pytest.raises(StateError, match="another session"):
            host.luo_preserve("twice", backend)
        with pytest.raises(ConfigError, match="only a memfd"):
            host.luo_preserve("private", private)
        file = FileBackend("f", SIZE, host.path("shm", "ram"), share=True)
        with file, pytest.raises(ConfigError, match="only a memfd"):
            host.luo_preserve("file", file)
        for call in (host.luo_retrieve, host.luo_finish):
            with pytest.raises(ConfigError, match="there are: guest"):
                call("other")


def test_close_lets_go_of_descriptors(tmp_path: Path):
    host = Host(tmp_path / "host")
    with MemfdBackend("ram0", SIZE) as backend:
        host.luo_preserve("guest", backend)
        host.kexec()
        path = host.luo_retrieve("guest")
    host.close()
    host.close()
    assert not path.exists()
