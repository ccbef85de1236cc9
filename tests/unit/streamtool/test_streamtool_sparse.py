"""Zeros become holes, wherever and whenever they are written."""

from __future__ import annotations

import os

import numpy as np
import pytest
from state_files import data_bytes

from migsim.errors import ChannelError
from migsim.ram.bitmap import DirtyBitmap
from migsim.stream.items import BlockInfo, RamBlocks
from migsim.streamtool import sparse
from migsim.streamtool.image import RamImage, pieces
from migsim.streamtool.sparse import SparseOutput, scratch_file


@pytest.fixture
def out(tmp_path):
    channel = SparseOutput(tmp_path / "file")
    yield channel
    channel.close()


def test_zeros_take_no_room(out, tmp_path):
    out.write(bytes(1 << 20))
    assert out.position == 1 << 20
    assert (tmp_path / "file").stat().st_size == 1 << 20
    assert data_bytes(tmp_path / "file") == 0


@pytest.mark.parametrize("can_punch", [True, False])
def test_zeros_over_data_are_zeros(out, tmp_path, monkeypatch, can_punch):
    if not can_punch:
        monkeypatch.setattr(sparse, "_punch", lambda *args: False)
    out.write(b"\1" * (64 << 10))
    out.write_at(8192, bytes(16 << 10))
    out.write_at(60 << 10, bytes(8 << 10))  # half of it behind the end
    content = (tmp_path / "file").read_bytes()
    assert content == b"\1" * 8192 + bytes(16 << 10) + b"\1" * (36 << 10) + bytes(8 << 10)
    if can_punch:
        assert data_bytes(tmp_path / "file") == (64 - 16 - 4) << 10


def test_small_zeros_and_zeros_with_something_in_them_are_written(out, tmp_path):
    out.write(b"\1" * 4096)
    out.write_at(100, bytes(10))
    nearly = bytes(4095) + b"\2"
    out.write_at(4096, nearly)
    assert (tmp_path / "file").read_bytes() == b"\1" * 100 + bytes(10) + b"\1" * 3986 + nearly


def test_zeros_in_a_gap_that_was_skipped(out, tmp_path):
    out.write_at(1 << 20, b"\1" * 4096)
    out.write_at(4096, bytes(4096))
    assert (tmp_path / "file").stat().st_size == (1 << 20) + 4096
    assert data_bytes(tmp_path / "file") == 4096


def test_cutting_and_growing(out, tmp_path):
    out.write(b"\1" * 8192)
    out.resize(4096)
    out.write_at(4096, bytes(4096))
    assert (tmp_path / "file").read_bytes() == b"\1" * 4096 + bytes(4096)
    assert data_bytes(tmp_path / "file") == 4096


def test_a_scratch_file_has_no_name(tmp_path):
    channel = scratch_file(tmp_path)
    channel.write(b"\1" * 100)
    room = bytearray(100)
    assert channel.read_at(0, memoryview(room)) == 100
    assert bytes(room) == b"\1" * 100
    assert os.listdir(tmp_path) == []
    channel.close()
    with pytest.raises(ChannelError):
        scratch_file(tmp_path / "missing")


def test_an_image_adds_up_what_comes(tmp_path):
    image = RamImage(scratch_file(tmp_path))
    blocks = (BlockInfo("a", 16 * 4096), BlockInfo("b", 8 * 4096))
    image.announce(RamBlocks(0, blocks))
    expected = {block.name: np.zeros((block.pages, 4096), np.uint8) for block in blocks}
    generator = np.random.default_rng(1)
    for _ in range(60):
        name = generator.choice(["a", "b"])
        pfns = generator.choice(len(expected[name]), 4, replace=False)
        if generator.random() < 0.3:
            image.zero(name, pfns)
            expected[name][pfns] = 0
        else:
            data = generator.integers(0, 2, (4, 1), np.uint8).repeat(4096, axis=1)
            image.write(name, pfns, data)
            expected[name][pfns] = data
    for name, pages in expected.items():
        assert (image.read(name, np.arange(len(pages))) == pages).all()
        listed = {int(pfn) for pfns, _ in image.content(name) for pfn in pfns}
        zeros = {int(pfn) for pfns in image.zeros(name) for pfn in pfns}
        assert listed == set(np.flatnonzero(pages.any(axis=1)).tolist())
        assert not listed & zeros
        for pfns, data in image.content(name):
            assert (data == pages[pfns]).all()


def test_pieces_are_bounded_and_complete():
    bitmap = DirtyBitmap(5000)
    assert list(pieces(bitmap, 4096)) == []
    bitmap.set_all()
    parts = list(pieces(bitmap, 4096))
    assert max(part.size for part in parts) * 4096 <= 2 << 20
    assert np.concatenate(parts).tolist() == list(range(5000))
