"""The other process of a cpr-transfer, in this one."""

from __future__ import annotations

import os

from migsim.channel.memory import MemoryInput, MemoryOutput
from migsim.channel.uri import parse_uri

NOWHERE = parse_uri("unix:/nowhere")


class Neighbour:
    """Takes memory over, and listens at once; what it writes and reads can be wrapped."""

    def __init__(self, output=lambda stream: stream, channel=lambda stream: stream) -> None:
        self.stream = MemoryOutput()
        self._output, self._input = output, channel
        self.memory: dict[str, int] = {}

    def check(self, _address: object) -> None: ...

    def open_output(self, _address: object, _needs: object = None) -> MemoryOutput:
        return self._output(self.stream)

    def open_input(self, _address: object, _needs: object = None) -> MemoryInput:
        return self._input(MemoryInput(self.stream.getvalue()))

    def hand_over(self, _address: object, memory, then) -> None:
        self.memory = {name: os.dup(fd) for name, fd in memory.items()}
        then()

    def abandon(self) -> None: ...
