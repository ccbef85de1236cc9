"""Sizes as text: the freedoms that QEMU takes, and numbers that are far too long."""

from __future__ import annotations

import pytest

from migsim.errors import ParameterError
from migsim.units import parse_size


@pytest.mark.parametrize(
    "text",
    ["9" * 5000, "9" * 1_000_000, "1." + "1" * 5000 + "k", "0x" + "f" * 100_000, "1" * 400],
    ids=["digits", "many digits", "fraction", "hexadecimal", "400 digits"],
)
def test_numbers_that_are_far_too_long(text):
    with pytest.raises(ParameterError):
        parse_size(text)


def test_zeros_behind_the_point_do_not_count():
    assert parse_size("1." + "0" * 5000 + "k") == 1024
    assert parse_size("0." + "0" * 399 + "1k") == 0
