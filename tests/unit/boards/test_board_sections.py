"""Which sections a machine has, and how large they are, as recorded of QEMU 10.0.2."""

from __future__ import annotations

import pytest
from boards import LINES, recorded, rows, save

RECORDED = recorded()


def shape(found):
    """Sizes of a few sections depend on what is behind a device; the others must be equal."""
    free = ("virtio-console",)
    return [row if not str(row[0]).endswith(free) else row[:3] for row in found]


@pytest.mark.parametrize("text", LINES)
def test_sections_are_those_of_the_real_machine(text, tmp_path):
    assert shape(rows(save(text, tmp_path / "state"))) == shape(RECORDED[text])
