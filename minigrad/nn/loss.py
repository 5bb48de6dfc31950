"""Losses as layers, with the names and arguments of PyTorch. Each is the function of its name.

All take `reduction`: 'mean', 'sum' or 'none' for the losses of all elements. PyTorch's older way to
say it, `size_average` and `reduce`, is taken too.
"""

from collections.abc import Callable, Sequence
from operator import index
from typing import Any, NamedTuple

from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.errors import ShapeError
from minigrad.graph import as_array
from minigrad.nn import functional as F
from minigrad.nn.containers import ModuleList, Sequential
from minigrad.nn.linear import Linear
from minigrad.nn.module import FunctionLayer, Module

__all__ = [
    "AdaptiveLogSoftmaxWithLoss", "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss",
    "CrossEntropyLoss", "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
    "MSELoss", "MarginRankingLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss",
    "MultiMarginLoss", "NLLLoss", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss",
    "TripletMarginLoss", "TripletMarginWithDistanceLoss",
]  # fmt: skip


class _Loss(FunctionLayer):
    """A loss of `x` and its targets."""

    settings: tuple[str, ...] = ("reduction",)
    reductions: tuple[str, ...] = ("mean", "sum", "none")
    reduction: str

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
    ):
        self._reduce(size_average, reduce, reduction)

    def _reduce(self, size_average: Any, reduce: Any, reduction: str) -> None:
        known = type(self).reductions
        if reduction not in known:
            raise ValueError(
                f"{type(self).__name__}: reduction must be one of {known}, got {reduction!r}"
            )
        if size_average is not None or reduce is not None:  # as PyTorch reads them
            reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        self.reduction = reduction

    def _weigh(self, **weights: Any) -> None:
        """Keep weights as buffers, which are saved with the parameters, as in PyTorch."""
        for name, weight in weights.items():
            self.register_buffer(name, None if weight is None else as_array(weight))

    def forward(self, x: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """The loss of `x`; see the function for shapes."""
        return type(self).function(x, target, **self._settings())

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self._settings().items() if k not in _WEIGHTS)


_WEIGHTS = ("weight", "pos_weight")


# ------------------------------------------------------------------------------------ regression


class L1Loss(_Loss):
    """The sizes of the differences of `x` and `target`."""

    function = staticmethod(F.l1_loss)


class MSELoss(_Loss):
    """The squared differences of `x` and `target`."""

    function = staticmethod(F.mse_loss)


class SmoothL1Loss(_Loss):
    """Squares of small differences, the sizes of those beyond `beta` (arXiv 1504.08083)."""

    function = staticmethod(F.smooth_l1_loss)
    settings = ("reduction", "beta")

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ):
        self._reduce(size_average, reduce, reduction)
        self.beta = beta


class HuberLoss(_Loss):
    """Squares of small differences, lines beyond `delta`; it is `delta` times `SmoothL1Loss`."""

    function = staticmethod(F.huber_loss)
    settings = ("reduction", "delta")

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        self._reduce(None, None, reduction)
        self.delta = delta


class GaussianNLLLoss(_Loss):
    """For targets from normal distributions of given means and variances.

    Args:
        full: whether to add the constant `log(2 pi) / 2`.
        eps: the least variance.
    """

    function = staticmethod(F.gaussian_nll_loss)
    settings = ("full", "eps", "reduction")

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        self._reduce(None, None, reduction)
        self.full, self.eps = full, eps

    def forward(self, x: Tensor, target: Tensor, var: Any) -> Tensor:  # type: ignore[override]
        """x: the means, target: their shape, var: the variances, see the function."""
        return type(self).function(x, target, var, **self._settings())


class PoissonNLLLoss(_Loss):
    """For targets from Poisson distributions of given means.

    Args:
        log_input: whether `x` is the logarithm of the mean.
        full: whether to add Stirling's approximation of `log(target!)`.
        eps: against the logarithm of 0.
    """

    function = staticmethod(F.poisson_nll_loss)
    settings = ("log_input", "full", "eps", "reduction")

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        self._reduce(size_average, reduce, reduction)
        self.log_input, self.full, self.eps = log_input, full, eps


# --------------------------------------------------------------------------------- probabilities


class BCELoss(_Loss):
    """The binary cross entropy of probabilities.

    Args:
        weight: of each element, broadcastable to `x`; or None. A buffer.
    """

    function = staticmethod(F.binary_cross_entropy)
    settings = ("weight", "reduction")

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        self._reduce(size_average, reduce, reduction)
        self._weigh(weight=weight)


class BCEWithLogitsLoss(_Loss):
    """The binary cross entropy of the sigmoid of `x`.

    Args:
        weight: of each element, broadcastable to `x`; or None. A buffer.
        pos_weight: of the part of targets 1, likewise.
    """

    function = staticmethod(F.binary_cross_entropy_with_logits)
    settings = ("weight", "pos_weight", "reduction")

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ):
        self._reduce(size_average, reduce, reduction)
        self._weigh(weight=weight, pos_weight=pos_weight)


class KLDivLoss(_Loss):
    """The Kullback-Leibler divergence of `target` from `exp(x)`.

    Args:
        reduction: also 'batchmean', the sum over the number of rows: the divergence itself.
        log_target: whether targets are logarithms.
    """

    function = staticmethod(F.kl_div)
    settings = ("reduction", "log_target")
    reductions = ("mean", "sum", "none", "batchmean")

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ):
        self._reduce(size_average, reduce, reduction)
        self.log_target = log_target


# --------------------------------------------------------------------------------------- classes


class _OfClasses(_Loss):
    """A loss with an axis of classes: PyTorch's, which is axis 1, unless `axis` says otherwise."""

    axis: int | None

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "axis": self.axis}

    def forward(self, x: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """x: (N, C, ...) or (C,), target: (N, ...) or (); or probabilities in the shape of x."""
        settings = self._settings()
        if self.axis is None:
            settings["axis"] = 1 if x.ndim > 1 else 0
        return type(self).function(x, target, **settings)

    def extra_repr(self) -> str:
        axis = "" if self.axis is None else f", axis={self.axis}"
        settings = super()._settings()
        return ", ".join(f"{k}={v!r}" for k, v in settings.items() if k not in _WEIGHTS) + axis


class CrossEntropyLoss(_OfClasses):
    """The cross entropy of the softmax of `x` with target classes, or their probabilities.

    Args:
        weight: (C,), of each class; or None. A buffer.
        ignore_index: a target class that does not count.
        label_smoothing: weight that is spread evenly over all classes, in [0, 1].
        axis: of the classes; by default axis 1, or the only one.
    """

    function = staticmethod(F.cross_entropy)
    settings = ("weight", "ignore_index", "reduction", "label_smoothing")

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        axis: int | None = None,
    ):
        self._reduce(size_average, reduce, reduction)
        self._weigh(weight=weight)
        self.ignore_index, self.label_smoothing, self.axis = ignore_index, label_smoothing, axis


class NLLLoss(_OfClasses):
    """Minus `x` at the target classes, for logarithms `x` of the probabilities of all classes.

    Arguments as for `CrossEntropyLoss`.
    """

    function = staticmethod(F.nll_loss)
    settings = ("weight", "ignore_index", "reduction")

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        *,
        axis: int | None = None,
    ):
        self._reduce(size_average, reduce, reduction)
        self._weigh(weight=weight)
        self.ignore_index, self.axis = ignore_index, axis


class _Found(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Cross entropy of classes in clusters: frequent ones first, rare ones with fewer features.

    (Grave et al., "Efficient softmax approximation for GPUs", arXiv 1609.04309.) The probability of
    a rare class is that of its cluster times its own within. Here all clusters are computed for
    all rows, which gives PyTorch's numbers, but does not save what it saves.

    Args:
        in_features: of a row.
        n_classes: in the order of their frequency.
        cutoffs: where clusters begin, rising; before the first one are the frequent classes.
        div_value: by how much each cluster has fewer features than the one before.
        head_bias: whether the frequent classes and the clusters have a bias.

    Attributes:
        head: from a row to the frequent classes and the clusters.
        tail: for each cluster two linear layers without a bias.

    Raises:
        ValueError: `cutoffs` do not rise from 1 to `n_classes - 1` at most.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        dtype: str = "float32",
    ):
        cutoffs = [index(c) for c in cutoffs]
        if not cutoffs or cutoffs != sorted(set(cutoffs)) or not 0 < cutoffs[0] <= n_classes - 1:
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs must rise from 1 to at most {n_classes - 1}, "
                f"got {cutoffs}"
            )
        if cutoffs[-1] > n_classes - 1:
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs must be below n_classes, {n_classes}, got "
                f"{cutoffs}"
            )
        self.in_features, self.n_classes = index(in_features), index(n_classes)
        self.cutoffs, self.div_value = [*cutoffs, self.n_classes], div_value
        self.head_bias = head_bias
        self.head = Linear(in_features, cutoffs[0] + len(cutoffs), head_bias, dtype)
        self.tail = ModuleList()
        for i, first in enumerate(cutoffs):
            hidden = int(in_features // div_value ** (i + 1))
            classes = self.cutoffs[i + 1] - first
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, False, dtype), Linear(hidden, classes, False, dtype)
                )
            )

    def forward(self, x: Tensor, target: Tensor) -> _Found:
        """x: (N, in_features), target: (N,) classes; or without N.

        Returns:
            A pair: `output`, the logarithms of the targets' probabilities, and `loss`, minus their
            mean.

        Raises:
            ShapeError: shapes do not fit.
        """
        if target.shape != x.shape[:-1] or x.ndim not in (1, 2):
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: x must be (N, {self.in_features}) and target (N,), "
                f"or without N; got {x.shape} and {target.shape}"
            )
        logp = self.log_prob(x if x.ndim == 2 else x[None])
        rows = target if x.ndim == 2 else target[None]
        output = -F.nll_loss(logp, rows, axis=-1, reduction="none")
        return _Found(output if x.ndim == 2 else output[0], -ops.mean(output))

    def log_prob(self, x: Tensor) -> Tensor:
        """x: (N, in_features) -> the logarithms of the probabilities of all classes."""
        head, n = F.log_softmax(self.head(x), axis=-1), self.cutoffs[0]
        parts = [head[..., :n]]
        for i, cluster in enumerate(self.tail):
            parts.append(head[..., n + i, None] + F.log_softmax(cluster(x), axis=-1))
        return ops.concatenate(parts, axis=-1)

    def predict(self, x: Tensor) -> Tensor:
        """x: (N, in_features) -> (N,), the most probable class of each row."""
        return ops.argmax(self.log_prob(x), axis=-1)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.n_classes}, cutoffs={self.cutoffs[:-1]}"


class MultiMarginLoss(_Loss):
    """How far scores of other classes reach over that of the target class less a margin.

    Args:
        p: 1 or 2, the power of what reaches over.
        margin: by how much the target's score shall be larger.
        weight: (C,), of each class; or None. A buffer.

    Raises:
        ValueError: `p` is neither 1 nor 2.
    """

    function = staticmethod(F.multi_margin_loss)
    settings = ("p", "margin", "weight", "reduction")

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        if p not in (1, 2):
            raise ValueError(f"MultiMarginLoss: p must be 1 or 2, got {p}")
        self._reduce(size_average, reduce, reduction)
        self._weigh(weight=weight)
        self.p, self.margin = p, margin


class MultiLabelMarginLoss(_Loss):
    """How far scores of other classes reach over those of several target classes.

    Targets are ids in the shape of `x`, of which those count that stand before the first -1.
    """

    function = staticmethod(lambda *args, **options: F.multilabel_margin_loss(*args, **options))


class MultiLabelSoftMarginLoss(_Loss):
    """The mean over the classes of the binary cross entropies of the sigmoid of `x`.

    Args:
        weight: (C,), of each class; or None. A buffer.
    """

    function = staticmethod(F.multilabel_soft_margin_loss)
    settings = ("weight", "reduction")

    def __init__(
        self,
        weight: Any = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        self._reduce(size_average, reduce, reduction)
        self._weigh(weight=weight)


# ---------------------------------------------------------------------------- targets 1 and -1


class SoftMarginLoss(_Loss):
    """`log(1 + exp(-target x))` for targets 1 and -1."""

    function = staticmethod(F.soft_margin_loss)


class HingeEmbeddingLoss(_Loss):
    """Distances `x` of like pairs (target 1), and what those of others (-1) lack of `margin`."""

    function = staticmethod(F.hinge_embedding_loss)
    settings = ("margin", "reduction")

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        self._reduce(size_average, reduce, reduction)
        self.margin = margin


class _OfPairs(_Loss):
    """A loss of pairs."""

    settings = ("margin", "reduction")

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        self._reduce(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, x1: Tensor, x2: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """The loss of `x1` and `x2`; see the function for shapes."""
        return type(self).function(x1, x2, target, **self._settings())


class MarginRankingLoss(_OfPairs):
    """What `x1` lacks of being larger than `x2` (target 1), or smaller (-1), by `margin`."""

    function = staticmethod(F.margin_ranking_loss)


class CosineEmbeddingLoss(_OfPairs):
    """1 - cosine of like pairs (target 1); the cosine of others (-1), where it is over `margin`."""

    function = staticmethod(F.cosine_embedding_loss)


# ------------------------------------------------------------------------------------- distances


class TripletMarginLoss(_Loss):
    """What the negative lacks of being further from the anchor, by `margin`, than the positive.

    Args:
        p: of the norm that distances are.
        eps: added to differences, against the kink at 0.
        swap: take the negative's distance from the positive where that is smaller.

    Raises:
        ValueError: `margin` is not positive.
    """

    function = staticmethod(F.triplet_margin_loss)
    settings = ("margin", "p", "eps", "swap", "reduction")

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        if not margin > 0:
            raise ValueError(f"TripletMarginLoss: margin must be positive, got {margin}")
        self._reduce(size_average, reduce, reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(  # type: ignore[override]
        self, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        """anchor, positive, negative: (N, D) or (D,) -> the loss."""
        return type(self).function(anchor, positive, negative, **self._settings())


class TripletMarginWithDistanceLoss(_Loss):
    """`TripletMarginLoss` with a distance of one's own.

    Args:
        distance_function: of two Tensors, one number a row; `pairwise_distance` by default. It may
            be a module, whose parameters are found.
        margin, swap: as for `TripletMarginLoss`.

    Raises:
        ValueError: `margin` is not positive.
    """

    settings = ("margin", "swap", "reduction")

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ):
        if not margin > 0:
            raise ValueError(
                f"TripletMarginWithDistanceLoss: margin must be positive, got {margin}"
            )
        self._reduce(None, None, reduction)
        self.distance_function = distance_function or F.pairwise_distance
        self.margin, self.swap = margin, swap

    def forward(  # type: ignore[override]
        self, anchor: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        """anchor, positive, negative: of one shape -> the loss."""
        distance = self.distance_function
        near, far = distance(anchor, positive), distance(anchor, negative)
        if self.swap:
            far = ops.minimum(far, distance(positive, negative))
        over = ops.add(near - far, self.margin)
        loss = ops.where(over < 0, 0.0, over)  # with derivative 1 at 0, as PyTorch has it
        reduced: dict[str, Any] = {"none": lambda y: y, "mean": ops.mean, "sum": ops.sum}
        return reduced[self.reduction](loss)


# ------------------------------------------------------------------------------------- sequences


class CTCLoss(_Loss):
    """Minus the logarithm of the probability of all ways to say a target (Graves et al., 2006).

    Args:
        blank: the class that stands for nothing.
        zero_infinity: whether 0 is given where an input is too short for its target.
    """

    function = staticmethod(F.ctc_loss)
    settings = ("blank", "reduction", "zero_infinity")

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        self._reduce(None, None, reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(  # type: ignore[override]
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        """log_probs: (T, N, C), targets: (N, S) or all in one axis, lengths (N,) -> the loss."""
        return type(self).function(
            log_probs, targets, input_lengths, target_lengths, **self._settings()
        )
