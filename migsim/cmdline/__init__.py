"""QEMU's command-line language: options to a description of one machine, and what would block it.

``parse`` turns an argument list into a `CommandLine` without touching a file; ``build`` turns
that into a `MachineConfig`, looking at disk images on the way; ``features`` lists what on it
forbids migration.  Names and types are facts of QEMU 10.0.2 (``data/*.json``); the parsers, the
checks and all texts are our own.
"""

from .applied import AppliedFeature, Certainty
from .blockers import features, register_features
from .build import Built, build
from .images import try_probe
from .model import CommandLine, Info, Refusal
from .parse import parse
from .probe import ProbedImage, probe_file, probe_format
from .table import OPTIONS, Handling, OptionRow, find_option
from .texts import info_text
from .words import split_words

__all__ = [
    "OPTIONS",
    "AppliedFeature",
    "Built",
    "Certainty",
    "CommandLine",
    "Handling",
    "Info",
    "OptionRow",
    "ProbedImage",
    "Refusal",
    "build",
    "features",
    "find_option",
    "info_text",
    "parse",
    "probe_file",
    "probe_format",
    "register_features",
    "split_words",
    "try_probe",
]
