"""All models under their names: one question, one kind of answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..errors import ParameterError
from .exact import predict_exact
from .explain import explain
from .hostmodel import REFERENCE, HostModel

if TYPE_CHECKING:
    from .inputs import Inputs
    from .result import Prediction

MODELS: Final = ("exact",)


def predict_with(
    model: str,
    inputs: Inputs,
    host: HostModel = REFERENCE,
    *,
    seed: int = 1,
    trajectory: bool = False,
) -> Prediction:
    """Return what ``model`` says of ``inputs`` on ``host``, with intervals and reasons.

    Raises:
        ParameterError: no such model, or inputs that it does not know.
    """
    if model == "exact":
        prediction = predict_exact(inputs, host, seed=seed, trajectory=trajectory)
    else:
        raise ParameterError("model", model, f"one of {', '.join(MODELS)}")
    return replace(prediction, why=explain(inputs, prediction))
