"""What is done with a damaged stream: everything that reads one."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing.cases import Base, Case, load

from migsim.channel import MemoryInput, MemoryOutput
from migsim.cli import stream
from migsim.errors import ConfigError, DeviceError, MigsimError, ParameterError, StreamError
from migsim.machine.from_stream import needs_of
from migsim.ram.backends import BackendKind, BackendSpec
from migsim.stream import MemoryStore, OutFile, StreamWriter, apply_items, open_stream, rewrite
from migsim.stream.return_path import ReturnPathReader
from migsim.stream.source import ByteSource
from migsim.streamtool import StreamFiles, StreamForm, convert, extract_ram, replace_ram
from migsim.vm import VM


@dataclass(frozen=True)
class Given:
    """A damaged stream, in memory, and a folder for files."""

    base: Base
    parts: list[bytes]
    folder: Path

    @property
    def channels(self) -> list[bytes]:
        return self.parts[1 : 1 + self.base.channels]

    def opened(self, **form):
        return open_stream(
            MemoryInput(self.parts[0], offset=self.base.offset, **form),
            channels=[MemoryInput(channel, **form) for channel in self.channels],
        )

    def files(self) -> StreamFiles:
        """Put the stream into files."""
        paths = []
        for index, raw in enumerate(self.parts[: 1 + self.base.channels]):
            path = self.folder / f"part{index}"
            path.write_bytes(raw)
            paths.append(path)
        return StreamFiles.at(paths[0], self.base.offset, paths[1:])

    def command(self, command: Callable[..., int], **options: object) -> None:
        """Run a ``migsim stream`` command on the files; its status has to be 0 or 1."""
        files = self.files()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = command(
                files.path, offset=str(files.offset), channel=list(files.channels), **options
            )
        if status not in (0, 1) or not printed.getvalue():
            raise AssertionError(f"status {status}, printed {len(printed.getvalue())} characters")
        printed.getvalue().encode()


def _walk(given: Given) -> None:
    with given.opened() as opened:
        apply_items(opened.items(), MemoryStore())


def _walk_pipe(given: Given) -> None:
    with given.opened(seekable=False, chunk_bytes=50_000) as opened:
        apply_items(opened.items(keep_order=True), MemoryStore(1 << 26))


def _return_path(given: Given) -> None:
    if given.base.has_return_path:
        for _ in ReturnPathReader(ByteSource(MemoryInput(given.parts[-1]))):
            pass
    else:
        _walk_pipe(given)


def _rewrite(given: Given) -> None:
    with given.opened() as opened:
        rewrite(opened.items(keep_order=True), StreamWriter(OutFile(MemoryOutput())))


def _to(form: StreamForm) -> Callable[[Given], None]:
    def use(given: Given) -> None:
        target = given.folder / "converted"
        target.unlink(missing_ok=True)
        whole = False
        try:
            convert(given.files(), target, form)
            whole = True
        finally:
            if target.exists() != whole:
                raise AssertionError("a file stays behind, or none")

    return use


def _extract(given: Given) -> None:
    files = given.files()
    with files.open() as opened:
        summary_blocks = next((i.blocks for i in opened.items() if hasattr(i, "blocks")), ())
    if summary_blocks:
        extract_ram(files, given.folder / "ram", summary_blocks[0].name, partial=True)


def _replace(given: Given) -> None:
    new = given.folder / "content"
    if not new.exists():
        new.touch()
    os.truncate(new, 1 << 20)
    block = "pc.ram" if given.base.name.startswith(("pc", "q35")) else "ram"
    os.truncate(new, (8 if block == "pc.ram" else 1) << 20)
    replace_ram(given.files(), given.folder / "replaced", {block: new})


def _load(given: Given) -> None:
    """Load into a machine that fits; it is as it was when that fails."""
    files = given.files()
    needs = needs_of(files.path, files.offset)
    main_block = needs.main
    if sum(block.used_bytes for block in needs.blocks) > 1 << 26:
        return  # the owner of a machine decides how much RAM it has
    memory = None
    if main_block is not None and main_block.used_bytes:
        memory = BackendSpec(BackendKind.RAM, main_block.name, main_block.used_bytes)
    with VM(needs.config(memory)) as machine:
        before = machine.query_status()
        try:
            machine.load(f"file:{files.path},offset={files.offset}")
        except MigsimError:
            assert machine.query_status() == before
            assert not any(block.view().any() for block in machine.ram.migratable())
            raise


def _same(command: Callable[..., int], **options: object) -> Callable[[Given], None]:
    return lambda given: given.command(command, **options)


def _diff(given: Given) -> None:
    other = given.folder / "other"
    other.write_bytes(load("none-1m").parts[0])
    given.command(functools.partial(_diff_with, other), ram=True)


def _diff_with(other: Path, file: Path, **options: object) -> int:
    return stream.diff(file, other, **options)


@dataclass(frozen=True)
class Use:
    """Something that reads streams, and the errors that it may end with."""

    run: Callable[[Given], None]
    errors: tuple[type[MigsimError], ...] = (StreamError,)
    weight: int = 1


USES: dict[str, Use] = {
    "walk": Use(_walk, weight=8),
    "walk a pipe": Use(_walk_pipe, weight=4),
    "return path": Use(_return_path, weight=1),
    "rewrite": Use(_rewrite, (StreamError, ConfigError), weight=1),
    "check": Use(_same(stream.check), weight=2),
    "check --json": Use(_same(stream.check, machine="pc", as_json=True), weight=2),
    "info": Use(_same(stream.info), weight=2),
    "info --json": Use(_same(stream.info, as_json=True)),
    "show": Use(_same(stream.show), weight=2),
    "show a field": Use(_same(stream.show, section="*/*"), (StreamError, ParameterError)),
    "show --json": Use(_same(stream.show, as_json=True), weight=2),
    "diff --ram": Use(_diff),
    "convert to plain": Use(_to(StreamForm.PLAIN), (StreamError, ConfigError), weight=2),
    "convert to mapped-ram": Use(_to(StreamForm.MAPPED_RAM), (StreamError, ConfigError), weight=2),
    "extract-ram": Use(_extract, (StreamError, ConfigError)),
    "replace-ram": Use(_replace, (StreamError, ConfigError)),
    # What does not fit the machine, or a device refuses, is no fault of the bytes.
    "load": Use(_load, (StreamError, ConfigError, DeviceError, ParameterError)),
}


def try_use(case: Case, use: str, folder: Path) -> str | None:
    """Do one thing with a case; return what went wrong with that, None if nothing did."""
    given = Given(load(case.base), case.parts(), folder)
    try:
        USES[use].run(given)
    except USES[use].errors as error:
        if isinstance(error, StreamError):
            return _offset_fault(given, error)
    except (Exception, RecursionError) as error:
        return f"{type(error).__name__}: {error}"[:200] + _where(error)
    return None


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return "".join(f" < {Path(f.filename).name}:{f.lineno}" for f in reversed(frames))


def _offset_fault(given: Given, error: StreamError) -> str | None:
    most = max(given.base.offset, *map(len, given.parts))
    if 0 <= error.offset <= most and error.section and error.expected:
        return None
    return f"no place, section or expectation: {error!r}"
