"""``show``: the state of devices, decoded into named values with types and places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

from ..errors import ParameterError, StreamError
from ..stream.items import Configuration, DeviceSection, Header
from ..stream.names import encode_text
from ..vmstate.codec import decode, encode
from ..vmstate.common import CONFIGURATION, GLOBALSTATE, TIMER, configuration_values
from ..vmstate.describe import describe_opaque, describe_section
from ..vmstate.described import DecodedField, DecodedStruct, DecodedValue, decode_body
from ..vmstate.described import walk as walk_fields
from ..vmstate.entries import DeviceEntry, parse_device
from .files import walk
from .report import Fault

if TYPE_CHECKING:
    from .files import Progress, StreamFiles

ShownValue: TypeAlias = "bool | int | str | bytes | tuple[ShownValue, ...] | None"
"""A number, text, raw bytes, a NULL pointer, or an array of these."""

_COMMON = {description.name: description for description in (TIMER, GLOBALSTATE)}
_CONFIGURATION = "configuration"
_INSTANCE = "#"
_NAMES_TOLD = 12


@dataclass(frozen=True, slots=True)
class ShownField:
    """One field of a device's state.

    Attributes:
        path: where it is in the state: names joined by ``.``, places in arrays as ``[i]``, fields
            of a subsection behind its name and ``:``.
        type: as the description calls it.
        offset: of its first byte in the file.
        size_bytes: bytes of all its elements.
        value: the value, a tuple for an array.
    """

    path: str
    type: str
    offset: int
    size_bytes: int
    value: ShownValue


@dataclass(frozen=True, slots=True)
class ShownSection:
    """The state of one device, or the fields of it that were asked for.

    Attributes:
        name: section name.
        instance_id: tells sections of one name apart.
        version: version of the state description.
        offset: of its first byte in the file.
        size_bytes: of its body.
        described: fields are known; else the state is one field of raw bytes.
        fields: in the order of the bytes.
    """

    name: str
    instance_id: int
    version: int
    offset: int
    size_bytes: int
    described: bool
    fields: tuple[ShownField, ...]


@dataclass(frozen=True, slots=True)
class ShownState:
    """What ``show`` found.

    Attributes:
        path: the file.
        sections: those that were asked for, in the order of the stream.
        fault: where and why reading had to stop, or None.
    """

    path: str
    sections: tuple[ShownSection, ...]
    fault: Fault | None


def show_state(
    files: StreamFiles, wanted: str | None = None, progress: Progress | None = None
) -> ShownState:
    """Return the decoded state of devices.

    Args:
        files: the stream.
        wanted: ``SECTION`` or ``SECTION/FIELD``, None for everything.  A section is named as in
            the stream, as a pattern (``*serial*``), or with its instance (``i8259#1``);
            ``configuration`` is the section behind the header.  A field is a path as of
            `ShownField`, or the beginning of one up to a ``.``, ``[`` or ``:``.
        progress: is told how far the file was read.

    Raises:
        StreamError: it does not even begin like a stream, or breaks off before what was asked for.
        ParameterError: nothing in the stream is called so.
        ChannelError: the file cannot be read.
    """
    found: list[ShownSection] = []
    names: list[str] = []
    fault: Fault | None = None
    began = False
    with files.open() as stream:
        try:
            for item in walk(stream, progress):
                began = began or isinstance(item, Header)
                if isinstance(item, DeviceSection | Configuration):
                    decoded = _decoded(item)
                    names.append(decoded.name)
                    found += _selected(decoded, wanted)
        except StreamError as error:
            if not began or (wanted is not None and not found):
                raise  # what was asked for may lie behind
            fault = Fault.of(error)
    if not found and wanted is not None:
        raise ParameterError("section", wanted, _known(wanted, names))
    return ShownState(str(files.path), tuple(found), fault)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A section with its state, decoded.

    Attributes:
        name, instance_id, version, offset: as of `ShownSection`.
        described: whether fields are known.
        body: the state.
    """

    name: str
    instance_id: int
    version: int
    offset: int
    described: bool
    body: DecodedStruct


def decode_section(item: DeviceSection) -> Decoded:
    """Return the state of a device by what is known of it, else as one field of raw bytes.

    Known are the sections that every machine has, and those that the stream describes; a
    description that does not fit counts as none.
    """
    for entry in _entries(item):
        try:
            body, end = decode_body(entry.body, item.body, section=item.name, base=item.body_offset)
        except StreamError:
            continue
        if end == len(item.body):
            return Decoded(item.name, item.instance_id, item.version, item.offset, True, body)
    raw = parse_device(describe_opaque(item.name, item.instance_id, len(item.body)))
    body, _ = decode_body(raw.body, item.body, section=item.name, base=item.body_offset)
    return Decoded(item.name, item.instance_id, item.version, item.offset, False, body)


def _entries(item: DeviceSection) -> Iterator[DeviceEntry]:
    """Yield descriptions that may fit, best first."""
    if item.entry is not None:
        try:
            entry = parse_device(item.entry)
        except StreamError:
            pass
        else:
            if entry.body.vmsd_name:  # else it is one buffer, no better than none
                yield entry
    common = _COMMON.get(item.name)
    if common is not None and item.version == common.version_id:
        try:
            values, _ = decode(common, item.body, 0, item.version, item.name)
        except StreamError:
            return
        yield parse_device(describe_section(item.name, item.instance_id, common, values))


def decode_configuration(item: Configuration) -> Decoded:
    """Return the section behind the header as decoded state."""
    name = encode_text(item.machine)
    values = configuration_values("", item.capabilities or (), item.uuid)
    values |= {"len": len(name), "name": name}
    if item.page_bits is not None:
        values["target_page_bits"] = item.page_bits
    raw = encode(CONFIGURATION, values)
    entry = parse_device(describe_section(_CONFIGURATION, 0, CONFIGURATION, values))
    body, _ = decode_body(entry.body, raw, section=_CONFIGURATION, base=item.offset + 1)
    return Decoded(_CONFIGURATION, 0, 1, item.offset, True, body)


def shown_fields(body: DecodedStruct) -> tuple[ShownField, ...]:
    """Return every field of ``body`` that holds no structure, in the order of the bytes."""
    return tuple(
        ShownField(path, field.entry.type, field.offset, field.size, _value(field))
        for path, field in walk_fields(body)
    )


def _value(field: DecodedField) -> ShownValue:
    return _plain(field.value)


def _plain(value: DecodedValue) -> ShownValue:
    if isinstance(value, tuple):
        return tuple(_plain(element) for element in value)
    assert not isinstance(value, DecodedStruct)  # a walk goes into structures
    return value


def _decoded(item: DeviceSection | Configuration) -> Decoded:
    if isinstance(item, DeviceSection):
        return decode_section(item)
    return decode_configuration(item)


def _selected(section: Decoded, wanted: str | None) -> list[ShownSection]:
    """Return ``section`` with the fields that are wanted, or nothing."""
    for field_path in _field_paths(section, wanted):
        fields = shown_fields(section.body)
        if field_path:
            fields = tuple(field for field in fields if _is_at(field.path, field_path))
        if fields or not field_path:
            shown = ShownSection(
                section.name,
                section.instance_id,
                section.version,
                section.offset,
                section.body.size,
                section.described,
                fields,
            )
            return [shown]
    return []


def _field_paths(section: Decoded, wanted: str | None) -> Iterator[str]:
    """Yield what of ``wanted`` may name a field, for each way in which the rest is this section.

    Names of sections have slashes in them, names of fields may.
    """
    if wanted is None:
        yield ""
        return
    parts = wanted.split("/")
    for count in range(len(parts), 0, -1):
        name, mark, instance = "/".join(parts[:count]).rpartition(_INSTANCE)
        if not mark:
            name, instance = instance, ""
        fits = fnmatchcase(section.name, name) and instance in ("", str(section.instance_id))
        if fits or section.name == "/".join(parts[:count]):
            yield "/".join(parts[count:])


def _is_at(path: str, wanted: str) -> bool:
    """Return whether the field at ``path`` is, or lies in, what ``wanted`` names."""
    if path == wanted:
        return True
    return path.startswith(wanted) and (wanted[-1] in ".[:" or path[len(wanted)] in ".[:")


def _known(wanted: str, names: list[str]) -> str:
    """Return what could have been asked for."""
    near = [name for name in names if wanted.partition("/")[0].lower() in name.lower()]
    some = list(dict.fromkeys(near or names))
    more = f" and {len(some) - _NAMES_TOLD} more" if len(some) > _NAMES_TOLD else ""
    return f"a section with a description, one of {', '.join(some[:_NAMES_TOLD])}{more}"
