from __future__ import annotations

import pytest
from boot_images import FIRST, LIMIT, counting_image
from conformance.ladder.image import boot_image
from hypothesis import given
from hypothesis import strategies as st

from migsim.guest.boot_program import read_program

IMAGE = counting_image()
PAGES = 25344


def test_the_loops_are_found():
    program = read_program(IMAGE)
    assert program is not None
    assert (program.first, program.counting.limit, program.pages) == (FIRST, LIMIT, PAGES)
    assert (program.counting.register, program.counter, program.passes) == (6, 1, 64)
    assert (program.code_selector, program.data_selector) == (8, 16)
    assert program.table_limit == 23
    for loop, opcode in ((program.zeroing, 0xC6), (program.counting, 0x80)):
        assert IMAGE[loop.addr - 0x7C00] == opcode
        assert IMAGE[loop.end - 2 - 0x7C00] == 0x72


@pytest.mark.parametrize(
    ("position", "page", "passes"),
    [
        (1, 1, 0),
        (PAGES - 1, PAGES - 1, 0),
        (PAGES, 0, 0),
        (2 * PAGES + 5, 5, 1),
        (64 * PAGES, 0, 63),
        (65 * PAGES, 0, 0),
        (300 * PAGES + 7, 7, 299 % 64),
    ],
)
def test_registers_say_where_the_guest_is(position, page, passes):
    program = read_program(IMAGE)
    assert program is not None
    eip, registers = program.registers(position)
    assert eip == (program.counting if position >= PAGES else program.zeroing).addr
    assert registers[6] == FIRST + page * 4096
    assert registers[1] == passes


def test_phases():
    program = read_program(IMAGE)
    assert program is not None
    assert program.phase(0x7C00) is None
    assert program.phase(program.zeroing.addr) is program.zeroing
    assert program.phase(program.zeroing.end) is program.counting
    assert program.phase(program.counting.end + 3) is program.counting
    assert program.phase(0xFFFF0) is None


@pytest.mark.parametrize(
    "image",
    [
        b"",
        bytes(512),
        IMAGE[:-1],
        IMAGE[:-2] + b"\0\0",
        counting_image(first=0x100001),
        counting_image(limit=FIRST),
        counting_image(passes=48),
        IMAGE.replace(b"\x0f\x01\x16", b"\x90\x90\x90"),
        IMAGE.replace(b"\x80\x06\x01", b"\x80\x06\x02"),
    ],
)
def test_other_sectors_are_not_understood(image):
    assert read_program(image) is None


@given(st.lists(st.tuples(st.integers(0, 509), st.integers(0, 255)), max_size=6))
def test_no_sector_is_too_strange(changes):
    image = bytearray(IMAGE)
    for place, value in changes:
        image[place] = value
    program = read_program(bytes(image))
    assert program is None or program.pages > 0


def test_the_sector_of_the_ladder_is_understood():
    program = read_program(boot_image())
    assert program is not None
    assert (program.counting.register, program.counter, program.passes) == (7, 3, 64)
    assert (program.table, program.table_limit) == (0x7C98, 23)
