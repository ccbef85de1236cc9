from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.monitor.json_stream import MAX_DEPTH, JsonProblem, JsonStream


def read(data: bytes, chunk: int | None = None) -> list[object]:
    stream = JsonStream()
    size = chunk or len(data) or 1
    return [
        value for at in range(0, len(data), size) for value in stream.feed(data[at : at + size])
    ]


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b'{"a":1}', [{"a": 1}]),
        (b'{"a":1}{"b":[]}\n', [{"a": 1}, {"b": []}]),
        (b"{'a':'it\\'s \"b\"'}", [{"a": 'it\'s "b"'}]),
        (
            b' \t{ "a" :\r\n -1.5e3 , "b":[true,false,null]}',
            [{"a": -1500.0, "b": [True, False, None]}],
        ),
        (b"12\n", [12]),
        (b"null\n", [None]),
        (b'{"a":"\\u00e9\\ud83d\\ude00\\n"}', [{"a": "é😀\n"}]),
        ('{"a":"é"}'.encode(), [{"a": "é"}]),
        (b'{"a":18446744073709551615}', [{"a": (1 << 64) - 1}]),
        (b'{"a":-9223372036854775808}', [{"a": -(1 << 63)}]),
    ],
)
def test_values(text: bytes, values: list[object], chunk: int | None) -> None:
    assert read(text, chunk) == values


@pytest.mark.parametrize("number", [b"18446744073709551616", b"-9223372036854775809", b"1e3"])
def test_numbers_beyond_64_bits_are_floating(number: bytes) -> None:
    [value] = read(b"[" + number + b"]")
    assert isinstance(value, list)
    assert isinstance(value[0], float)


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(
    "text",
    [
        b'{"a": }',
        b'{"a" 1}',
        b'{"a":1,}',
        b"[1 2]",
        b"{1:2}",
        b"hello\n",
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}',
        b'{"a":"\\x"}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"}",
        b"{\xff",
        b"{\x01",
        b"{'bad \xff",
        b"{'a':'\n",
    ],
)
def test_one_problem_and_then_on(text: bytes, chunk: int | None) -> None:
    stream = JsonStream()
    size = chunk or len(text)
    problems = [v for at in range(0, len(text), size) for v in stream.feed(text[at : at + size])]
    assert [type(problem) for problem in problems] == [JsonProblem]
    assert list(stream.feed(b'{"x":1}\n')) == [{"x": 1}]


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize(
    ("text", "problems", "values"),
    [
        # Counted on QEMU 10.0.2: what is no token ends at brackets, colons, commas and controls.
        (b'%"abc" 1\n', 1, 0),
        (b"%'a' {}\n", 1, 1),
        (b'%\xff"a"\n', 2, 0),
        (b'@\x01"\n', 2, 0),
        (b'@@@"{"\n', 2, 0),
        (b'"a\xff"b"\n{}\n', 1, 1),
        (b"{'execute': 'nonexistent\xff'}", 2, 0),
        (b'{"a\n":1}\n', 3, 1),
        (b'{"a\xc0":1}\n', 1, 0),
    ],
)
def test_what_is_dropped_behind_a_problem(text, problems, values, chunk) -> None:
    stream = JsonStream()
    size = chunk or len(text)
    found = [v for at in range(0, len(text), size) for v in stream.feed(text[at : at + size])]
    assert [isinstance(v, JsonProblem) for v in found].count(True) == problems
    assert len(found) == problems + values
    assert list(stream.feed(b'{"x":1}\n')) == [{"x": 1}]


def test_depth_is_bounded() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    [value] = read(deep, 100)
    assert isinstance(value, list)
    problems = read(b"[" * 100_000, 4096)
    assert problems
    assert all(isinstance(problem, JsonProblem) for problem in problems)


def test_an_endless_string_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migsim.monitor.json_stream.MAX_TOKEN_BYTES", 1 << 20)
    stream = JsonStream()
    problems = list(stream.feed(b'{"a":"'))
    for _ in range(100):
        problems += list(stream.feed(b"x" * (1 << 16)))
        assert len(stream._rest) <= 2 << 20
    assert [type(problem) for problem in problems] == [JsonProblem] * len(problems)
    assert 1 <= len(problems) <= 3
    assert list(stream.feed(b'\n{"x":1}\n')) == [{"x": 1}]


def test_a_long_message_costs_linear_time() -> None:
    text = json.dumps({"a": "x" * (4 << 20)}).encode()
    [value] = read(text, 1 << 12)
    assert value == {"a": "x" * (4 << 20)}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.lists(st.dictionaries(st.text("xyz"), VALUES, max_size=3), max_size=5), st.integers(1, 40)
)
def test_any_chunking_gives_the_same(values: list[object], chunk: int) -> None:
    assert read(b"".join(json.dumps(v).encode() for v in values), chunk) == values
    pretty = b"\n".join(json.dumps(v, ensure_ascii=False, indent=1).encode() for v in values)
    assert read(pretty, chunk) == values


@given(st.binary(max_size=200), st.integers(1, 20))
def test_rubbish_is_survived(data: bytes, chunk: int) -> None:
    stream = JsonStream()
    for at in range(0, len(data), chunk):
        for _ in stream.feed(data[at : at + chunk]):
            pass


@pytest.mark.parametrize(
    ("text", "problems", "values"),
    [
        (b"-\n01\nx\n", 2, 0),  # the end of the line went with the dash; 01 is dropped
        (b'1.\n"\t"\n', 1, 0),
        (b'01 {"a":1}\n', 1, 1),
        (b"1.5.5\n", 1, 1),
        (b'tru {"a":1}\n', 1, 1),
        (b'"a\tb" {"a":1}\n', 1, 1),
        (b"007\n", 1, 0),
        (b'1e\n"\x01\n', 2, 0),
        (b'"abc\ndef"\n{"a":1}\n', 1, 1),
        (b'{"a":01}\n', 2, 0),
        (b'% "\x0b"\n', 2, 0),
    ],
)
def test_where_reading_goes_on_behind_a_problem(text, problems, values):
    found = list(JsonStream().feed(text))
    assert sum(isinstance(one, JsonProblem) for one in found) == problems
    assert len(found) - problems == values
