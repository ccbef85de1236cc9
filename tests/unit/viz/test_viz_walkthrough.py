"""The picture of a walk-through: it says what the result says, and the same bytes each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("matplotlib")

from matplotlib.text import Text

from migsim.demo import Scenario, walk_cpr_reboot
from migsim.host import RamKind
from migsim.viz import draw_walkthrough, write_figure

MIB = 1 << 20


def walk(root, **changes):
    return walk_cpr_reboot(
        root, Scenario(**({"ram_bytes": 4 * MIB, "rate_pages_per_s": 2000.0} | changes))
    )


def words(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_run_states_and_costs_are_told(tmp_path):
    told = words(draw_walkthrough(walk(tmp_path)))
    for piece in (
        "window 1",
        "window 2",
        "running",
        "paused (postmigrate)",
        "[reboot]",
        "paused (inmigrate)",
        "stays where it is",
        "normal, copied",
        "cpr-reboot, in place",
        "1.331 KiB",
    ):
        assert piece in told


def test_lost_and_copied_ram_look_different(tmp_path):
    lost = words(draw_walkthrough(walk(tmp_path / "a", ram_kind=RamKind.TMPFS)))
    assert "lost in the reboot" in lost
    assert "loses its RAM" in lost
    copied = words(draw_walkthrough(walk(tmp_path / "b", ram_kind=RamKind.ANONYMOUS)))
    assert "in the state file" in copied


def test_a_cancelled_save_is_drawn(tmp_path):
    scenario = {"ram_bytes": 128 * MIB, "rate_pages_per_s": 200_000.0, "limit_s": 0.5}
    told = words(draw_walkthrough(walk(tmp_path, **scenario)))
    assert "cancelled" in told
    assert "not done" in told


def test_an_idle_guest_can_be_drawn(tmp_path):
    assert draw_walkthrough(walk(tmp_path, rate_pages_per_s=0.0))


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_result_gives_the_same_bytes(suffix, magic, tmp_path):
    result = walk(tmp_path / "host")
    paths = [tmp_path / f"{n}.{suffix}" for n in range(2)]
    for path in paths:
        write_figure(draw_walkthrough(result), path)
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(magic)
    assert first == second


def test_no_global_state_is_touched():
    code = "import migsim.viz, sys; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_the_extra_there_is_one_sentence():
    code = "import sys; sys.modules['matplotlib'] = None; import migsim.viz"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("matplotlib is not installed; run: pip install 'migsim[viz]'")
