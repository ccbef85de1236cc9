"""Command lines from nowhere: a typed error or a result, quickly, and never anything else."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migsim.cmdline.blockers import features
from migsim.cmdline.images import try_probe
from migsim.cmdline.parse import parse
from migsim.cmdline.table import OPTIONS
from migsim.cmdline.text import words
from migsim.errors import ConfigError, MigsimError, ParameterError
from migsim.qapi.release import Release

if TYPE_CHECKING:
    from migsim.cmdline.model import CommandLine

RELEASES = st.sampled_from([Release.V8_2, Release.V10_0, Release.V11_1])
WORDS = st.sampled_from(
    words(
        "none q35 pc microvm on off id=a id=b size=16M size=0 path=x server=on wait=off mux=on"
        " null socket file raw qcow2 if=none if=ide index=0 unit=1 media=cdrom memdev=a"
        " memory-backend=a memory-backend-ram memory-backend-file mem-path=/x share=on node"
        " nodeid=0 tcg kvm host +invtsc migratable=off virtio-rng-pci nvme serial=x drive=a"
        " usb-mtp rootdir=/ addr=3 bus=b pcie-root-port qemu-xhci chardev=a mode=control main"
        " cpr addr.transport=file addr.filename=x addr.offset=0 defer tcp:h:1 unix:/x fd:3"
        ' migration.mode=normal help a.b=1 a.0=1 0 1 -1 {} {"a":1} , = . ,, a='
    )
)
ARGUMENTS = st.one_of(
    st.lists(WORDS, max_size=5).map(",".join),
    st.text(max_size=20),
    st.text(alphabet=",=.:{}[]'\"0aé\\\x00\ud800", max_size=20),
)
MODELLED = st.sampled_from(sorted(OPTIONS))


@st.composite
def argument_lists(draw):
    """Options with arguments that look like something, and words that do not."""
    argv = []
    for name in draw(st.lists(MODELLED, max_size=6)):
        argv.append(draw(st.sampled_from(["-", "--"])) + name)
        if OPTIONS[name].argument:
            argv.append(draw(ARGUMENTS))
    if draw(st.booleans()):
        argv.insert(draw(st.integers(0, len(argv))), draw(ARGUMENTS))
    return argv


def attempt(argv, **how):
    """Return the command line, or None when it was refused with one of our errors."""
    try:
        return parse(argv, **how)
    except (ConfigError, ParameterError) as refused:
        error = refused
    assert len(str(error)) < 5000
    return None


@given(argument_lists(), RELEASES)
@example(["-cpu", "qemu64,model=\udcff"], Release.V10_0)
@example(["-device", '{"driver": "virtio-rng-pci", "addr": {}}'], Release.V10_0)
@example(["-object", "memory-backend-ram,id=a,size=1", "-machine", "x-remote"], Release.V10_0)
def test_whatever_comes_is_parsed_or_refused(argv, release):
    attempt(argv, release=release)
    line = attempt(argv, release=release, strict=False)
    if line is not None and line.info is None:
        look_at(line)


def look_at(line: CommandLine) -> None:
    """Ask a command line for its features without touching any file."""
    try:
        for feature in features(line, lambda path: None):
            assert feature.name
            assert feature.modes(line.release) is not None
    except MigsimError:
        pass


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "driver",
                        "node-name",
                        "file",
                        "filename",
                        "qom-type",
                        "id",
                        "size",
                        "addr",
                        "channel-type",
                        "transport",
                        "type",
                        "args",
                        "backing",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["object", "device", "blockdev", "incoming", "netdev", "audiodev", "display"]),
)
def test_json_of_any_shape_is_checked_or_refused(value, option):
    attempt([f"-{option}", json.dumps(value)])
    attempt([f"-{option}", json.dumps({"driver": "raw", "node-name": "n", "file": value})])


HUGE = {
    "commas": "," * 50_000,
    "pairs of commas": "a=" + ",," * 50_000,
    "keys": ",".join(f"k{n}=v" for n in range(10_000)),
    "one key": ",".join(["id=a"] * 10_000),
    "flags": ",".join(["on"] * 10_000),
    "dots": "a" + ".a" * 100_000 + "=1",
    "braces": '{"a":' * 100_000,
    "brackets": '{"a":' + "[" * 200_000,
    "digits": "size=" + "9" * 200_000,
    "fraction": "size=0." + "1" * 200_000 + "k",
    "json digits": '{"a":' + "9" * 200_000 + "}",
    "letters": "x" * 200_000,
    "equals": "=" * 200_000,
    "quotes": "{'" + "\\'" * 100_000,
    "nodes": ",".join(f"host-nodes=0-{60000 + n}" for n in range(1000)),
}
TAKES = words(
    "machine smp m cpu accel object numa device drive blockdev chardev mon qmp incoming global"
    " name uuid action netdev audiodev display"
)


@pytest.mark.slow
@pytest.mark.parametrize("what", HUGE)
def test_huge_arguments_are_refused_in_no_time(what):
    begin = time.process_time()
    for name in TAKES:
        attempt([f"-{name}", HUGE[what]])
        attempt([f"-{name}", "memory-backend-ram,id=r,size=1M,policy=bind," + HUGE[what]])
    assert time.process_time() - begin < 30


@pytest.mark.parametrize("argv", [["-S"] * 20_000, ["-device", "virtio-rng-pci"] * 200, ["x"] * 9])
def test_many_options(argv):
    attempt(argv)


def test_a_dry_run_looks_at_files_only_when_it_may(tmp_path):
    fifo = tmp_path / "fifo"
    import os

    os.mkfifo(fifo)
    line = parse(["-drive", f"file={fifo},if=none"])
    assert all(f.feature == "ram-block" for f in features(line, try_probe))
    with pytest.raises(ConfigError, match="neither a file nor a device"):
        features(line)
