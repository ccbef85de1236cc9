"""A counting guest and the processor of its board, without any QEMU."""

from __future__ import annotations

import numpy as np
import pytest
from boot_images import FIRST, counting_image

from migsim.boards.board import BoardSpec, board_devices
from migsim.guest.boot_program import read_program
from migsim.guest.guest import Guest
from migsim.guest.page_counter import PageCounter
from migsim.ram.backends import RamBackend
from migsim.ram.block import RAMBlock
from migsim.units import MIB, PAGE_SIZE

IMAGE = counting_image()
PAGES = 25344
RATE = 1e6


def machine(accelerator="tcg"):
    block = RAMBlock("ram0", RamBackend("ram0", 150 * MIB))
    guest = Guest(PageCounter(rate_pages_per_s=RATE, program=read_program(IMAGE)), block)
    devices = board_devices(BoardSpec("q35", accelerator, 150 * MIB), guest)
    return guest, {(d.name, d.instance_id): d for d in devices}


def counters(guest):
    return guest.block.view()[256 : 256 + PAGES, 0]


def run(guest, writes):
    guest.run_ps(int(writes / RATE * 1e12))
    assert guest.writes == writes


@pytest.mark.parametrize("accelerator", ["tcg", "kvm"])
def test_the_processor_is_where_the_guest_is(accelerator):
    guest, devices = machine(accelerator)
    run(guest, 70 * PAGES + 11)
    cpu = devices["cpu", 0]
    cpu.save()
    devices["cpu_common", 0].save()
    devices["port92", 0].save()
    program = read_program(IMAGE)
    assert program is not None
    assert cpu.read("env.eip") == program.counting.addr
    registers = cpu.read("env.regs")
    assert isinstance(registers, tuple)
    assert (registers[6], registers[1]) == (FIRST + 11 * PAGE_SIZE, 69 % 64)
    assert cpu.read("env.segs[1].flags") == 0xCF9B00
    assert cpu.read("env.gdt.base") == program.table
    assert devices["cpu_common", 0].read("halted") == 0
    assert devices["port92", 0].body == b"\2"
    sector = guest.block.view()[7, 0xC00:0xE00].tobytes()
    assert sector == IMAGE


def test_a_guest_that_never_ran_leaves_the_processor_at_its_start():
    _, devices = machine()
    devices["cpu", 0].save()
    assert devices["cpu", 0].read("env.eip") == 0xFFF0


def arrive(value, index, **registers):
    """Return a guest after a load of memory and processor of a real one."""
    guest, devices = machine()
    counters(guest)[:] = (value - 1) % 256
    counters(guest)[:index] = value % 256
    source = machine()[1]["cpu", 0]
    source.write({"env.eip": read_program(IMAGE).counting.addr, "env.cr[0]": 0x11} | registers)
    guest.resume_at(12_345_000_000_000)
    body, entry = source.save()
    devices["cpu", 0].load(body, 0, 12, entry=entry)
    return guest


@pytest.mark.parametrize("value", [1, 63, 64, 65, 200, 255, 256])
@pytest.mark.parametrize("index", [1, 777, PAGES - 1, PAGES])
def test_a_real_guest_goes_on_where_its_memory_says(value, index):
    guest = arrive(value, index)
    assert guest.writes == value * PAGES + index if value < 256 or index < PAGES else PAGES
    clock = guest.time_ps + guest.clock_ahead_ps
    assert clock == 12_345_000_000_000
    guest.run_ps(int(64 * PAGES / RATE * 1e12))
    assert guest.take_serial() == b"B"
    first = counters(guest)
    assert set(np.unique(first)) <= {int(first[0]), (int(first[0]) - 1) % 256}
    assert np.count_nonzero(np.diff(first.astype(int))) <= 1


def test_a_guest_in_its_firmware_begins_anew():
    guest = arrive(9, PAGES, **{"env.cr[0]": 0x10})
    assert guest.writes == 0
    guest.run_ps(10**12)
    assert guest.take_serial().startswith(b"A")


def test_a_guest_that_zeroes_goes_on_zeroing():
    program = read_program(IMAGE)
    registers = [0] * 16
    registers[6] = FIRST + 100 * PAGE_SIZE
    guest = arrive(0, 100, **{"env.eip": program.zeroing.addr, "env.regs": tuple(registers)})
    assert guest.writes == 100
    guest.run_ps(int(PAGES / RATE * 1e12))
    assert guest.take_serial() == b""
    assert counters(guest)[PAGES - 1] == 0


def test_memory_of_another_guest_starts_the_count():
    guest = arrive(5, 10)
    counters(guest)[40] = 77
    assert guest.workload.counted_position(guest.block) is None
