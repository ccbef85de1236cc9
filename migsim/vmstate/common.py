"""The descriptions that every machine has: ``timer``, ``globalstate``, ``configuration``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migsim.errors import ConfigError, IncompatibleError

from .fields import Field, FieldType, Subsection, Value, Values, VMStateDescription

RUNSTATE_BYTES = 32
"""Room for the run state's name in ``globalstate``, its terminating zero included."""
_GLOBALSTATE_TAIL_BYTES = 66
_UUID_BYTES = 16

TIMER = VMStateDescription(
    name="timer",
    version_id=2,
    minimum_version_id=1,
    fields=(
        Field("cpu_ticks_offset", FieldType.INT64),
        Field("unused", FieldType.UNUSED, size=8),
        Field("cpu_clock_offset", FieldType.INT64, version=2),
    ),
)
"""Guest clocks; section ``timer``, 24 bytes, both offsets signed, the clock's in ns.

Source: spec stream.md section 4.5, QEMU 10.0."""

GLOBALSTATE = VMStateDescription(
    name="globalstate",
    version_id=1,
    minimum_version_id=1,
    fields=(
        Field("size", FieldType.UINT32),
        Field("runstate", FieldType.BUFFER, size=RUNSTATE_BYTES),
        Field("has_vm_was_suspended", FieldType.UINT8),
        Field("vm_was_suspended", FieldType.UINT8),
        Field("unused", FieldType.BUFFER, size=_GLOBALSTATE_TAIL_BYTES),
    ),
)
"""The run state before migration stopped the guest; section ``globalstate``, 104 bytes.

Source: spec stream.md section 4.4, QEMU 10.0."""

TARGET_PAGE_BITS = VMStateDescription(
    name="configuration/target-page-bits",
    version_id=1,
    minimum_version_id=1,
    fields=(Field("target_page_bits", FieldType.UINT32),),
)
"""Page size of a CPU with variable pages; never written on x86, accepted there if it is 12."""

CAPABILITIES = VMStateDescription(
    name="configuration/capabilities",
    version_id=1,
    minimum_version_id=1,
    fields=(
        Field("caps_count", FieldType.UINT32),
        Field("capabilities", FieldType.CAPABILITY, count_field="caps_count"),
    ),
)
"""Names of the checked capabilities that are on (spec stream.md section 3.2)."""

UUID = VMStateDescription(
    name="configuration/uuid",
    version_id=1,
    minimum_version_id=1,
    fields=(Field("uuid.data", FieldType.UINT8, count=_UUID_BYTES),),
)
"""Identity of the machine, with capability ``validate-uuid`` (spec stream.md section 3.2)."""


CONFIGURATION = VMStateDescription(
    name="configuration",
    version_id=1,
    fields=(
        Field("len", FieldType.UINT32),
        Field("name", FieldType.BUFFER, size_field="len"),
    ),
    subsections=(
        Subsection(TARGET_PAGE_BITS, lambda values: "target_page_bits" in values),
        Subsection(CAPABILITIES, lambda values: bool(values.get("caps_count"))),
        Subsection(UUID, lambda values: "uuid.data" in values),
    ),
)
"""Machine type and what else must agree; follows the file header (spec stream.md section 3.2)."""


def timer_values(clock_ns: int = 0, ticks: int = 0) -> Values:
    """Return values of ``TIMER`` for a guest clock that shows ``clock_ns`` nanoseconds."""
    return {"cpu_ticks_offset": ticks, "cpu_clock_offset": clock_ns}


def globalstate_values(runstate: str, vm_was_suspended: bool = False) -> Values:
    """Return values of ``GLOBALSTATE`` for the run state named ``runstate`` (QMP spelling).

    Raises:
        ConfigError: the name does not fit into 31 bytes of ASCII.
    """
    name = runstate.encode("ascii", "replace")
    if len(name) >= RUNSTATE_BYTES or name.decode() != runstate:
        raise ConfigError("globalstate", f"run state {runstate!r} has no place in the section")
    return {
        "size": len(name) + 1,
        "runstate": name.ljust(RUNSTATE_BYTES, b"\0"),
        "has_vm_was_suspended": 1,
        "vm_was_suspended": int(vm_was_suspended),
        "unused": bytes(_GLOBALSTATE_TAIL_BYTES),
    }


def read_globalstate(values: Mapping[str, Value], offset: int = 0) -> tuple[str, bool]:
    """Return the run state's name and whether the guest was suspended, from loaded values.

    ``offset`` is that of the section's body, for the error.  The stored ``size`` is ignored, as
    QEMU 10.0 does (spec stream.md section 4.4).

    Raises:
        IncompatibleError: the name has no terminating zero or is no ASCII text.
    """
    raw = values["runstate"]
    name, zero, _ = raw.partition(b"\0") if isinstance(raw, bytes) else (b"", b"", b"")
    if not zero or not name.isascii():
        expected = f"a run state name of at most {RUNSTATE_BYTES - 1} ASCII bytes, then a zero"
        raise IncompatibleError(offset + 4, "globalstate", expected, repr(raw))
    return name.decode("ascii"), bool(values.get("vm_was_suspended"))


def configuration_values(
    machine: str, capabilities: Sequence[str] = (), uuid: bytes | None = None
) -> Values:
    """Return values of ``CONFIGURATION``: concrete machine type, checked capabilities, identity.

    Raises:
        ConfigError: ``uuid`` is not 16 bytes.
    """
    raw = machine.encode(errors="surrogateescape")  # a name that was read may be no UTF-8
    values: Values = {"len": len(raw), "name": raw}
    if capabilities:
        values |= {"caps_count": len(capabilities), "capabilities": list(capabilities)}
    if uuid is not None:
        if len(uuid) != _UUID_BYTES:
            raise ConfigError("configuration", f"an identity has {_UUID_BYTES} bytes")
        values["uuid.data"] = list(uuid)
    return values
