"""The exception tree: one root, one branch per thing a caller can do about it.

::

    MigsimError
    +-- ParameterError      a parameter or capability value was refused; nothing was applied
    |   +-- CapabilityError     a capability combination was refused; nothing was applied
    +-- BlockedError        reasons forbid this migration in its mode; remove them or change mode
    |   +-- BusyError           the registry cannot take a blocker while a migration runs
    |   +-- OnlyMigratableError the machine was started with only-migratable
    +-- StateError          the command does not fit the current state; wait or change it
    |   +-- TransitionError     a state machine was asked for an illegal move (a bug in the caller)
    |   +-- AbortError          strict profile: QEMU itself would abort or crash here
    +-- StreamError         the bytes are malformed, truncated or of another machine
    |   +-- IncompatibleError   the stream is well formed but does not fit this machine
    +-- ChannelError        bytes could not be moved: open, read, write, connect
    +-- DeviceError         a device refused to save or to load its state
    +-- ConfigError         a machine, backend, guest or host description makes no sense
    +-- MissingExtraError   an optional dependency is not installed

Every error carries fields first and a text second; the text says what to do next.  The QMP class
and description are produced from the error at the edge (``migsim.monitor``), not stored here.
"""

from __future__ import annotations

from collections.abc import Sequence


class MigsimError(Exception):
    """Root of every error that migsim raises on purpose."""


class ParameterError(MigsimError):
    """A value was refused; nothing was applied.

    Attributes:
        name: parameter, capability or argument name as QMP spells it.
        value: the refused value.
        expected: what would have been accepted, in words.
    """

    def __init__(self, name: str, value: object, expected: str) -> None:
        self.name = name
        self.value = value
        self.expected = expected
        super().__init__(f"{name}: {value!r} was refused, expected {expected}")


class CapabilityError(ParameterError):
    """A capability set was refused; nothing was applied.

    Attributes:
        name: the capability that cannot be set.
        conflict: the other capability, parameter or host feature of the broken rule.
        expected: what would lift the refusal.
    """

    def __init__(self, name: str, conflict: str, expected: str) -> None:
        super().__init__(name, True, expected)
        self.conflict = conflict
        self.args = (f"{name} conflicts with {conflict}: {expected}",)


class BlockedError(MigsimError):
    """Migration blockers forbid the operation.

    Attributes:
        reasons: the reasons, most relevant first; at least one.
        mode: the migration mode that is blocked, or None when every mode is.
    """

    def __init__(self, reasons: Sequence[str], mode: str | None = None) -> None:
        self.reasons = tuple(reasons)
        self.mode = mode
        where = f" in mode {mode}" if mode else ""
        super().__init__(
            f"migration is blocked{where}: {'; '.join(self.reasons)}"
            " (remove what blocks it, or choose a mode that it does not block)"
        )


class BusyError(BlockedError):
    """A blocker cannot be added while a migration or snapshot runs; try again when it ended."""


class OnlyMigratableError(BlockedError):
    """A blocker or device was refused because the machine runs with ``only-migratable``."""


class StateError(MigsimError):
    """The command does not fit the current state.

    Attributes:
        command: what was asked for.
        state: the state that forbids it.
        wanted: the states that would allow it.
    """

    def __init__(
        self, command: str, state: str, wanted: Sequence[str] = (), hint: str = ""
    ) -> None:
        self.command = command
        self.state = state
        self.wanted = tuple(wanted)
        text = f"{command} is not possible in state {state}"
        if self.wanted:
            text += f"; it needs {' or '.join(self.wanted)}"
        if hint:
            text += f" ({hint})"
        super().__init__(text)


class TransitionError(StateError):
    """A state machine was asked for a transition that its table does not hold."""


class AbortError(StateError):
    """Strict profile only: QEMU itself aborts (SIGABRT) or crashes (SIGSEGV) at this point.

    Attributes:
        signal: the signal that ends the QEMU process.
    """

    def __init__(self, command: str, state: str, hint: str, signal: str = "SIGABRT") -> None:
        super().__init__(command, state, (), hint)
        self.signal = signal


class StreamError(MigsimError):
    """The bytes of a migration stream are malformed or end too early.

    Attributes:
        offset: byte offset in the source at which the problem was found.
        section: the section that was being read (``header``, ``configuration``, ``ram``, a device
            section name, ``vmdesc``, ...).
        expected: what should have been there.
        found: what was there instead, in words, or None.
    """

    def __init__(self, offset: int, section: str, expected: str, found: str | None = None) -> None:
        self.offset = offset
        self.section = section
        self.expected = expected
        self.found = found
        text = f"offset {offset:#x} in {section}: expected {expected}"
        if found is not None:
            text += f", found {found}"
        super().__init__(text)


class IncompatibleError(StreamError):
    """The stream is well formed but belongs to another machine, RAM or set of capabilities."""


class ChannelError(MigsimError):
    """Bytes could not be moved.

    Attributes:
        uri: the address or description of the channel.
        operation: ``open``, ``read``, ``write``, ``seek``, ``connect``.
        errno: the operating system's error number, or None.
    """

    def __init__(self, uri: str, operation: str, reason: str, errno: int | None = None) -> None:
        self.uri = uri
        self.operation = operation
        self.reason = reason
        self.errno = errno
        super().__init__(f"{operation} of {uri} failed: {reason}")


class DeviceError(MigsimError):
    """A device refused to save or to load its state.

    Attributes:
        device: section name of the device.
        phase: ``pre_save``, ``post_load``, ``setup``.
    """

    def __init__(self, device: str, phase: str, reason: str) -> None:
        self.device = device
        self.phase = phase
        self.reason = reason
        super().__init__(f"{device}: {phase} failed: {reason}")


class ConfigError(MigsimError):
    """A description of a machine, backend, guest or host makes no sense.

    Attributes:
        what: the thing described (``memory-backend-file ram0``, ``workload``, ...).
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what}: {reason}")


class MissingExtraError(MigsimError):
    """An optional dependency is not installed.

    Attributes:
        extra: the extra of the package that brings it.
        module: the module that could not be imported.
    """

    def __init__(self, extra: str, module: str) -> None:
        self.extra = extra
        self.module = module
        super().__init__(f"{module} is not installed; run: pip install 'migsim[{extra}]'")
