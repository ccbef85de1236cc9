"""Every command that draws: the picture is there, and what cannot be drawn is refused first."""

from __future__ import annotations

import pytest
from state_files import sample_files

from migsim.__main__ import main

VMDK = ["--", "-machine", "none", "-blockdev", "driver=vmdk,node-name=d,file.driver=null-co"]


def commands():
    return {
        "blockers": (["blockers"], VMDK, 1),
        "predict": (["predict", "--ram", "256M"], [], 0),
        "compare": (["compare", "--ram", "256M"], [], 0),
        "simulate": (["simulate", "--ram", "64M"], [], 0),
        "stream info": (["stream", "info", str(sample_files("none-1m").path)], [], 0),
    }


@pytest.mark.parametrize("name", commands())
def test_the_picture_is_drawn(name, tmp_path):
    words, rest, status = commands()[name]
    picture = tmp_path / "picture.png"
    assert main([*words, "--plot", str(picture), *rest]) == status
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", commands())
def test_what_cannot_be_drawn_is_refused_first(name, tmp_path, capsys):
    words, rest, _ = commands()[name]
    for wrong in (tmp_path / "picture.doc", tmp_path / "no" / "picture.png"):
        assert main([*words, "--plot", str(wrong), *rest]) == 2
        assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
