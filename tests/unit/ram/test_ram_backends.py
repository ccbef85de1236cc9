"""Memory backends: how they come to be, what they share, and how they let go."""

from __future__ import annotations

import gc
import os
import time

import numpy as np
import pytest
from descriptors import open_descriptors, opened_since

from migsim.errors import ConfigError, StateError
from migsim.ram import (
    BackendKind,
    BackendSpec,
    FileBackend,
    MemfdBackend,
    PhantomBackend,
    RamBackend,
)

MIB = 1 << 20
TIB = 1 << 40


def mappings_of(name):
    with open("/proc/self/maps") as maps:
        return sum(name in line for line in maps)


@pytest.fixture(params=["ram", "ram-shared", "memfd", "memfd-private", "file", "file-private"])
def backend(request, tmp_path):
    made = {
        "ram": lambda: RamBackend("r", MIB),
        "ram-shared": lambda: RamBackend("r", MIB, share=True),
        "memfd": lambda: MemfdBackend("r", MIB),
        "memfd-private": lambda: MemfdBackend("r", MIB, share=False),
        "file": lambda: FileBackend("r", MIB, tmp_path / "r", share=True),
        "file-private": lambda: FileBackend("r", MIB, tmp_path / "r"),
    }[request.param]()
    with made:
        yield made


def test_new_memory_is_zero_and_can_be_written(backend):
    array = backend.array()
    assert array.shape == (MIB,)
    assert array.dtype == np.uint8
    assert not array.any()
    array[5] = 7
    assert backend.array()[5] == 7


def test_extents_cover_what_was_written(backend):
    backend.array()[3 * 4096] = 1
    backend.array()[9 * 4096 : 11 * 4096] = 1
    inside = np.zeros(256, np.bool_)
    for lo, hi in backend.data_extents().tolist():
        assert lo % 4096 == hi % 4096 == 0
        inside[lo // 4096 : hi // 4096] = True
    assert inside[[3, 9, 10]].all()
    assert not backend.pristine


def test_extents_of_a_part_stay_in_it(backend):
    backend.array()[:] = 1
    assert backend.data_extents(8192, 20480).tolist() == [[8192, 20480]]
    assert backend.data_extents(8192, 99 * MIB).tolist() == [[8192, MIB]]
    assert backend.data_extents(8192, 8192).tolist() == []


def test_discard_makes_zero(backend):
    backend.array()[:] = 1
    backend.discard(4096, 12288)
    backend.discard(0, 0)
    array = backend.array()
    assert not array[4096:12288].any()
    assert array[:4096].all()
    assert array[12288:].all()


def test_closing_releases_everything(backend):
    backend.close()
    backend.close()
    with pytest.raises(StateError):
        backend.array()
    with pytest.raises(StateError):
        backend.fileno()
    with pytest.raises(StateError):
        backend.discard(0, 4096)
    backend.flush()


@pytest.mark.parametrize("share", [True, False])
def test_touching_is_known_without_touching(share):
    with RamBackend("r", 64 * MIB, share=share) as backend:
        assert backend.pristine
        assert backend.data_extents().tolist() == []
        backend.array()[4096 * 77] = 1
        assert backend.data_extents().tolist() == [[4096 * 77, 4096 * 78]]
        backend.array()[0] = 1
        assert backend.data_extents(0, 8192).tolist() == [[0, 4096]]
        backend.discard(0, 4096 * 78)
        assert backend.pristine


def test_extents_beyond_a_gibibyte_join():
    with RamBackend("r", 3 << 30) as backend:
        edge = 1 << 30
        backend.array()[[edge - 1, edge, (3 << 30) - 1]] = 1
        assert backend.data_extents().tolist() == [
            [edge - 4096, edge + 4096],
            [(3 << 30) - 4096, 3 << 30],
        ]


def test_without_a_page_map_everything_may_hold_data(monkeypatch):
    monkeypatch.setattr("migsim.ram.extents._PAGEMAP", "/nonexistent/pagemap")
    with RamBackend("r", MIB) as backend:
        assert backend.data_extents().tolist() == [[0, MIB]]
        assert not backend.pristine


def test_closing_unmaps_and_closes_the_descriptor(tmp_path):
    path = tmp_path / "closing-ram"
    descriptors = open_descriptors()
    backend = FileBackend("r", MIB, path, share=True)
    backend.array()[0] = 1
    assert mappings_of("closing-ram") == 1
    backend.close()
    assert mappings_of("closing-ram") == 0
    assert not opened_since(descriptors)


def test_an_array_outlives_its_backend(tmp_path):
    descriptors = open_descriptors()
    backend = FileBackend("r", MIB, tmp_path / "outliving-ram", share=True)
    array = backend.array()[4096:]
    backend.close()
    array[0] = 9
    assert mappings_of("outliving-ram") == 1
    del array
    gc.collect()
    assert mappings_of("outliving-ram") == 0
    assert (tmp_path / "outliving-ram").read_bytes()[4096] == 9
    del backend
    gc.collect()
    assert not opened_since(descriptors)


def test_a_forgotten_backend_leaks_nothing(tmp_path):
    descriptors = open_descriptors()
    FileBackend("r", MIB, tmp_path / "forgotten-ram")
    MemfdBackend("m", MIB)
    gc.collect()
    assert not opened_since(descriptors)
    assert mappings_of("forgotten-ram") == 0


def test_sharing_decides_whether_writes_reach_the_file(tmp_path):
    for share in (True, False):
        path = tmp_path / f"share-{share}"
        with FileBackend("r", MIB, path, share=share) as backend:
            backend.array()[100] = 5
            backend.flush()
            assert path.read_bytes()[100] == (5 if share else 0)
            assert backend.ignorable is share
    with FileBackend("r", MIB, tmp_path / "share-True", share=True) as backend:
        assert backend.array()[100] == 5
        assert not backend.pristine


@pytest.mark.parametrize(
    ("make", "ignorable"),
    [
        (lambda: RamBackend("r", MIB, share=True), False),
        (lambda: MemfdBackend("r", MIB), False),
        (lambda: PhantomBackend("r", MIB, share=True), False),
        (lambda: PhantomBackend("r", MIB, named_file=True), False),
        (lambda: PhantomBackend("r", MIB, share=True, named_file=True), True),
    ],
)
def test_only_shared_named_files_are_ignorable(make, ignorable):
    with make() as backend:
        assert backend.ignorable is ignorable


def test_a_sparse_tebibyte_opens_at_once_and_costs_nothing(tmp_path):
    begin = time.thread_time()
    with FileBackend("r", TIB, tmp_path / "huge", share=True) as backend:
        assert backend.pristine
        backend.array()[TIB // 2] = 1
        assert backend.data_extents().tolist() == [[TIB // 2, TIB // 2 + 4096]]
        assert time.thread_time() - begin < 0.5
        assert (tmp_path / "huge").stat().st_blocks * 512 <= 1 * MIB
        backend.discard(0, TIB)
        assert backend.pristine


def test_a_missing_file_is_created_and_an_empty_one_extended(tmp_path):
    (tmp_path / "empty").touch()
    for name in ("missing", "empty"):
        with FileBackend("r", MIB, tmp_path / name):
            assert (tmp_path / name).stat().st_size == MIB


def test_a_longer_file_keeps_its_length(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(b"x" * (MIB + 4096))
    with FileBackend("r", MIB, path, share=True) as backend:
        assert backend.array().size == MIB
        assert backend.data_extents().tolist() == [[0, MIB]]
    assert path.stat().st_size == MIB + 4096


def test_a_directory_holds_an_unlinked_file_that_counts_as_named(tmp_path):
    with FileBackend("objects/ram0", MIB, tmp_path, share=True) as backend:
        assert os.listdir(tmp_path) == []
        backend.array()[3] = 1
        assert backend.ignorable


def _short(path):
    path.write_bytes(b"x" * 4096)


@pytest.mark.parametrize(
    ("prepare", "readonly"),
    [
        (_short, False),
        (_short, True),
        (lambda path: None, True),
        (lambda path: path.touch(), True),
        (lambda path: path.mkdir(), True),
        (os.mkfifo, False),
        (os.mkfifo, True),
        (lambda path: path.symlink_to(path.parent / "nowhere"), False),
        (lambda path: path.symlink_to(path), False),
    ],
    ids=[
        "short",
        "short-readonly",
        "missing-readonly",
        "empty-readonly",
        "directory-readonly",
        "fifo",
        "fifo-readonly",
        "dangling",
        "loop",
    ],
)
def test_files_that_cannot_hold_the_memory_are_refused(tmp_path, prepare, readonly):
    path = tmp_path / "ram"
    prepare(path)
    before = sorted(os.listdir(tmp_path))
    descriptors = open_descriptors()
    with pytest.raises(ConfigError) as caught:
        FileBackend("r", MIB, path, readonly=readonly)
    assert caught.value.what == "memory-backend-file r"
    assert not opened_since(descriptors)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_file_in_no_directory_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        FileBackend("r", MIB, tmp_path / "no" / "ram")


def test_a_size_beyond_the_file_system_leaves_no_file(tmp_path):
    with pytest.raises(ConfigError):
        FileBackend("r", 1 << 62, tmp_path / "ram")
    with pytest.raises(ConfigError):
        FileBackend("r", 1 << 63, tmp_path / "ram")
    with pytest.raises(ConfigError):
        MemfdBackend("r", 1 << 63)
    with pytest.raises(ConfigError):
        RamBackend("r", 1 << 62)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [0, -4096, 1, 4097])
@pytest.mark.parametrize("kind", [RamBackend, MemfdBackend, PhantomBackend])
def test_sizes_are_whole_pages(kind, size):
    with pytest.raises(ConfigError):
        kind("r", size)


def test_read_only_memory_cannot_be_written(tmp_path):
    path = tmp_path / "rom"
    path.write_bytes(b"r" * MIB)
    with FileBackend("r", MIB, path, readonly=True) as backend:
        assert (backend.array() == ord("r")).all()
        with pytest.raises(ValueError, match="read-only"):
            backend.array()[0] = 1
        with pytest.raises(StateError):
            backend.discard(0, 4096)


def test_a_memfd_can_be_handed_over():
    with MemfdBackend("r", MIB) as old:
        old.array()[7] = 3
        with MemfdBackend("r", MIB, fd=old.fileno()) as new:
            assert new.array()[7] == 3
            new.array()[8] = 4
        assert old.array()[8] == 4
        with pytest.raises(ConfigError):
            MemfdBackend("r", 2 * MIB, fd=old.fileno())


def test_anonymous_memory_has_no_descriptor():
    with RamBackend("r", MIB) as backend, pytest.raises(StateError):
        backend.fileno()
    with RamBackend("r", MIB, share=True) as backend:
        assert os.fstat(backend.fileno()).st_size == MIB


def test_phantom_memory_knows_only_which_pages_are_not_zero():
    with PhantomBackend("r", TIB) as backend:
        assert backend.pristine
        assert not backend.has_bytes
        assert backend.data_extents().tolist() == []
        backend.nonzero.set_range(5, 10)
        assert not backend.pristine
        assert backend.data_extents().tolist() == [[5 * 4096, TIB]]
        assert backend.data_extents(6 * 4096, 7 * 4096).tolist() == [[6 * 4096, 7 * 4096]]
        assert backend.data_extents(0, 4096).tolist() == []
        backend.discard(4 * 4096, 9 * 4096)
        assert backend.nonzero.take(0, 10).tolist() == [9]
        backend.flush()
        for method in (backend.array, backend.fileno):
            with pytest.raises(StateError):
                method()
        assert repr(backend) == f"PhantomBackend('r', {TIB})"


def test_many_extents_are_summed_up(monkeypatch, tmp_path):
    monkeypatch.setattr("migsim.ram.extents._MOST_EXTENTS", 2)
    with MemfdBackend("r", MIB) as backend:
        backend.array()[[0, 5 * 4096, 10 * 4096, 20 * 4096]] = 1
        assert backend.data_extents().tolist() == [[0, 4096], [5 * 4096, MIB]]


def test_a_walk_in_windows_asks_once_an_extent(monkeypatch):
    asked = []
    lseek = os.lseek

    def counting(*args):
        asked.append(args)
        return lseek(*args)

    with MemfdBackend("r", 2 * MIB) as backend:
        backend.array()[:MIB] = 1
        monkeypatch.setattr("migsim.ram.extents.os.lseek", counting)
        for at in range(0, MIB, 65536):
            assert backend.data_extents(at, at + 65536).tolist() == [[at, at + 65536]]
        assert len(asked) == 2
        backend.array()[MIB:] = 1
        backend.discard(0, 4096)
        backend.array()[:4096] = 1
        assert backend.data_extents().tolist() == [[0, 2 * MIB]]
    assert len(asked) == 2, "a file without a hole needs no walk"


def test_a_file_system_that_cannot_tell_or_punch(monkeypatch):
    def refuse(*_):
        raise OSError(22, "Invalid argument")

    with MemfdBackend("r", MIB) as backend:
        monkeypatch.setattr("migsim.ram.extents.os.lseek", refuse)
        assert backend.data_extents(0, 8192).tolist() == [[0, 8192]]
        assert not backend.pristine


@pytest.mark.parametrize(
    ("spec", "kind", "share"),
    [
        (BackendSpec(BackendKind.RAM, "a", MIB), RamBackend, False),
        (BackendSpec(BackendKind.RAM, "a", MIB, share=True), RamBackend, True),
        (BackendSpec(BackendKind.MEMFD, "a", MIB), MemfdBackend, True),
        (BackendSpec(BackendKind.MEMFD, "a", MIB, share=False), MemfdBackend, False),
        (BackendSpec(BackendKind.PHANTOM, "a", MIB), PhantomBackend, False),
    ],
)
def test_specs_make_their_kind(spec, kind, share):
    with spec.create() as backend:
        assert type(backend) is kind
        assert backend.kind is spec.qom_type
        assert (backend.id, backend.size_bytes, backend.share) == ("a", MIB, share)


def test_specs_of_files(tmp_path):
    path = str(tmp_path / "f")
    with BackendSpec(BackendKind.FILE, "a", MIB, path, share=True).create() as backend:
        assert backend.ignorable
    with BackendSpec(BackendKind.FILE, "a", MIB, path, readonly=True).create() as backend:
        assert backend.readonly
        assert not backend.share


@pytest.mark.parametrize(
    "spec",
    [
        BackendSpec(BackendKind.FILE, "a", MIB),
        BackendSpec(BackendKind.RAM, "a", MIB, "/tmp/x"),
        BackendSpec(BackendKind.MEMFD, "a", MIB, readonly=True),
    ],
)
def test_specs_that_do_not_fit_their_kind(spec):
    with pytest.raises(ConfigError):
        spec.create()
