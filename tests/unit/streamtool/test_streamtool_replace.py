"""Other content for RAM blocks, everything else as it was."""

from __future__ import annotations

import os

import numpy as np
import pytest
from state_files import (
    MANIFEST,
    PAGE,
    SHARING,
    WHOLE,
    block_list,
    blocks_in,
    page_of,
    pages,
    ram_hashes,
    sample_files,
    stream,
    written,
)

from migsim.errors import ChannelError, ConfigError
from migsim.streamtool import (
    StreamFiles,
    StreamForm,
    ZeroPages,
    check_stream,
    compare_streams,
    extract_ram,
    replace_ram,
    stream_info,
)

REPLACEABLE = [name for name in WHOLE if blocks_in(name) and name not in SHARING]


def other_ram(size_bytes, seed=5):
    generator = np.random.default_rng(seed)
    ram = generator.integers(0, 256, (size_bytes // PAGE, PAGE), np.uint8)
    ram[generator.random(len(ram)) < 0.4] = 0
    ram[0] = 0
    return ram.tobytes()


@pytest.mark.parametrize("name", REPLACEABLE)
def test_one_block_is_replaced_and_the_others_stay(tmp_path, name):
    block = next(iter(blocks_in(name)))
    content = other_ram(MANIFEST[name]["blocks"][block]["length"])
    (tmp_path / "from").write_bytes(content)
    source = sample_files(name)
    result = replace_ram(source, tmp_path / "new", {block: tmp_path / "from"})
    new = StreamFiles.at(tmp_path / "new")
    extract_ram(new, tmp_path / "out", block)
    assert (tmp_path / "out").read_bytes() == content
    rest = {other: digest for other, digest in blocks_in(name).items() if other != block}
    assert ram_hashes(new, list(rest)) == rest
    assert not compare_streams(source, new).sections
    assert check_stream(new).ok
    mapped = stream_info(source).form is StreamForm.MAPPED_RAM
    assert result.form is (StreamForm.MAPPED_RAM if mapped else StreamForm.PLAIN)


@pytest.mark.parametrize("name", ["none-1m", "none-2m-mapped-ram", "pc-8m-xbzrle", "pc-8m-multifd"])
@pytest.mark.parametrize("zero_pages", [None, *ZeroPages])
def test_the_own_content_put_back_changes_nothing(tmp_path, name, zero_pages):
    source = sample_files(name)
    extract_ram(source, tmp_path / "own", "ram0")
    replace_ram(source, tmp_path / "new", {"ram0": tmp_path / "own"}, zero_pages=zero_pages)
    assert compare_streams(source, StreamFiles.at(tmp_path / "new"), ram=True).same


def test_several_blocks(tmp_path):
    files = written(
        tmp_path / "s",
        stream(setup=block_list("a", "b"), records=pages(0, [1] * 8, "a") + pages(0, [2] * 8, "b")),
    )
    (tmp_path / "fa").write_bytes(page_of(7) * 8)
    (tmp_path / "fb").write_bytes(bytes(8 * PAGE))
    replace_ram(files, tmp_path / "new", {"a": tmp_path / "fa", "b": tmp_path / "fb"})
    info = stream_info(StreamFiles.at(tmp_path / "new"))
    assert [(b.content_pages, b.zero_pages) for b in info.blocks] == [(8, 0), (0, 8)]
    assert [b.normal_records + b.zero_records for b in info.blocks] == [8, 8]


def test_deltas_of_other_blocks_go_through(tmp_path):
    extract_ram(sample_files("pc-8m-xbzrle"), tmp_path / "bios", "pc.bios")
    replace_ram(sample_files("pc-8m-xbzrle"), tmp_path / "new", {"pc.bios": tmp_path / "bios"})
    info = stream_info(StreamFiles.at(tmp_path / "new"))
    assert sum(block.delta_records for block in info.blocks) == 88


@pytest.mark.parametrize("change", [-PAGE, -1, 1, PAGE])
def test_a_file_of_another_length(tmp_path, change):
    (tmp_path / "from").write_bytes(bytes((1 << 20) + change))
    with pytest.raises(ConfigError) as error:
        replace_ram(sample_files("none-1m"), tmp_path / "new", {"ram0": tmp_path / "from"})
    assert str(1 << 20) in str(error.value)
    assert str((1 << 20) + change) in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_block_that_is_not_there(tmp_path):
    (tmp_path / "from").write_bytes(b"")
    for name, known in (("none-1m", "ram0"), ("none-noram", "none")):
        with pytest.raises(ConfigError) as error:
            replace_ram(sample_files(name), tmp_path / "new", {"ram1": tmp_path / "from"})
        assert known in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["from"]


def test_a_block_that_lies_in_a_file_of_its_own(tmp_path):
    (tmp_path / "from").write_bytes(bytes(1 << 20))
    with pytest.raises(ConfigError) as error:
        replace_ram(
            sample_files("none-1m-ignore-shared"), tmp_path / "new", {"ram0": tmp_path / "from"}
        )
    assert "x-ignore-shared" in str(error.value)
    name = "none-1m-ignore-shared-memfd"  # not ignored: its pages are there
    replace_ram(sample_files(name), tmp_path / "new", {"ram0": tmp_path / "from"})
    assert check_stream(StreamFiles.at(tmp_path / "new")).ok


def test_a_missing_file_a_directory_and_the_target_itself(tmp_path):
    with pytest.raises(ChannelError):
        replace_ram(sample_files("none-1m"), tmp_path / "new", {"ram0": tmp_path / "none"})
    with pytest.raises(ConfigError):
        replace_ram(sample_files("none-1m"), tmp_path / "new", {"ram0": tmp_path})
    (tmp_path / "from").write_bytes(bytes(1 << 20))
    with pytest.raises(ChannelError):
        replace_ram(sample_files("none-1m"), tmp_path / "from", {"ram0": tmp_path / "from"})
    assert (tmp_path / "from").read_bytes() == bytes(1 << 20)


def test_at_an_offset(tmp_path):
    content = other_ram(2 << 20)
    (tmp_path / "from").write_bytes(content)
    source = sample_files("none-2m-mapped-ram-offset")
    replace_ram(source, tmp_path / "new", {"ram0": tmp_path / "from"}, target_offset=0x7000)
    extract_ram(StreamFiles.at(tmp_path / "new", 0x7000), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content
