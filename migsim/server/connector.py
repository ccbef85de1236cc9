"""Opens the addresses of migrations between processes, with an event loop."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import termios
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..channel.uri import ChannelAddress, Scheme, split_host
from ..errors import ChannelError, MigsimError, ParameterError
from ..machine.addresses import MAIN_ONLY, Needs, open_file_input, open_file_output
from ..stream.cpr_state import CprEntry
from ..stream.multifd_writer import NO_UUID
from .arrivals import Arrivals
from .handover import send_state
from .sockets import connect_tcp, connect_unix, described, listen_tcp, listen_unix
from .transports import LiveInput, LiveOutput, spawn

if TYPE_CHECKING:
    from ..channel.base import InputChannel, OutputChannel
    from ..channel.group import InputGroup
    from ..machine.machine import Machine
    from .reactor import Loop

_OFFSET_LIMIT = 1 << 63
_NAMED = (Scheme.UNIX, Scheme.FD)


class LiveConnector:
    """The transports of one machine: file, fd, exec, unix and tcp.

    ``wake`` is called when a channel has come, or failed to, after the command returned.
    ``allow_exec`` lets commands run; otherwise they are refused.  ``listening`` is called when the
    machine has begun to wait for a stream.  ``wrap`` may put something around the file that a
    migration writes to.
    """

    def __init__(
        self,
        loop: Loop,
        machine: Machine,
        *,
        wake: Callable[[], None],
        allow_exec: bool,
        listening: Callable[[], None] = lambda: None,
        wrap: Callable[[OutputChannel], OutputChannel] = lambda channel: channel,
    ) -> None:
        self._wrap = wrap
        self._loop = loop
        self._machine = machine
        self._wake = wake
        self._allow_exec = allow_exec
        self._now_listening = listening
        self._listener: socket.socket | None = None
        self._awaited: tuple[int, InputChannel] | None = None
        self._silent: InputChannel | None = None
        self._handing: socket.socket | None = None
        self._arrivals = Arrivals(loop, 0, self._complete, self._incoming_failed)

    def check(self, address: ChannelAddress) -> None:
        """Refuse what cannot be opened here."""
        if "\0" in address.target or address.offset_bytes >= _OFFSET_LIMIT:
            wanted = "a path without null bytes, an offset below 2^63"
            raise ParameterError("uri", address.uri, wanted)
        if address.scheme in _NAMED and not address.target:
            raise ParameterError("uri", address.uri, "a name behind the colon")
        if address.scheme is Scheme.VSOCK and ":" not in address.target:
            raise ParameterError("uri", address.uri, "vsock:CID:PORT")

    def open_output(
        self, address: ChannelAddress, needs: Needs = MAIN_ONLY
    ) -> OutputChannel | None:
        """Open a file, descriptor or command; begin to connect a socket."""
        match address.scheme:
            case Scheme.FILE:
                return self._wrap(open_file_output(address, needs, self._machine.descriptors))
            case Scheme.FD:
                return LiveOutput(self._descriptor(address), address.uri)
            case Scheme.RDMA:
                raise ChannelError(address.uri, "connect", "there is no such transport here")
            case Scheme.EXEC:
                fd, process = spawn(self._command(address), name=address.uri, output=True)
                return LiveOutput(fd, address.uri, process)
            case Scheme.UNIX if not needs.further:
                self._loop.call_soon(self._connect, address, connect_unix, address.target)
            case Scheme.UNIX:
                self._connect_aside(address, connect_unix, (address.target,), needs)
            case Scheme.TCP:
                self._connect_aside(address, connect_tcp, split_host(address.target), needs)
            case _:
                problem = ChannelError(address.uri, "connect", "there is no such transport here")
                self._loop.call_soon(self._failed, problem)
        return None

    def open_input(self, address: ChannelAddress, needs: Needs = MAIN_ONLY) -> InputChannel | None:
        """Open a file; wait for the first byte of a descriptor or command, or for a socket."""
        channel = self._open_input(address, needs)
        self._now_listening()
        return channel

    def _open_input(self, address: ChannelAddress, needs: Needs) -> InputChannel | None:
        match address.scheme:
            case Scheme.FILE:
                if os.path.isdir(address.target):  # it can be opened, but not read
                    return LiveInput(os.open(address.target, os.O_RDONLY), address.uri)
                return open_file_input(address, needs, self._machine.descriptors)
            case Scheme.FD:
                if _is_closed(address.target):
                    return None  # the real program waits for bytes that never come
                return self._await_bytes(address, self._descriptor(address), None)
            case Scheme.EXEC:
                fd, process = spawn(self._command(address), name=address.uri, output=False)
                return self._await_bytes(address, fd, LiveInput(fd, address.uri, process))
            case Scheme.UNIX:
                self._listen(listen_unix(address.target, needs.further), needs)
            case Scheme.TCP:
                self._listen(listen_tcp(*split_host(address.target), needs.further), needs)
            case _:
                raise ChannelError(address.uri, "listen", "there is no such transport here")
        return None

    def hand_over(
        self, address: ChannelAddress, memory: Mapping[str, int], then: Callable[[], None]
    ) -> None:
        """Send descriptors over a unix socket; ``then`` follows when the other side hangs up."""
        if address.scheme is not Scheme.UNIX:
            raise ChannelError(address.uri, "connect", "descriptors need a unix socket")
        entries = [(CprEntry(name), fd) for name, fd in memory.items()]
        sock = self._handing = send_state(address.target, entries)

        def hung_up() -> None:
            self._stop_handing()
            then()
            self._wake()

        self._loop.add_reader(sock.fileno(), hung_up)

    def _stop_handing(self) -> None:
        sock, self._handing = self._handing, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def abandon(self) -> None:
        """Stop listening and waiting."""
        self._stop_handing()
        listener, self._listener = self._listener, None
        if listener is not None:
            self._loop.remove_reader(listener.fileno())
            listener.close()
            self._machine.incoming.addresses.clear()
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            self._loop.remove_reader(awaited[0])
            awaited[1].close()
        self._arrivals.abandon()

    # Outgoing sockets.

    def _connect(
        self, address: ChannelAddress, connect: Callable[..., socket.socket], *where: str
    ) -> None:
        if not self._machine.source.waits_for_channel:
            return
        try:
            sock = connect(*where)
        except ChannelError as error:
            self._failed(error)
            return
        self._connected(address, sock)

    def _connect_aside(
        self,
        address: ChannelAddress,
        connect: Callable[..., socket.socket],
        where: tuple[str, ...],
        needs: Needs,
    ) -> None:
        """Connect in a thread: names are looked up there, and hosts may not answer."""
        run = self._machine.source.run

        def connect_all() -> None:
            sockets: list[socket.socket] = []
            try:
                for _ in range(1 + needs.further):
                    sockets.append(connect(*where))
            except ChannelError as error:
                for sock in sockets:
                    sock.close()
                self._loop.call_soon_threadsafe(self._later, run, address, [], error)
            else:
                self._loop.call_soon_threadsafe(self._later, run, address, sockets, None)

        threading.Thread(target=connect_all, name="mig/connect", daemon=True).start()

    def _later(
        self,
        run: object,
        address: ChannelAddress,
        sockets: list[socket.socket],
        error: ChannelError | None,
    ) -> None:
        source = self._machine.source
        if source.run is not run or not source.waits_for_channel:
            for sock in sockets:
                sock.close()
        elif sockets:
            self._connected(address, *sockets)
        elif error is not None:
            self._failed(error)

    def _connected(self, address: ChannelAddress, *sockets: socket.socket) -> None:
        main, *further = (LiveOutput(sock.detach(), address.uri) for sock in sockets)
        self._machine.outgoing_ready(main, tuple(further))
        self._wake()

    def _failed(self, error: ChannelError) -> None:
        if self._machine.source.waits_for_channel:
            self._machine.outgoing_failed(error)
            self._wake()

    # Incoming.

    def _listen(self, sock: socket.socket, needs: Needs) -> None:
        self._listener = sock
        self._machine.incoming.addresses[:] = [described(sock)]
        self._arrivals = Arrivals(
            self._loop,
            needs.further,
            self._complete,
            self._incoming_failed,
            uuid=self._machine.uuid or NO_UUID,
        )
        self._loop.add_reader(sock.fileno(), self._accept, sock)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        self._arrivals.add(client, f"connection to {listener.getsockname()}")

    def _incoming_failed(self, error: MigsimError) -> None:
        addresses = list(self._machine.incoming.addresses)
        self.abandon()
        self._machine.incoming.addresses[:] = addresses  # as if somebody still listened
        self._machine.incoming_failed(error)
        self._wake()

    def _complete(self, channel: InputChannel | InputGroup) -> None:
        """Begin to load: everything that belongs to the migration is connected."""
        addresses = list(self._machine.incoming.addresses)
        self.abandon()
        self._machine.incoming.addresses[:] = addresses  # shown until the load is over
        self._machine.incoming_ready(channel)
        self._wake()

    def _await_bytes(
        self, address: ChannelAddress, fd: int, channel: LiveInput | None
    ) -> InputChannel | None:
        """Return a regular file at once; wait for the first byte of anything else."""
        if channel is None:
            channel = LiveInput(fd, address.uri)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return channel
        self._awaited = fd, channel
        self._loop.add_reader(fd, self._bytes_came)
        return None

    def _bytes_came(self) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is None:
            return
        self._loop.remove_reader(awaited[0])
        if _ended_empty(awaited[0]):
            # The real program is not woken up by a pipe that ends without a byte.
            self._silent = awaited[1]
            return
        self._machine.incoming_ready(awaited[1])
        self._wake()

    # Both.

    def _descriptor(self, address: ChannelAddress) -> int:
        """Return the descriptor that is meant, ours from now on."""
        name = address.target
        if name.isdigit():
            fd = int(name)
            try:
                os.fstat(fd)
            except OSError as error:
                raise ChannelError(address.uri, "open", str(error), error.errno) from error
            return fd
        named = self._machine.descriptors.take(name)
        if named is None:
            raise ChannelError(address.uri, "open", f"no descriptor is called {name!r}")
        return named

    def _command(self, address: ChannelAddress) -> list[str]:
        if not self._allow_exec:
            reason = "commands are not run: start with --allow-exec or MIGSIM_ALLOW_EXEC=1"
            raise ChannelError(address.uri, "open", reason)
        return list(address.args) or ["/bin/sh", "-c", address.target]


def _ended_empty(fd: int) -> bool:
    """Whether a pipe or socket that is readable has nothing but its end."""
    room = bytearray(4)
    try:
        fcntl.ioctl(fd, termios.FIONREAD, room)
    except OSError:
        return False
    return int.from_bytes(room, "little") == 0 and stat.S_ISFIFO(os.fstat(fd).st_mode)


def _is_closed(name: str) -> bool:
    """Whether ``name`` is the number of a descriptor that is not open."""
    if not name.isdigit():
        return False
    try:
        os.fstat(int(name))
    except (OSError, OverflowError):
        return True
    return False
