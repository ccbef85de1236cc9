"""State files of a real QEMU, converted and given other RAM, load in a real QEMU and run on."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest

from migsim.streamtool import (
    Severity,
    StreamFiles,
    StreamForm,
    ZeroPages,
    check_stream,
    compare_streams,
    convert,
    extract_ram,
    replace_ram,
    stream_info,
)

pytestmark = pytest.mark.live

MIB = 1 << 20
RAM_BYTES = 16 * MIB
COUNTER = 0x1000
MACHINES = ["none", "microvm", "pc", "q35"]


def firmware() -> bytes:
    """Return a firmware that counts in RAM, at 0x1000, and does nothing else."""
    image = bytearray(b"\xf4" * 0x10000)
    code = (
        b"\x31\xc0"  # xor ax, ax
        b"\x8e\xd8"  # mov ds, ax
        b"\x66\xff\x06\x00\x10"  # inc dword [0x1000]
        b"\xeb\xf9"  # back to inc
    )
    image[0xE000 : 0xE000 + len(code)] = code
    image[0xFFF0:0xFFF5] = b"\xea\x00\xe0\x00\xf0"  # jmp f000:e000
    return bytes(image)


def pattern(seed: int) -> np.ndarray:
    """Return RAM with zero pages alone, in rows and at the end, and pages that are nearly zero."""
    generator = np.random.default_rng(seed)
    ram = generator.integers(0, 256, (RAM_BYTES // 4096, 4096), np.uint8)
    ram[generator.random(len(ram)) < 0.3] = 0
    ram[1000:2000] = 0
    ram[0] = 0
    ram[1, :] = 0
    ram[-2, :-1] = 0
    ram[-1] = 0
    return ram


def counter_of(path: Path) -> int:
    with path.open("rb") as ram:
        ram.seek(COUNTER)
        return int(struct.unpack("<I", ram.read(4))[0])


class Bench:
    """Starts senders and receivers of one kind of machine."""

    def __init__(self, qemu, directory: Path, machine: str) -> None:
        self.qemu = qemu
        self.directory = directory
        self.machine = machine
        self.firmware = directory / "firmware"
        self.firmware.write_bytes(firmware())
        self.count = 0

    def start(self, ram: np.ndarray | None, *args: str):
        """Return a process whose RAM is a file, and that file."""
        self.count += 1
        path = self.directory / f"ram{self.count}"
        path.write_bytes(b"" if ram is None else ram.tobytes())
        options = "" if self.machine == "none" else ",accel=tcg"
        bios = () if self.machine == "none" else ("-bios", str(self.firmware))
        process = self.qemu(
            *("-machine", f"{self.machine}{options},memory-backend=ram0"),
            *("-m", f"{RAM_BYTES >> 20}M", *bios),
            *("-object", f"memory-backend-file,id=ram0,size={RAM_BYTES},mem-path={path},share=on"),
            *args,
        )
        return process, path

    def save(self, *, mapped: bool = False) -> tuple[Path, bytes]:
        """Let a guest run and save it; return the state file, and its RAM at that moment."""
        process, ram = self.start(pattern(1))
        if self.machine != "none":
            self.wait_until_it_counts(ram)
        process.capabilities(mapped_ram=mapped)
        state = self.directory / f"state{self.count}"
        process("migrate", uri=f"file:{state}")
        process.migration("completed")
        content = ram.read_bytes()
        process.stop()
        return state, content

    def load(self, state: Path, offset: int = 0, *, mapped: bool = False):
        """Load into a stopped machine; return it and its RAM."""
        process, ram = self.start(None, "-S", "-incoming", "defer")
        process.capabilities(mapped_ram=mapped)
        assert process.load(f"file:{state},offset={offset}") == "completed", process.log
        return process, ram

    def goes_on(self, process, ram: Path) -> None:
        """Check that the guest runs after ``cont``."""
        assert process("query-status")["status"] == "paused"
        process("cont")
        assert process("query-status")["status"] == "running"
        if self.machine != "none":
            self.wait_until_it_counts(ram)
        process.stop()

    @staticmethod
    def wait_until_it_counts(ram: Path) -> None:
        before, limit = counter_of(ram), time.monotonic() + 20
        while counter_of(ram) == before:
            assert time.monotonic() < limit, "the guest does not run"
            time.sleep(0.01)


@pytest.fixture(params=MACHINES)
def bench(request, qemu, tmp_path):
    return Bench(qemu, tmp_path, request.param)


@pytest.mark.parametrize("offset", [0, 0x5000])
def test_there_and_back_again(bench, tmp_path, offset):
    state, content = bench.save()
    mapped, plain = tmp_path / "mapped", tmp_path / "plain"
    convert(StreamFiles.at(state), mapped, StreamForm.MAPPED_RAM, target_offset=offset)
    convert(StreamFiles.at(mapped, offset), plain, StreamForm.PLAIN)

    process, ram = bench.load(mapped, offset, mapped=True)
    assert ram.read_bytes() == content
    bench.goes_on(process, ram)
    process, ram = bench.load(plain)
    assert ram.read_bytes() == content
    bench.goes_on(process, ram)
    assert compare_streams(StreamFiles.at(state), StreamFiles.at(plain), ram=True).same


@pytest.mark.parametrize("zero_pages", [ZeroPages.OMIT, ZeroPages.MARK])
def test_a_mapped_ram_file_becomes_plain(bench, tmp_path, zero_pages):
    state, content = bench.save(mapped=True)
    plain = tmp_path / "plain"
    convert(StreamFiles.at(state), plain, StreamForm.PLAIN, zero_pages=zero_pages)
    process, ram = bench.load(plain)
    assert ram.read_bytes() == content
    bench.goes_on(process, ram)


@pytest.mark.parametrize("mapped", [False, True])
def test_marked_zero_pages_are_right_for_ram_that_is_not_fresh(bench, tmp_path, mapped):
    state, content = bench.save()
    form = StreamForm.MAPPED_RAM if mapped else StreamForm.PLAIN
    new = tmp_path / "new"
    convert(StreamFiles.at(state), new, form, zero_pages=ZeroPages.MARK)
    process, ram = bench.start(np.full(RAM_BYTES, 0xA5, np.uint8), "-S", "-incoming", "defer")
    process.capabilities(mapped_ram=mapped)
    assert process.load(f"file:{new}") == "completed", process.log
    assert ram.read_bytes() == content


@pytest.mark.parametrize("mapped", [False, True])
def test_replaced_ram_is_what_the_guest_goes_on_with(bench, tmp_path, mapped):
    state, content = bench.save(mapped=mapped)
    other = pattern(2)
    other[1, :4] = (1, 2, 3, 4)
    (tmp_path / "other").write_bytes(other.tobytes())
    new = tmp_path / "new"
    replace_ram(StreamFiles.at(state), new, {"ram0": tmp_path / "other"})
    assert stream_info(StreamFiles.at(new)).form is (
        StreamForm.MAPPED_RAM if mapped else StreamForm.PLAIN
    )
    process, ram = bench.load(new, mapped=mapped)
    assert ram.read_bytes() == other.tobytes() != content
    bench.goes_on(process, ram)
    if bench.machine != "none":
        assert counter_of(ram) >= 0x04030201

    # And with its own RAM put back it is what it was.
    extract_ram(StreamFiles.at(state), tmp_path / "own", "ram0")
    back = tmp_path / "back"
    replace_ram(StreamFiles.at(new), back, {"ram0": tmp_path / "own"})
    assert compare_streams(StreamFiles.at(state), StreamFiles.at(back), ram=True).same


def test_extracted_ram_is_the_guests(bench, tmp_path):
    state, content = bench.save()
    extract_ram(StreamFiles.at(state), tmp_path / "out", "ram0")
    assert (tmp_path / "out").read_bytes() == content
    assert (tmp_path / "out").stat().st_blocks * 512 < 3 * RAM_BYTES // 4


def test_without_description_and_zero_pages_it_loads_all_the_same(bench, tmp_path):
    state, content = bench.save()
    new = tmp_path / "new"
    convert(
        StreamFiles.at(state),
        new,
        StreamForm.PLAIN,
        zero_pages=ZeroPages.OMIT,
        drop_description=True,
    )
    assert new.stat().st_size < state.stat().st_size
    process, ram = bench.load(new)
    assert ram.read_bytes() == content
    bench.goes_on(process, ram)


def test_what_check_says_a_receiver_needs_is_enough(qemu, tmp_path):
    """Start a receiver from the list that check gives, with nothing else known of the file."""
    bench = Bench(qemu, tmp_path, "q35")
    state, _ = bench.save(mapped=True)
    report = check_stream(StreamFiles.at(state))
    needs = {finding.code: finding.text for finding in report.of(Severity.NEEDS)}
    machine = needs["machine"].removeprefix("-machine ")
    assert "ram0 16 MiB" in needs["ram"]
    assert "pc.bios 64 KiB" in needs["ram"]
    process = qemu(
        *("-machine", f"{machine},accel=tcg,memory-backend=ram0", "-m", "16M"),
        *("-object", "memory-backend-ram,id=ram0,size=16M", "-bios", str(bench.firmware)),
        *("-incoming", "defer", "-S"),
    )
    process.capabilities(**{needs["capabilities"].split()[1].replace("-", "_"): True})
    assert process.load(needs["uri"].removeprefix("migrate-incoming ")) == "completed"
