"""The two option languages and JSON arguments: what is a key, a value, a flag, a list."""

from __future__ import annotations

import pytest

from migsim.cmdline.jsonform import DEPTH_LIMIT, is_json, parse_object
from migsim.cmdline.keyval import FRAGMENT_LIMIT, merge, nest, parse_keyval
from migsim.cmdline.options import Kind, Options, parse_options
from migsim.cmdline.pairs import elements
from migsim.cmdline.text import (
    check_identifier,
    parse_integer,
    parse_number,
    parse_switch,
    shorten,
)
from migsim.errors import ConfigError, ParameterError


def split(text, **how):
    return [(e.key, e.value) for e in elements(text, **how)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("a=1,b=2", [("a", "1"), ("b", "2")]),
        ("a=1,", [("a", "1")]),
        ("a=1,,b=2", [("a", "1,b=2")]),
        ("a=1,,,b=2", [("a", "1,"), ("b", "2")]),
        ("a=,b", [("a", ""), (None, "b")]),
        ("a==b", [("a", "=b")]),
        ("a,,b", [(None, "a"), (None, ""), (None, "b")]),
        (",", [(None, "")]),
        ("=", [("", "")]),
    ],
)
def test_pieces_between_commas(text, pieces):
    assert split(text) == pieces


def test_a_first_value_may_hold_doubled_commas():
    assert split("a,,b,c", first_is_value=True) == [(None, "a,b"), (None, "c")]
    assert split("x=1,,2,a,,b", first_is_value=True)[0] == ("x", "1,2")


def test_members_lists_and_the_implied_key():
    parsed = parse_keyval("main,addr.args.0=a,addr.args.1=b,addr.transport=exec", "channel-type")
    assert parsed.members == {
        "channel-type": "main",
        "addr": {"args": ["a", "b"], "transport": "exec"},
    }
    assert not parsed.help


def test_order_of_a_list_comes_from_its_numbers_not_from_the_text():
    assert parse_keyval("a.1=y,a.0=x").members == {"a": ["x", "y"]}


@pytest.mark.parametrize("text", ["help", "?", "none,help", "a=1,?"])
def test_help_is_asked_for_by_a_bare_word(text):
    assert parse_keyval(text, "type").help


def test_the_last_of_equal_keys_wins():
    assert parse_keyval("a=1,a=2,b.c=3,b.c=4").members == {"a": "2", "b": {"c": "4"}}


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a=1,b",
        "none,,",
        ",a=1",
        "=1",
        "1=x",
        ".a=1",
        "a.=1",
        "a..b=1",
        "a b=1",
        "a=1,a.b=2",
        "a.b=1,a=2",
        "a.0=1,a.b=2",
        "a.0=1,a.2=2",
        "a.01=1",
        "é=1",
        "a" * (FRAGMENT_LIMIT + 1) + "=1",
        ".".join("a" * 65) + "=1",
    ],
)
def test_contradictions_and_malformed_keys(text):
    with pytest.raises(ConfigError):
        parse_keyval(text)


def test_longest_key_and_deepest_nesting():
    assert parse_keyval("a" * FRAGMENT_LIMIT + "=1").members
    assert parse_keyval(".".join("a" * 64) + "=1").members


def test_merging_goes_member_by_member():
    old, new = {"a": "1", "b": {"c": "1", "d": "1"}}, {"b": {"d": "2", "e": "2"}, "f": "2"}
    assert merge(old, new) == {"a": "1", "b": {"c": "1", "d": "2", "e": "2"}, "f": "2"}
    assert old == {"a": "1", "b": {"c": "1", "d": "1"}}
    with pytest.raises(ConfigError, match="with members and without"):
        merge({"b": {"c": {"d": "1"}}}, {"b": {"c": "1"}})


def test_pairs_with_dots_become_members():
    assert nest([("file.driver", "file"), ("x", "1"), ("file.filename", "f")]) == {
        "file": {"driver": "file", "filename": "f"},
        "x": "1",
    }


def test_flat_options():
    options = parse_options("socket,id=c,path=/a,,b,server=on,path=/c", "backend")
    assert options.id == "c"
    assert options.pairs == (
        ("backend", "socket"),
        ("path", "/a,b"),
        ("server", "on"),
        ("path", "/c"),
    )
    assert options.get("path") == "/c"
    assert options.all("path") == ["/a,b", "/c"]
    assert options.get("nope") is None
    assert options.switch("server")
    assert not options.switch("wait")


def test_bare_words_switch_on_and_off():
    known = {"server": Kind.SWITCH, "wait": Kind.SWITCH, "nodelay": Kind.SWITCH}
    options = parse_options("server,nowait,nodelay", None, known)
    assert options.pairs == (("server", "on"), ("wait", "off"), ("nodelay", "on"))
    assert options.shorthand == ("server", "nowait", "nodelay")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a=maybe", ParameterError),
        ("n=-1", ParameterError),
        ("n=x", ParameterError),
        ("s=1Q", ParameterError),
        ("b=1", ConfigError),
        ("id=1x", ConfigError),
        ("id=", ConfigError),
    ],
)
def test_unknown_names_and_wrong_types(text, error):
    with pytest.raises(error):
        parse_options(text, None, {"a": Kind.SWITCH, "n": Kind.NUMBER, "s": Kind.SIZE})


def test_later_options_lie_over_earlier_ones():
    both = Options((("a", "1"),), "x").updated(Options((("a", "2"), ("b", "3"))))
    assert both.values() == {"a": "2", "b": "3"}
    assert both.id == "x"


def test_options_that_have_to_be_there():
    with pytest.raises(ConfigError, match="a= is missing"):
        Options(()).required("a", "option")


def test_json_only_where_the_first_character_is_a_brace():
    assert is_json("{}")
    assert not is_json(" {}")
    assert not is_json("[]")


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("{}", {}),
        ('{"a": [1, true, null, "x"]}', {"a": [1, True, None, "x"]}),
        ("{'a': 'b'}", {"a": "b"}),
        ("""{'a': 'it\\'s "b" \\n'}""", {"a": 'it\'s "b" \n'}),
        ("""{"a": "it's {[ fine"}""", {"a": "it's {[ fine"}),
        ('{"a": "\\u0041"}', {"a": "A"}),
    ],
)
def test_json_in_both_kinds_of_quotes(text, members):
    assert parse_object(text) == members


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{} x",
        "[]",
        "3",
        '{"a"}',
        '{"a": NaN}',
        '{"a": 1, "a": 1}',
        '{"a": {"b": 1, "b": 2}}',
        "{'a': 'b}",
        '{"a": "b',
        "{'a': '\\",
        '{"a": 01}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a":' + "[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT + "}",
    ],
)
def test_malformed_json(text):
    with pytest.raises(ConfigError):
        parse_object(text)


def test_deepest_json():
    inside = DEPTH_LIMIT - 1
    assert parse_object('{"a":' + "[" * inside + "]" * inside + "}")


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("010", 8), ("0x10", 16), ("18446744073709551615", 2**64 - 1)]
)
def test_numbers_are_those_of_c(text, value):
    assert parse_number("n", text) == value


@pytest.mark.parametrize("text", ["", "-1", "1k", "x", "08", "18446744073709551616", "1.5"])
def test_what_is_no_number(text):
    with pytest.raises(ParameterError):
        parse_number("n", text)


def test_integers_may_be_negative():
    assert parse_integer("n", "-5") == -5
    assert parse_integer("n", "-0") == 0
    assert parse_integer("n", "7") == 7


def test_switches_in_small_letters():
    assert [parse_switch("s", t) for t in ("on", "yes", "true", "y")] == [True] * 4
    assert [parse_switch("s", t) for t in ("off", "no", "false", "n")] == [False] * 4
    for text in ("ON", "1", "", "maybe"):
        with pytest.raises(ParameterError):
            parse_switch("s", text)


def test_identifiers():
    assert check_identifier("x", "a-B_3.c") == "a-B_3.c"
    for text in ("", "1a", "-a", "a b", "a/b", "é", "a" + "\n"):
        with pytest.raises(ConfigError, match="cannot be an id"):
            check_identifier("x", text)


def test_long_text_is_cut_in_messages():
    assert shorten("a" * 200) == "a" * 200
    assert shorten("a" * 201) == "a" * 200 + "... (201 characters)"
