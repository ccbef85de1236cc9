"""Many predictions from a file of JSON lines, and their answers as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError
from .inputs import Inputs

if TYPE_CHECKING:
    from .result import Prediction


def read_configs(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the ``config`` of each line; nothing else of a line is looked at.

    Raises:
        ParameterError: a line is no JSON object with a ``config``.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            config = json.loads(line)["config"]
        except (ValueError, KeyError, TypeError):
            raise ParameterError(f"line {number}", line[:40], "a JSON object with config") from None
        if not isinstance(config, dict):
            raise ParameterError(f"line {number}", line[:40], "a config of names and values")
        yield config


def answer_line(config: dict[str, Any], prediction: Prediction) -> dict[str, Any]:
    """Return the answer to one line: its id and the prediction in the names of the data."""
    interval = {name: [bounds.low, bounds.high] for name, bounds in prediction.intervals.items()}
    return {
        "config": {"id": config.get("id", "")},
        "prediction": {
            "status": prediction.status,
            "total_time_ms": prediction.total_time_ms,
            "downtime_ms": prediction.downtime_ms,
            "transferred_bytes": prediction.transferred_bytes,
            "dirty_sync_count": prediction.dirty_sync_count,
            "interval": {"level": prediction.level, **interval},
            "model": prediction.model,
            "host": prediction.host,
            "seed": prediction.seed,
        },
    }


def predict_batch(
    lines: Iterable[str], predict: Callable[[Inputs], Prediction]
) -> Iterator[dict[str, Any]]:
    """Yield the answer to each line of measured-run configurations.

    Raises:
        ParameterError: a line that cannot be read, or a configuration that no run can have.
    """
    for config in read_configs(lines):
        try:
            inputs = Inputs.from_config(config)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"config {config.get('id')}", str(error), "numbers") from None
        yield answer_line(config, predict(inputs))
