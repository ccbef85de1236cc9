"""Guests of a real QEMU start from one saved file, copy-on-write, as the documentation tells."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.streamtool import (
    StreamFiles,
    StreamForm,
    ZeroPages,
    convert,
    extract_ram,
    replace_ram,
)

pytestmark = pytest.mark.live

SIZE = 16 << 20


def machine(path, *options):
    return (
        *("-machine", "q35,accel=tcg,memory-backend=ram0", "-m", "16M"),
        *("-object", f"memory-backend-file,id=ram0,size=16M,mem-path={path},{','.join(options)}"),
    )


@pytest.mark.parametrize("mapped", [False, True])
def test_clones_share_a_file_that_nobody_changes(qemu, tmp_path, mapped):
    content = np.random.default_rng(3).integers(0, 256, SIZE, np.uint8)
    content[SIZE // 2 : SIZE // 4 * 3] = 0
    (tmp_path / "ram0").write_bytes(content)
    source = qemu(*machine(tmp_path / "ram0", "share=on"), "-S")
    source.capabilities(mapped_ram=mapped)
    source("migrate", uri=f"file:{tmp_path}/state")
    source.migration("completed")
    source.stop()
    expected = (tmp_path / "ram0").read_bytes()

    files = StreamFiles.at(tmp_path / "state")
    extract_ram(files, tmp_path / "ram.img", "ram0")
    convert(files, tmp_path / "plain", StreamForm.PLAIN, zero_pages=ZeroPages.OMIT)
    with (tmp_path / "nothing").open("wb") as nothing:
        nothing.truncate(SIZE)
    replace_ram(
        StreamFiles.at(tmp_path / "plain"),
        tmp_path / "devices",
        {"ram0": tmp_path / "nothing"},
        zero_pages=ZeroPages.OMIT,
    )
    assert (tmp_path / "devices").stat().st_size < 1 << 20
    options = ("share=off", "readonly=on", "rom=off")
    for _ in range(2):
        clone = qemu(*machine(tmp_path / "ram.img", *options), "-S", "-incoming", "defer")
        assert clone.load(f"file:{tmp_path}/devices") == "completed", clone.log
        clone("pmemsave", val=0, size=640 << 10, filename=str(tmp_path / "low"))
        clone("pmemsave", val=1 << 20, size=SIZE - (1 << 20), filename=str(tmp_path / "high"))
        assert (tmp_path / "low").read_bytes() == expected[: 640 << 10]
        assert (tmp_path / "high").read_bytes() == expected[1 << 20 :]
        clone("cont")
        assert clone("query-status")["status"] == "running"
        clone.stop()
    assert (tmp_path / "ram.img").read_bytes() == expected
