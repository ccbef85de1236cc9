"""What is written in one of the option languages is read back, whatever it holds."""

from __future__ import annotations

import json
import shlex

from hypothesis import given
from hypothesis import strategies as st

from migsim.channel.uri import ChannelAddress, Scheme
from migsim.cmdline.build import incoming_of
from migsim.cmdline.jsonform import parse_object
from migsim.cmdline.keyval import merge, parse_keyval
from migsim.cmdline.memory_options import RAM_ALIGNMENT, ram_size
from migsim.cmdline.options import parse_options
from migsim.cmdline.pairs import elements
from migsim.cmdline.parse import parse
from migsim.cmdline.probe import HEAD_BYTES, probe_file, probe_format

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True)
VALUES = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        VALUES,
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(NAMES, inner, min_size=1, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def leaves(tree, path=""):
    """Yield keys with dots and texts of all leaves."""
    items = enumerate(tree) if isinstance(tree, list) else tree.items()
    for name, value in items:
        if isinstance(value, str):
            yield f"{path}{name}", value
        else:
            yield from leaves(value, f"{path}{name}.")


def written(pairs):
    """Return pairs as an argument."""
    return ",".join(f"{key}={value.replace(',', ',,')}" for key, value in pairs)


@given(TREES, st.randoms(use_true_random=False))
def test_trees_are_read_back_in_whatever_order(tree, random):
    pairs = list(leaves(tree))
    random.shuffle(pairs)
    assert parse_keyval(written(pairs)).members == tree


@given(TREES, TREES)
def test_merging_is_reading_one_behind_the_other_where_kinds_agree(old, new):
    same = {name: value for name, value in new.items() if type(old.get(name)) is not dict}
    both = merge({n: v for n, v in old.items() if n not in same}, same)
    assert both == {**{n: v for n, v in old.items() if n not in same}, **same}
    assert merge(old, {}) == old
    assert merge({}, new) == new


@given(st.lists(st.tuples(NAMES.filter(lambda n: n != "id"), VALUES), max_size=5), VALUES)
def test_flat_options_keep_order_and_repetition(pairs, first):
    text = written(pairs)
    assert parse_options(text).pairs == tuple(pairs)
    implied = f"{first.replace(',', ',,')},{text}"
    if "=" not in first and first not in ("help", "?"):
        assert parse_options(implied, "x").pairs == (("x", first), *pairs)


@given(st.text(alphabet="a=,x", max_size=30))
def test_every_character_lands_in_a_piece(text):
    total = 0
    for element in elements(text):
        total += len(element.key or "") + (element.key is not None) + len(element.value)
    assert total <= len(text)
    assert "".join(e.value for e in elements(text)).count("a") <= text.count("a")


@given(st.dictionaries(VALUES, VALUES | st.integers() | st.booleans() | st.none(), max_size=4))
def test_json_in_single_quotes_is_the_same_json(members):
    text = json.dumps(members)
    assert parse_object(text) == members
    single = "".join(swapped(text))
    assert parse_object(single) == members


def swapped(text):
    """Yield the characters of JSON ``text`` with strings in single quotes."""
    escaped = False
    for char in text:
        if char == '"' and not escaped:
            yield "'"
        elif char == "'":
            yield "\\'"
        else:
            yield char
        escaped = char == "\\" and not escaped


@given(st.integers(0, 1 << 62))
def test_memory_is_rounded_up_to_its_alignment(size):
    rounded = ram_size(f"{size}b")
    assert size <= rounded < size + RAM_ALIGNMENT
    assert rounded % RAM_ALIGNMENT == 0


@given(
    st.integers(1, 64),
    st.permutations(
        [
            "-S",
            "-only-migratable",
            "-name x",
            "-uuid " + "-".join(["00000000", "0000", "0000", "0000", "000000000000"]),
        ]
    ),
)
def test_order_of_independent_options_does_not_matter(size, options):
    argv = shlex.split(" ".join([f"-m {size}M", "-machine none", *options]))
    line = parse(argv)
    assert line == parse(
        shlex.split(" ".join([*reversed(options), "-machine none", f"-m {size}M"]))
    )
    assert line.memory.size_bytes == size << 20


@given(VALUES.filter(lambda v: v and "\0" not in v), st.integers(0, 1 << 40))
def test_files_to_load_from_survive_both_channel_forms(name, offset):
    address = {"transport": "file", "filename": name, "offset": offset}
    channel = json.dumps({"channel-type": "main", "addr": address})
    flat = written(leaves({"channel-type": "main", "addr": {**address, "offset": str(offset)}}))
    for form in (channel, flat):
        found = incoming_of(parse(["-machine", "none", "-incoming", form]))
        assert found == ChannelAddress(Scheme.FILE, name, offset)


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_have_a_format(tmp_path_factory, head):
    path = tmp_path_factory.mktemp("probe") / "x"
    path.write_bytes(head)
    assert probe_file(str(path)).driver == probe_format(head)
