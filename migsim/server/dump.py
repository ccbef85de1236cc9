"""``-dump-vmstate``: the device state of all models as JSON, for tools that compare releases.

Source: spec frontend.md section 12; the content is that of QEMU 10.0.2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..boards.archive import dump_vmstate
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..cmdline.model import CommandLine

_MACHINE = "vmschkmachine"


def write_vmstate(line: CommandLine, path: str) -> None:
    """Write the descriptions of all device models, and the machine's name, to ``path``.

    Raises:
        ConfigError: the file cannot be written.
    """
    content = dump_vmstate() | {_MACHINE: {"Name": line.machine.concrete}}
    try:
        Path(path).write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise ConfigError("-dump-vmstate", f"{path}: {error.strerror}") from error
