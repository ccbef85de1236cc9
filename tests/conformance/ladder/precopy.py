"""Cases that send a stream and look at the guest on the other side, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .hooks import Hook, nothing
from .pair import Pair, capabilities, parameters
from .wire import check

MULTIFD = ("multifd",)
MAPPED = ("mapped-ram",)
OFFSET_BYTES = 4096


@dataclass(frozen=True)
class Precopy:
    """What makes a case special; the rest is the same for all.

    Attributes:
        to: ``tcp``, ``unix``, ``fd`` or ``file``; a file is loaded when it is finished.
        live: the guest runs and writes while it is sent; otherwise it is stopped before.
        capabilities, parameters: set on both sides.
        iterations: passes that have to begin before the migration may end.
        listens_late: the target is given its address by a command.
        channels: both addresses are given as channels.
        uri: the address, where it is not the plain one of ``to``.
        before, after: called with the pair when both run, and when the guest is there.
    """

    to: str
    live: bool = False
    capabilities: Sequence[str] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    iterations: int = 1
    listens_late: bool = False
    channels: bool = False
    uri: str | None = None
    before: Hook = nothing
    after: Hook = nothing

    def play(self, pair: Pair) -> None:
        """Play the case."""
        if self.to == "file":
            self._through_file(pair)
        else:
            self._through_socket(pair)
        self.after(pair)
        pair.end(memory=True)

    # Sockets: the target is there from the beginning.

    def _through_socket(self, pair: Pair) -> None:
        listen = self._listen_uri(pair)
        late = self.listens_late or listen.startswith("fd:")
        pair.start("defer" if late else listen)
        self._prepare(pair)
        if self.live:
            pair.not_converging()
            pair.prepare_dirty_memory()
        if late:
            self._listen(pair, listen)
        pair.wait_source_guest()
        if not self.live:
            pair.stop_source()
            pair.converging()
        self._migrate(pair, listen)
        if self.live:
            pair.live_part(self.iterations)
            pair.converging()
        pair.completed(pair.source)
        if self.live:
            pair.source.qmp.wait_flag("STOP")
        else:
            pair.completed(pair.target)
            pair.target.qmp.ok("cont")
        pair.wait_target_guest()

    def _listen_uri(self, pair: Pair) -> str:
        match self.to:
            case "tcp":
                return "tcp:127.0.0.1:0"
            case "unix":
                return f"unix:{pair.setting.folder}/migsocket"
            case _:
                return "fd:fd-mig"

    def _listen(self, pair: Pair, uri: str) -> None:
        if self.channels:
            pair.listen_channels(inet_channel("0"))
        else:
            pair.listen(uri)

    def _migrate(self, pair: Pair, listen: str) -> None:
        if self.channels:
            pair.migrate(channels=inet_channel(pair.where()["port"]))
        elif listen.startswith("tcp:"):
            pair.migrate()
        else:
            pair.migrate(listen)

    # Files: the target is told when the source is done.

    def _through_file(self, pair: Pair) -> None:
        uri = (self.uri or "file:{folder}/migfile").format(folder=pair.setting.folder)
        pair.start()
        self._prepare(pair)
        pair.wait_source_guest()
        if not self.live:
            pair.stop_source()
        pair.converging()
        pair.migrate(uri)
        pair.completed(pair.source)
        pair.listen(uri)
        pair.completed(pair.target)
        if not self.live:
            pair.target.qmp.ok("cont")
        pair.wait_target_guest()
        if "offset" in uri:
            check_header(pair)

    def _prepare(self, pair: Pair) -> None:
        for instance in pair.both:
            parameters(instance, **self.parameters)
        capabilities(pair.both, *self.capabilities)
        self.before(pair)


def inet_channel(port: str) -> list[dict[str, object]]:
    """Return the channel list of a port of this host."""
    addr = {"transport": "socket", "type": "inet", "host": "127.0.0.1", "port": port}
    return [{"channel-type": "main", "addr": addr}]


def check_header(pair: Pair) -> None:
    """What was in the file before the offset is there still, and the stream begins behind it."""
    head = (pair.setting.folder / "migfile").read_bytes()[: OFFSET_BYTES + 4]
    check(head[:OFFSET_BYTES] == b"X" * OFFSET_BYTES, "the file's header was overwritten")
    check(head[OFFSET_BYTES:] == b"QEVM", f"{head[OFFSET_BYTES:]!r} where the stream begins")
