"""Settings shared by all tests: one Hypothesis profile for every run, a long one on request."""

from __future__ import annotations

import os
import shutil

import pytest
import steps
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "long", parent=settings.get_profile("ci"), max_examples=2000, derandomize=False
)
settings.register_profile(  # for those who only want to know whether something is found
    "quick", parent=settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip live comparisons, visibly, where no real QEMU is installed, and what is for make."""
    if not os.environ.get("MIGSIM_QUALITY"):
        wanted = pytest.mark.skip(reason="planted by make quality")
        for item in items:
            if item.get_closest_marker("quality"):
                item.add_marker(wanted)
    if shutil.which("qemu-system-x86_64"):
        return
    skip = pytest.mark.skip(reason="no qemu-system-x86_64 on this machine")
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(skip)


def pytest_configure(config) -> None:
    """Take the fixtures of migsim where its entry point is not installed."""
    from migsim.testing import plugin

    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin, "migsim")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the steps of the rule-based machines from a worker of xdist to the one who waits."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["steps"] = dict(steps.taken)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Take the steps of one worker over."""
    steps.taken.update(getattr(node, "workeroutput", {}).get("steps", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many steps the machines have made."""
    if steps.taken:
        terminalreporter.section("steps of rule-based machines")
        for name, count in sorted(steps.taken.items()):
            terminalreporter.line(f"{count:>8}  {name}")
        total = sum(count for name, count in steps.taken.items() if ":" not in name)
        terminalreporter.line(f"{total:>8}  in all")
