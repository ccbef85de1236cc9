"""JSON as QMP takes it: values one after the other in a stream of bytes, cut up anyhow.

Tokens are found first and counted; a value is parsed when its outermost bracket closes.  Beyond
standard JSON, strings may stand in single quotes; a member may not occur twice.  What is no JSON
gives one `JsonProblem` and reading goes on behind it (spec monitor.md section 1, QEMU 10.0).
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

MAX_TOKEN_BYTES = 64 << 20
"""Longest single token, and longest whole message."""
MAX_TOKENS = 2 << 20
"""Most tokens in one message."""
MAX_DEPTH = 1024
"""Deepest nesting of brackets."""
_FAST_BYTES = 64 << 10
_SHOWN_BYTES = 20
_DIGITS = b"0123456789"

_TOKEN = re.compile(
    rb"""(?P<space>[ \t\r\n]+)
    |(?P<punct>[\[\]{}:,])
    |(?P<string>"(?:[^"\\\x00-\x1f\xfe\xff]|\\[\x20-\xfd])*+"
               |'(?:[^'\\\x00-\x1f\xfe\xff]|\\[\x20-\xfd])*+')
    |(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+)
    |(?P<word>[a-z]++)""",
    re.VERBOSE,
)
_UNFINISHED = re.compile(
    rb"""(?:"(?:[^"\\\x00-\x1f\xfe\xff]|\\[\x20-\xfd])*+\\?
           |'(?:[^'\\\x00-\x1f\xfe\xff]|\\[\x20-\xfd])*+\\?
           |-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][-+]?[0-9]*)?
           |[a-z]*)\Z""",
    re.VERBOSE,
)
_BEGUN = re.compile(_UNFINISHED.pattern.removesuffix(rb"\Z"), re.VERBOSE)
"""As much of a token as there is, whether it could be one or not."""
_RECOVERY = re.compile(rb"[\x00-\x08\x0a-\x1f\[\]{}:,\xfe\xff]")
"""After a byte that fits no token everything is dropped up to one of these."""
_QUOTES = (0x22, 0x27)
_NESTING = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {
    "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "\\": "\\", "/": "/", '"': '"', "'": "'",
}  # fmt: skip
_WORDS = {"true": True, "false": False, "null": None}
_INT_MIN, _INT_END = -(1 << 63), 1 << 64
_INT_DIGITS = 24
"""With more of them, sign included, an integer is beyond 64 bits."""


@dataclass(frozen=True, slots=True)
class JsonProblem:
    """Input that is no JSON.

    Attributes:
        text: what is wrong with it.
    """

    text: str


class _Bad(Exception):  # noqa: N818
    """The message is no JSON."""


class JsonStream:
    """Turns chunks of bytes into values.

    Memory is bounded: what exceeds the limits is dropped, with one problem reported.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._tokens: list[tuple[str, bytes]] = []
        self._depth = 0
        self._size_bytes = 0
        self._quote: int | None = None
        self._dropping = False

    @property
    def empty(self) -> bool:
        """Whether nothing is held back of a message that has not ended."""
        return not self._rest and not self._tokens

    def feed(self, data: bytes) -> Iterator[object]:
        """Take ``data`` and yield every value that ends in it, or a `JsonProblem`."""
        if self.empty and not self._dropping and len(data) <= _FAST_BYTES:
            done, fast = _fast(data)
            if done:
                yield fast
                return
        self._rest += data
        yield from self._scan()

    def finish(self) -> Iterator[object]:
        """Take the end of the input: yield what is complete only because nothing follows."""
        self._rest += b"\n"
        yield from self._scan()

    def _scan(self) -> Iterator[object]:
        while self._rest:
            if self._dropping and not self._drop():
                return
            if self._quote is not None and not self._closes():
                if len(self._rest) <= MAX_TOKEN_BYTES:
                    return
                yield self._reset("a string is too long", drop=True)
                continue
            at = 0
            while at < len(self._rest) and not self._dropping:
                before = at
                at, result = self._next(at)
                if result is not _NOTHING:
                    yield result
                elif at == before:
                    break
            del self._rest[:at]
            if self._dropping:
                continue
            if self._rest and self._rest[0] in _QUOTES:
                self._quote = self._rest[0]
            most = MAX_TOKEN_BYTES if self._quote is not None else _BARE_BYTES
            if len(self._rest) <= most:
                return
            yield self._reset("a token is too long", drop=True)

    def _next(self, at: int) -> tuple[int, object]:  # noqa: PLR0911 - one for each kind of token
        """Take the token at ``at``; return where it ends and what ends with it.

        The place does not move when the token may go on in the next chunk.
        """
        match = _TOKEN.match(self._rest, at)
        if match is None:
            if _UNFINISHED.match(self._rest, at):
                return at, _NOTHING
            return self._stray(at)
        kind, end = match.lastgroup or "", match.end()
        if kind == "space":
            return end, _NOTHING
        if kind in ("number", "word") and (
            end == len(self._rest) or (kind == "number" and _open(self._rest, at))
        ):
            return at, _NOTHING
        if kind in ("number", "word") and end - at > _BARE_BYTES:
            return end, self._reset("a token is too long", drop=True)
        if kind == "number" and self._goes_wrong(at, end):
            return self._stray(at)
        return end, self._take(kind, match[0])

    def _goes_wrong(self, at: int, end: int) -> bool:
        """Whether what follows a number makes it none: ``01``, ``1.x``, ``1e``."""
        if self._rest[at:end].lstrip(b"-") == b"0" and self._rest[end] in _DIGITS:
            return True
        begun = _BEGUN.match(self._rest, at)
        return begun is not None and begun.end() > end

    def _stray(self, at: int) -> tuple[int, JsonProblem]:
        """Report a token that goes wrong; the byte at which it does is gone with it."""
        begun = _BEGUN.match(self._rest, at)
        end = (begun.end() if begun else at) + 1
        shown = bytes(self._rest[at : min(end, at + _SHOWN_BYTES)])
        return end, self._reset(f"{shown!r} is no JSON", drop=True)

    def _closes(self) -> bool:
        """Whether the open string may have ended: looked for in what came last only."""
        assert self._quote is not None
        start = max(1, self._size_seen)
        found = self._rest.find(self._quote, start) >= 0 or _has_control(self._rest, start)
        self._size_seen = len(self._rest)
        if found:
            self._quote = None
            self._size_seen = 0
        return found

    _size_seen = 0

    def _drop(self) -> bool:
        """Drop input up to the next place to begin at; whether there was one."""
        match = _RECOVERY.search(self._rest)
        if match is None:
            self._rest.clear()
            return False
        del self._rest[: match.start()]
        self._dropping = False
        return True

    def _take(self, kind: str, token: bytes) -> object:
        """Take one token; return a value or problem that ends with it, or `_NOTHING`."""
        self._tokens.append((kind, token))
        self._size_bytes += len(token)
        if kind == "punct":
            self._depth += _NESTING.get(token, 0)
        if self._depth > MAX_DEPTH:
            return self._reset("nested too deeply", drop=False)
        if len(self._tokens) > MAX_TOKENS or self._size_bytes > MAX_TOKEN_BYTES:
            return self._reset("the message is too long", drop=False)
        if self._depth > 0:
            return _NOTHING
        tokens = self._tokens
        self._reset("", drop=False)
        try:
            return _parse(tokens)
        except _Bad as error:
            return JsonProblem(str(error))

    def _reset(self, text: str, *, drop: bool) -> JsonProblem:
        self._tokens, self._depth, self._size_bytes = [], 0, 0
        self._quote, self._size_seen = None, 0
        self._dropping = drop
        return JsonProblem(f"JSON: {text}")


_NOTHING = object()


def _open(view: bytearray, at: int) -> bool:
    """Whether the number that begins here may go on in the next chunk."""
    return len(view) - at <= _BARE_BYTES and _UNFINISHED.match(view, at) is not None


_BARE_BYTES = 1 << 16
"""Longest number or word: what is longer is neither in range nor a keyword, and it is looked at
anew with every chunk."""


def _has_control(data: bytearray, start: int) -> bool:
    return _CONTROL.search(data, start) is not None


_CONTROL = re.compile(rb"[\x00-\x1f\xfe\xff]")


def _fast(data: bytes) -> tuple[bool, object]:
    """Return (True, value) if ``data`` is exactly one ordinary object, which is the usual case."""
    if not data.startswith(b"{") or b"\\u" in data:
        return False, None
    try:
        return True, _DECODER.decode(data.decode("ascii"))
    except (ValueError, _Bad, RecursionError):
        return False, None


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Bad("a member occurs twice")
    return members


def _integer(text: str) -> int | float:
    # Integers that fit neither int64 nor uint64 become floating point, as in QEMU.
    if len(text) > _INT_DIGITS:
        return _real(text)
    number = int(text)
    return number if _INT_MIN <= number < _INT_END else float(number)


def _real(text: str) -> float:
    # QEMU takes these as infinite, and an id comes back as ``inf``, which is no JSON.
    number = float(text)
    if math.isinf(number):
        raise _Bad("JSON: a number is too large")
    return number


def _refuse(name: str) -> NoReturn:
    raise _Bad(f"{name} is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_int=_integer,
    parse_float=_real,
    parse_constant=_refuse,
    strict=True,
)


def _parse(tokens: list[tuple[str, bytes]]) -> object:
    """Return the value of a complete list of tokens."""
    parser = _Parser()
    for kind, token in tokens:
        parser.take(kind, token)
    if parser.wants is not _Want.END:
        raise _Bad("JSON: a value was expected")
    return parser.value


class _Want(enum.Enum):
    """What may come next."""

    VALUE = enum.auto()
    FIRST = enum.auto()
    """The first element of an array, or its end."""
    NAME = enum.auto()
    FIRST_NAME = enum.auto()
    """The first name in an object, or its end."""
    COLON = enum.auto()
    MORE = enum.auto()
    """A comma or the end of the innermost container."""
    END = enum.auto()


class _Parser:
    """Takes tokens; containers that are open stand on a stack, so that depth costs nothing."""

    def __init__(self) -> None:
        self.value: object = None
        self.wants = _Want.VALUE
        self._open: list[tuple[dict[str, object] | list[object], str]] = []
        self._name = ""

    def take(self, kind: str, token: bytes) -> None:
        """Take one token."""
        match self.wants:
            case _Want.FIRST if token == b"]":
                self._close()
            case _Want.FIRST_NAME if token == b"}":
                self._close()
            case _Want.VALUE | _Want.FIRST:
                self._begin(kind, token)
            case _Want.NAME | _Want.FIRST_NAME:
                self._take_name(kind, token)
            case _Want.COLON if token == b":":
                self.wants = _Want.VALUE
            case _Want.MORE:
                self._go_on(token)
            case _Want.COLON:
                raise _Bad("JSON: a colon was expected behind the name of a member")
            case _:
                raise _Bad("JSON: one value and nothing else was expected")

    def _begin(self, kind: str, token: bytes) -> None:
        if kind != "punct":
            self._put(_SCALARS[kind](token))
        elif token == b"{":
            self._open.append(({}, self._name))
            self.wants = _Want.FIRST_NAME
        elif token == b"[":
            self._open.append(([], self._name))
            self.wants = _Want.FIRST
        else:
            raise _Bad("JSON: a value was expected")

    def _take_name(self, kind: str, token: bytes) -> None:
        if kind != "string":
            raise _Bad("JSON: the name of a member is a string")
        self._name = _string(token)
        if self._name in self._open[-1][0]:
            raise _Bad(f"JSON: member {self._name!r} occurs twice")
        self.wants = _Want.COLON

    def _go_on(self, token: bytes) -> None:
        is_object = isinstance(self._open[-1][0], dict)
        if token == b",":
            self.wants = _Want.NAME if is_object else _Want.VALUE
        elif token == (b"}" if is_object else b"]"):
            self._close()
        else:
            raise _Bad("JSON: a comma or a closing bracket was expected")

    def _close(self) -> None:
        container, self._name = self._open.pop()
        self._put(container)

    def _put(self, value: object) -> None:
        if not self._open:
            self.value = value
            self.wants = _Want.END
            return
        container = self._open[-1][0]
        if isinstance(container, dict):
            container[self._name] = value
        else:
            container.append(value)
        self.wants = _Want.MORE


def _string(token: bytes) -> str:
    try:
        text = token[1:-1].decode()
    except UnicodeDecodeError as error:
        raise _Bad("JSON: a string is not UTF-8") from error
    if "\\" not in text:
        return text
    decoded = _ESCAPE.sub(_unescape, text)
    if _SURROGATE.search(decoded):
        decoded = decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "\ufffd" in decoded:
            raise _Bad("JSON: half of a surrogate pair in a string")
    return decoded


_SURROGATE = re.compile("[\ud800-\udfff]")


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        if number == 0:
            raise _Bad("JSON: a null character in a string")
        return chr(number)
    if code not in _ESCAPES:
        raise _Bad(f"JSON: no escape is written \\{code}")
    return _ESCAPES[code]


def _number(token: bytes) -> int | float:
    text = token.decode()
    return _integer(text) if text.lstrip("-").isdigit() else _real(text)


def _word(token: bytes) -> object:
    text = token.decode()
    if text not in _WORDS:
        raise _Bad(f"JSON: {text!r} is no keyword")
    return _WORDS[text]


_SCALARS: dict[str, Callable[[bytes], object]] = {
    "string": _string,
    "number": _number,
    "word": _word,
}
