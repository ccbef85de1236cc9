"""``-object``: memory backends and other objects, checked by the schema of ``object-add``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..errors import ConfigError, ParameterError
from ..units import PAGE_SIZE
from .draft import Draft, Given
from .jsonform import is_json, parse_object
from .model import Info, ObjectOption
from .options import Options, parse_options
from .schema import Value, cases, check_object
from .text import check_identifier, parse_number

KIND: Final = "object"
# Types that the schema describes and QEMU for x86 does not create (seen on 10.0.2), or not without
# hardware that migsim does not have.
_ABSENT: Final = (
    "authz-listfile",
    "authz-pam",
    "cryptodev-backend-lkcf",
    "memory-backend-epc",
    "pef-guest",
    "s390-pv-guest",
    "x-vfio-user-server",
)
_LISTS: Final = ("host-nodes", "cpus", "node-affinity", "cpu-affinity")
RANGE_LIMIT: Final = 1 << 16
"""Largest number in a range of numbers; QEMU takes 65536 elements at most."""


def creatable_types() -> tuple[str, ...]:
    """Return the types of objects that can be created, sorted."""
    return tuple(sorted(set(cases(KIND)) - set(_ABSENT)))


def take_object(draft: Draft, text: str) -> None:
    """Keep one ``-object``; it is checked at once."""
    if is_json(text):
        given = Given("object", text, members=parse_object(text, "-object"))
        _object(given)
        draft.keep(given)
        return
    options = parse_options(text, "qom-type")
    if options.help or options.get("qom-type") in ("help", "?"):
        draft.ask(Info("object", options.get("qom-type")))
        return
    given = Given("object", text, options)
    _object(given)
    draft.keep(given)


def resolve_objects(draft: Draft) -> tuple[ObjectOption, ...]:
    """Return all objects in order.

    Raises:
        ConfigError: a type that does not exist, an id twice or malformed, or properties that do
            not go together.
        ParameterError: a property is missing, unknown, or not of its type.
    """
    objects: dict[str, ObjectOption] = {}
    for given in draft.all("object"):
        made = _object(given)
        if made.id in objects:
            raise ConfigError(f"object {made.id}", "another object has that id")
        if made.properties.get("hugetlb") is True:
            draft.refuse(f"-object {made.qom_type},hugetlb=on", "huge pages are not modelled")
        objects[made.id] = made
    return tuple(objects.values())


def _object(given: Given) -> ObjectOption:
    if given.options is None:
        members = check_object(KIND, given.members)
    else:
        members = check_object(KIND, flat_tree(given.options, _LISTS), textual=True)
    qom_type, identifier = members.pop("qom-type"), members.pop("id")
    assert isinstance(qom_type, str)
    assert isinstance(identifier, str)
    check_identifier(f"object {qom_type}", identifier)
    if qom_type in _ABSENT:
        raise ConfigError(f"object {identifier}", f"type {qom_type} cannot be created here")
    made = ObjectOption(qom_type, identifier, members)
    if made.is_memory:
        _check_memory(made)
    if qom_type == "secret" and not members.keys() & {"data", "file"}:
        raise ConfigError(f"object {identifier}", "a secret needs data= or file=")
    return made


def flat_tree(options: Options, lists: Iterable[str] = ()) -> dict[str, object]:
    """Return flat options as members for the schema; names in ``lists`` collect numbers.

    Raises:
        ParameterError: a member of ``lists`` is not a number or a range such as ``0-3``.
    """
    tree: dict[str, object] = dict(options.values())
    if options.id is not None:
        tree["id"] = options.id
    for name in lists:
        if name in tree:
            tree[name] = _numbers(name, options.all(name))
    return tree


def _numbers(name: str, texts: Iterable[str]) -> list[str]:
    numbers: list[str] = []
    for text in texts:
        numbers += _range(name, text)
        if len(numbers) > RANGE_LIMIT:
            raise ParameterError(name, text, f"at most {RANGE_LIMIT} numbers")
    return numbers


def _range(name: str, text: str) -> list[str]:
    first, dash, last = text.partition("-")
    low = parse_number(name, first)
    high = parse_number(name, last) if dash else low
    if not low <= high < RANGE_LIMIT:
        raise ParameterError(name, text, f"a number or a range of numbers below {RANGE_LIMIT}")
    return [str(number) for number in range(low, high + 1)]


def _check_memory(memory: ObjectOption) -> None:
    """Check the rules between the properties of a memory backend (seen on QEMU 10.0.2)."""
    what, p = f"{memory.qom_type} {memory.id}", memory.properties
    size = p.get("size")
    if not isinstance(size, int) or not 0 < size < 1 << 63:
        raise ParameterError("size", size, "a size of at least one byte")
    for name in ("align", "offset"):
        value = p.get(name, 0)
        if isinstance(value, int) and value % PAGE_SIZE:
            raise ParameterError(name, value, f"a multiple of {PAGE_SIZE}")
    align = p.get("align", 0)
    if isinstance(align, int) and align & (align - 1):
        raise ParameterError("align", align, "a power of two")
    if p.get("rom") == "on" and p.get("readonly") is not True:
        raise ConfigError(what, "rom=on needs readonly=on")
    if p.get("prealloc-threads") == 0:
        raise ParameterError("prealloc-threads", 0, "at least 1")
    if memory.qom_type == "memory-backend-shm" and p.get("share") is False:
        raise ConfigError(what, "this type is always shared")
    _check_policy(what, p.get("policy", "default"), p.get("host-nodes"))


def _check_policy(what: str, policy: Value, nodes: Value) -> None:
    if (policy == "default") is bool(nodes):
        rule = "with policy default there are no host-nodes, with every other there are"
        raise ConfigError(what, rule)
