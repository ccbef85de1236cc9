"""Many predictions from a file of JSON lines, and their answers as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Final

from ..errors import ParameterError
from .inputs import Inputs

if TYPE_CHECKING:
    from .result import Prediction

CHUNK: Final = 16
"""Configurations handed to a process at once."""


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
    lines: Iterable[str], predict: Callable[[Inputs], Prediction], jobs: int = 1
) -> Iterator[dict[str, Any]]:
    """Yield the answer to each line of measured-run configurations, in their order.

    A configuration that no run can have, or that is not modelled, gets an ``error`` in place of a
    ``prediction``; the others are answered all the same.  With ``jobs`` above 1, so many processes
    share the work; ``predict`` then has to be picklable.

    Raises:
        ParameterError: a line that cannot be read.
    """
    configs = read_configs(lines)
    answer = partial(_answer, predict)
    if jobs <= 1:
        yield from map(answer, configs)
        return
    every = list(configs)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        chunk = max(1, min(CHUNK, len(every) // (4 * jobs)))
        yield from pool.map(answer, every, chunksize=chunk)


def _answer(predict: Callable[[Inputs], Prediction], config: dict[str, Any]) -> dict[str, Any]:
    try:
        prediction = predict(Inputs.from_config(config))
    except ParameterError as error:
        reason = str(error)
    except (TypeError, ValueError) as error:
        reason = f"no run can have this configuration: {error}"
    else:
        return answer_line(config, prediction)
    return {"config": {"id": config.get("id", "")}, "error": reason}
