"""RAM as a file: the sender's, block by block, whatever the encoding."""

from __future__ import annotations

import hashlib
import os

import pytest
from state_files import (
    MANIFEST,
    PAGE,
    SHARING,
    WHOLE,
    block_list,
    blocks_in,
    data_bytes,
    page_of,
    pages,
    sample_files,
    stream,
    word,
    written,
)

from migsim.errors import ChannelError, ConfigError, ParameterError, StreamError
from migsim.streamtool import extract_ram


@pytest.mark.parametrize("name", WHOLE)
def test_every_block_is_that_of_the_sender_and_sparse_where_it_is_zero(tmp_path, name):
    out = tmp_path / "out"
    for block, digest in blocks_in(name).items():
        result = extract_ram(sample_files(name), out, block)
        assert hashlib.sha256(out.read_bytes()).hexdigest() == digest
        status = out.stat()
        assert status.st_size == MANIFEST[name]["blocks"][block]["length"] == result.size_bytes
        assert result.content_pages + result.zero_pages == result.size_bytes // PAGE
        assert data_bytes(out) <= result.content_pages * PAGE
        assert result.disk_bytes == status.st_blocks * 512


def test_the_only_block_needs_no_name(tmp_path):
    result = extract_ram(sample_files("none-1m"), tmp_path / "out")
    assert result.block == "ram0"
    with pytest.raises(ParameterError) as error:
        extract_ram(sample_files("pc-8m"), tmp_path / "other")
    assert "ram0" in str(error.value)
    assert "pc.bios" in str(error.value)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["ram1", ""])
def test_a_block_that_is_not_there(tmp_path, name):
    with pytest.raises(ParameterError):
        extract_ram(sample_files("none-1m"), tmp_path / "out", name)
    assert os.listdir(tmp_path) == []


def test_a_stream_without_ram(tmp_path):
    with pytest.raises(ParameterError):
        extract_ram(sample_files("none-noram"), tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [name for name in SHARING if "memfd" not in name])
def test_a_block_that_was_left_out_is_not_extracted_as_zeros(tmp_path, name):
    with pytest.raises(ConfigError) as error:
        extract_ram(sample_files(name), tmp_path / "out", "ram0")
    assert "x-ignore-shared" in str(error.value)
    assert os.listdir(tmp_path) == []


def test_the_last_record_of_a_page_counts(tmp_path):
    records = pages(0, [1, 2, 3, 4]) + pages(1, [0, 9]) + pages(3, [0]) + pages(3, [5])
    files = written(tmp_path / "s", stream(records=records))
    result = extract_ram(files, tmp_path / "out")
    expected = b"".join(page_of(byte) for byte in (1, 0, 9, 5, 0, 0, 0, 0))
    assert (tmp_path / "out").read_bytes() == expected
    assert (result.content_pages, result.zero_pages, result.absent_pages) == (3, 1, 4)
    assert data_bytes(tmp_path / "out") == 3 * PAGE


def test_pages_of_zeros_sent_as_pages_are_holes(tmp_path):
    records = pages(0, [1]) + b"".join(word(at * PAGE, 0x28) + bytes(PAGE) for at in range(1, 8))
    extract_ram(written(tmp_path / "s", stream(records=records)), tmp_path / "out")
    assert data_bytes(tmp_path / "out") == PAGE


@pytest.mark.parametrize("page_bits", [10, 14, 16])
def test_other_page_sizes(tmp_path, page_bits):
    size = 1 << page_bits
    bits = b"\5\x1econfiguration/target-page-bits" + (1).to_bytes(4, "big")
    head = b"QEVM\0\0\0\3\7\0\0\0\4none" + bits + page_bits.to_bytes(4, "big")
    setup = word(4 * size, 4) + b"\4ram0" + (4 * size).to_bytes(8, "big")
    records = word(0, 8) + b"\4ram0" + b"\1" * size + word(2 * size, 0x28) + b"\3" * size
    files = written(tmp_path / "s", stream(head=head, setup=setup, records=records))
    extract_ram(files, tmp_path / "out")
    content = (tmp_path / "out").read_bytes()
    assert content == b"\1" * size + bytes(size) + b"\3" * size + bytes(size)


# A stream that breaks off


def test_a_broken_stream_leaves_nothing(tmp_path):
    with pytest.raises(StreamError):
        extract_ram(sample_files("pc-8m-cancelled"), tmp_path / "out", "ram0")
    assert os.listdir(tmp_path) == []


def test_what_is_there_of_a_broken_stream_can_be_saved(tmp_path):
    result = extract_ram(sample_files("pc-8m-cancelled"), tmp_path / "out", "ram0", partial=True)
    assert result.fault.section == "ram"
    assert (result.content_pages, result.absent_pages) == (192, 1828)
    saved = (tmp_path / "out").read_bytes()
    assert len(saved) == 8 << 20
    # Pages hold their number; those with number 0 or 5 modulo 8 are zero.
    for pfn in range(220):
        filled = pfn and pfn % 8 != 5
        assert (
            saved[pfn * PAGE :][:PAGE] == (pfn.to_bytes(8, "little") if filled else bytes(8)) * 512
        )
    assert not any(saved[220 * PAGE :])


def test_what_is_no_stream_has_no_part_that_could_be_saved(tmp_path):
    files = written(tmp_path / "s", b"nonsense")
    with pytest.raises(StreamError):
        extract_ram(files, tmp_path / "out", partial=True)
    assert not (tmp_path / "out").exists()


def test_a_stream_that_breaks_off_before_its_block_list(tmp_path):
    files = written(tmp_path / "s", stream()[:40])
    with pytest.raises((ParameterError, StreamError)):
        extract_ram(files, tmp_path / "out", "ram0", partial=True)
    assert not (tmp_path / "out").exists()


# The output


def test_the_stream_itself_is_not_overwritten(tmp_path):
    files = written(tmp_path / "s", stream())
    with pytest.raises(ChannelError):
        extract_ram(files, files.path)
    assert files.path.read_bytes() == stream()


def test_a_file_that_is_there_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "out").write_bytes(b"\xff" * 100_000)
    extract_ram(written(tmp_path / "s", stream()), tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == 8 * PAGE
    digest = hashlib.sha256((tmp_path / "out").read_bytes()).digest()
    assert (
        digest
        == hashlib.sha256(b"".join(page_of(byte) for byte in (1, 0, 3, 4, 0, 0, 7, 8))).digest()
    )


def test_several_blocks_mixed(tmp_path):
    records = pages(0, [1], "a") + pages(0, [2], "b") + pages(1, [3], "a") + pages(7, [4], "b")
    files = written(tmp_path / "s", stream(setup=block_list("a", "b"), records=records))
    extract_ram(files, tmp_path / "a", "a")
    extract_ram(files, tmp_path / "b", "b")
    assert (tmp_path / "a").read_bytes() == page_of(1) + page_of(3) + bytes(6 * PAGE)
    assert (tmp_path / "b").read_bytes() == page_of(2) + bytes(6 * PAGE) + page_of(4)
