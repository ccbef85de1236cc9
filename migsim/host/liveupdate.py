"""Preserved memfds: the part of the live update orchestrator (LUO) that guest RAM needs.

An agent on the host puts a memfd into a named session before the kexec; afterwards it takes the
memfd out of the session again and finishes it.  The agent keeps a descriptor all the while, so a
session also keeps the memory of a process that ended.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import ConfigError, StateError
from .holdings import Inode, inode_of, is_memfd


class SessionState(StrEnum):
    """How far a session is."""

    PRESERVED = "preserved"
    """Filled; the next kexec keeps it."""
    INCOMING = "incoming"
    """It came through a kexec; its memfd is there to be retrieved."""
    RETRIEVED = "retrieved"
    """Its memfd is an ordinary one again: another kexec takes it unless it is preserved anew."""


@dataclass(slots=True)
class Session:
    """One session and its memfd.

    Attributes:
        name: name of the session.
        fd: the agent's descriptor.
        inode: identity of the memfd.
        size_bytes: its size.
        state: how far the session is.
    """

    name: str
    fd: int
    inode: Inode
    size_bytes: int
    state: SessionState = SessionState.PRESERVED


class Sessions:
    """All sessions of a host, by name."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def states(self) -> dict[str, SessionState]:
        """Return how far every session is, by name."""
        return {session.name: session.state for session in self._sessions.values()}

    def preserved(self, inode: Inode) -> bool:
        """Return whether the next kexec keeps a memfd."""
        return any(
            s.inode == inode and s.state is SessionState.PRESERVED for s in self._sessions.values()
        )

    def held(self, inode: Inode) -> bool:
        """Return whether the agent holds a memfd, in whatever state."""
        return any(session.inode == inode for session in self._sessions.values())

    def preserve(self, name: str, fd: int) -> None:
        """Put the memfd ``fd`` into the new session ``name``; the descriptor is duplicated.

        Raises:
            ConfigError: the name is taken, or ``fd`` is no memfd.
            StateError: the memfd is in a session already that the next kexec keeps.
        """
        what = f"session {name}"
        if name in self._sessions:
            raise ConfigError(what, "there is one of this name")
        inode = inode_of(fd)
        if inode is None or not is_memfd(fd):
            raise ConfigError(what, "only a memfd can be preserved")
        if self.preserved(inode):
            raise StateError(f"preserving in {what}", "preserved", hint="another session has it")
        copy = os.dup(fd)
        self._sessions[name] = Session(name, copy, inode, os.fstat(copy).st_size)

    def retrieve(self, name: str) -> Path:
        """Return a path that opens the memfd of a session which came through a kexec.

        Asking again gives the same path, until the session is finished.

        Raises:
            ConfigError: there is no such session.
            StateError: there was no kexec since it was preserved.
        """
        session = self._get(name)
        if session.state is SessionState.PRESERVED:
            raise StateError(f"retrieving session {name}", session.state, ["incoming"])
        session.state = SessionState.RETRIEVED
        return Path(f"/proc/self/fd/{session.fd}")

    def finish(self, name: str) -> None:
        """End a session: its path is gone, its memfd lives while a process has it mapped.

        It also takes back a preservation.

        Raises:
            ConfigError: there is no such session.
        """
        os.close(self._get(name).fd)
        del self._sessions[name]

    def kexec(self) -> list[Session]:
        """Let preserved sessions through; drop the others and return those whose memfd is gone."""
        dropped = []
        for session in list(self._sessions.values()):
            if session.state is SessionState.PRESERVED:
                session.state = SessionState.INCOMING
            else:
                self.finish(session.name)
                dropped.append(session)
        return [session for session in dropped if not self.held(session.inode)]

    def clear(self) -> list[Session]:
        """End every session; return them."""
        sessions = list(self._sessions.values())
        for session in sessions:
            self.finish(session.name)
        return sessions

    def _get(self, name: str) -> Session:
        try:
            return self._sessions[name]
        except KeyError:
            known = ", ".join(self._sessions) or "none"
            raise ConfigError(f"session {name}", f"unknown; there are: {known}") from None
