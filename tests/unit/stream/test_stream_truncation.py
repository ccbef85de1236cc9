"""Streams that end too early, and streams with wrong bytes in them."""

from __future__ import annotations

import numpy as np
import pytest

from migsim.channel import MemoryInput
from migsim.errors import StreamError
from migsim.stream import EndMarker, PageBatch, StreamReader

SMALL = ["none-noram", "none-1m-ignore-shared", "none-1m-ignore-shared-memfd"]


def walk(raw, describe, *, seekable):
    """Read everything, page contents too, and return the items."""
    items = []
    for item in StreamReader(MemoryInput(raw, seekable=seekable), describe):
        if isinstance(item, PageBatch) and not item.is_zero:
            assert item.data.shape == (item.pfns.size, 4096)
            item.data.max()
        items.append(item)
    return items


def failure(raw, describe, *, seekable):
    """Return the error that reading ends with, or None."""
    try:
        walk(raw, describe, seekable=seekable)
    except StreamError as error:
        return error
    return None


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_every_cut_is_found_at_or_before_it(sample, describe, name, seekable, known):
    raw, _ = sample(name)
    describe = describe if known else None
    (end,) = (
        item for item in walk(raw, describe, seekable=seekable) if isinstance(item, EndMarker)
    )
    clean = []
    for cut in range(len(raw)):
        found = failure(raw[:cut], describe, seekable=seekable)
        if found is None:
            clean.append(cut)
        else:
            assert found.offset <= cut
    # A stream may lack the description, so exactly one cut leaves a whole stream.
    assert clean == [end.offset + 1]


def test_cuts_inside_pages(parts, describe):
    stream = parts()
    raw = stream.join()
    first = stream.offset_of("pages")
    for cut in range(first, first + len(stream.pages), 7):
        for seekable in (True, False):
            with pytest.raises(StreamError) as caught:
                walk(raw[:cut], describe, seekable=seekable)
            assert first <= caught.value.offset <= cut
            assert caught.value.section == "ram"


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("name", [*SMALL, "none-4m-default-ram"])
def test_wrong_bytes_give_a_stream_error_or_a_stream(sample, describe, name, seekable):
    raw, _ = sample(name)
    generator = np.random.Generator(np.random.PCG64(20240229))
    refused = 0
    end = raw.index(b'{"configuration"')
    for _ in range(500):
        bad = np.frombuffer(raw, np.uint8).copy()
        # A receiver never looks into the description, so what is wrong there is no reason.
        places = generator.integers(0, end, generator.integers(1, 4))
        bad[places] = generator.integers(0, 256, places.size)
        for known in (describe, None):
            refused += failure(bad.tobytes(), known, seekable=seekable) is not None
    assert refused > 200
