"""All models under their names: one question, one kind of answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..errors import ParameterError
from .baselines import BASELINES, predict_baseline
from .exact import predict_exact
from .explain import explain
from .fluid import predict_fluid
from .hostmodel import REFERENCE, HostModel
from .intervals import with_intervals

if TYPE_CHECKING:
    from .inputs import Inputs
    from .result import Prediction

MODELS: Final = ("exact", "fluid", *BASELINES)
"""Names of all models."""


def predict_with(
    model: str,
    inputs: Inputs,
    host: HostModel = REFERENCE,
    *,
    seed: int = 1,
    trajectory: bool = False,
) -> Prediction:
    """Return what ``model`` says of ``inputs`` on ``host``, with reasons.

    The exact and the fluid model also say how far off they may be.

    Raises:
        ParameterError: no such model, or inputs that it does not know.
    """
    if model not in MODELS:
        raise ParameterError("model", model, f"one of {', '.join(MODELS)}")
    if model in BASELINES:
        prediction = predict_baseline(model, inputs, host)
    else:
        if model == "exact":
            prediction = predict_exact(inputs, host, seed=seed, trajectory=trajectory)
        else:
            prediction = predict_fluid(inputs, host)
        prediction = with_intervals(prediction, inputs, host, seed=seed)
    return replace(prediction, why=explain(inputs, prediction), seed=seed)
