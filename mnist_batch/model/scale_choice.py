"""Chooses the scale that a model was trained on, from its self-test and its weights, or says why it cannot.

At the right scale a model errs least on digits that are hard for it, and its confidences are neither far too high nor
too low. Both are measured on drawn digits, which are not MNIST's, so neither is exact: a scale is chosen only if it is
better than all others by a margin, or if those within the margin are equally good.
"""

from __future__ import annotations

import math

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.background import Background
from mnist_batch.model.selftest import ScaleResult, SelfTest

# A model must recognize this share of the careful digits at a scale for the scale to be chosen.
MIN_ACCURACY = 0.8
# With --scale, a half trained model is scored too, with a warning. It recognizes the first share, or it recognizes the
# second and its loss is below the third without a high temperature. Two good networks recognized up to 29 % of
# transposed digits. Untrained ones have a loss of 2.3, the logarithm of ten.
_MIN_WEAK_ACCURACY = 0.45
_MIN_SOME_ACCURACY, _MAX_WEAK_LOSS, _MAX_WEAK_TEMPERATURE = 0.2, 2.15, 1.5

# Fitted to the networks for choosing of benchmarks/networks.py; docs/models.md has what came of the others.
# The logarithm of the fitted temperature at the right scale is nearly always between these two.
_MIN_LOG_TEMPERATURE, _MAX_LOG_TEMPERATURE = -0.2, 0.3
# Networks trained on 0..255 are far too certain.
_MAX_LOG_TEMPERATURE_BYTE = 3.0
_TOO_CERTAIN_WEIGHT, _TOO_UNCERTAIN_WEIGHT = 1.0, 0.15
# The weights of a first dense layer show the sign of black. Somebody may have folded a scale into them.
_OTHER_BACKGROUND = 1.0
_MIN_MARGIN = 0.17
# Two scales are equally good if the logarithms of neither loss nor temperature differ by more than this. Then it
# matters little which is taken.
_MAX_LOSS_DIFFERENCE, _MAX_TEMPERATURE_DIFFERENCE = 0.1, 0.4
# The two scales differ by a factor of two only, and a model of one does well on the other. The rarer must be better by
# this much.
_CENTRED_MARGIN = 0.15


def infer_scale(selftest: SelfTest, background: Background) -> Scale:
    """Returns the scale that a model was trained on.

    Where the model does equally well at several, returns the one that is first in `Scale`: the most usual.
    Raises ModelError if the model recognizes digits at no scale, or if one scale is better than another, but not
    clearly. The message lacks the model's path.
    """
    candidates = {result.scale: result for result in selftest.results if is_strong(result)}
    if not candidates:
        raise ModelError(_explain_failure(selftest))
    lowest = min(result.loss for result in candidates.values())
    costs = {scale: _measure_cost(result, lowest, background) for scale, result in candidates.items()}
    if Scale.SYMMETRIC in costs and Scale.CENTRED in costs:
        loser = Scale.CENTRED if costs[Scale.SYMMETRIC] - costs[Scale.CENTRED] < _CENTRED_MARGIN else Scale.SYMMETRIC
        del costs[loser]
    ranked = sorted(costs, key=lambda scale: costs[scale])
    best = ranked[0]
    rivals = [scale for scale in ranked if costs[scale] - costs[best] < _MIN_MARGIN]
    if not all(_is_as_good(candidates[rival], candidates[best]) for rival in rivals):
        found = "; ".join(str(candidates[scale]) for scale in ranked)
        raise ModelError(
            f"the scale of its pixels must be clear from the self-test, found {found}: "
            f"say which it was trained on with --scale {'|'.join(ranked)}"
        )
    return min(rivals, key=list(Scale).index)


def check_scale(selftest: SelfTest, scale: Scale, source: str) -> None:
    """Raises ModelError if the model hardly recognizes digits at `scale`. The message lacks the model's path.

    source: where the scale comes from, for the message.
    """
    result = selftest.at(scale)
    if result is not None and _is_usable(result):
        return
    if not any(map(_is_usable, selftest.results)):
        raise ModelError(_explain_failure(selftest))
    raise ModelError(
        f"it must recognize at least {_MIN_WEAK_ACCURACY:.0%} of the drawn digits at {scale}, as {source} says, "
        f"found {selftest}: name another --scale, or leave it out"
    )


def is_strong(result: ScaleResult) -> bool:
    """Whether the model recognizes enough digits at a scale to be scored without a warning."""
    return result.accuracy >= MIN_ACCURACY


def _measure_cost(result: ScaleResult, lowest_loss: float, background: Background) -> float:
    """How badly a scale fits, 0 or more.

    The logarithm of the loss over the lowest, and what an unlikely temperature and the weights add.
    """
    certainty = math.log(result.temperature)
    limit = _MAX_LOG_TEMPERATURE_BYTE if result.scale is Scale.BYTE else _MAX_LOG_TEMPERATURE
    return (
        math.log(result.loss / lowest_loss)
        + _TOO_CERTAIN_WEIGHT * max(certainty - limit, 0)
        + _TOO_UNCERTAIN_WEIGHT * max(_MIN_LOG_TEMPERATURE - certainty, 0)
        + (0 if result.scale in background.value else _OTHER_BACKGROUND)
    )


def _is_as_good(result: ScaleResult, best: ScaleResult) -> bool:
    """Whether the model does equally well at a scale and at the best one."""
    return (
        abs(math.log(result.loss / best.loss)) <= _MAX_LOSS_DIFFERENCE
        and abs(math.log(result.temperature / best.temperature)) <= _MAX_TEMPERATURE_DIFFERENCE
    )


def _is_usable(result: ScaleResult) -> bool:
    if result.accuracy >= _MIN_WEAK_ACCURACY:
        return True
    is_modest = result.loss <= _MAX_WEAK_LOSS and result.temperature <= _MAX_WEAK_TEMPERATURE
    return result.accuracy >= _MIN_SOME_ACCURACY and is_modest


def _explain_failure(selftest: SelfTest) -> str:
    best = max(selftest.results, key=lambda result: result.accuracy)
    remedy = "train it on upright digits 0 to 9"
    if any(map(_is_usable, selftest.results)):
        remedy = "train it longer, or name the scale that it was trained on with --scale to use it as it is"
    return (
        f"it must recognize at least {MIN_ACCURACY:.0%} of the drawn digits, "
        f"found {round(best.accuracy * 100)} of 100 at most, at {best.scale}: {remedy}"
    )
