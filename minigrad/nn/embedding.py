"""Look-up tables."""

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, Self

from minigrad import ops
from minigrad.arguments import count
from minigrad.autodiff import Tensor
from minigrad.backend import xp
from minigrad.errors import OutOfRangeError, ShapeError
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter
from minigrad.writes import wrote


class _Table(Module):
    """What `Embedding` and `EmbeddingBag` share."""

    def _prepare(self, num_embeddings, embedding_dim, padding_idx, dtype, weight=None) -> None:
        name = type(self).__name__
        n = self.num_embeddings = count(name, "num_embeddings", num_embeddings, least=0)
        self.embedding_dim = count(name, "embedding_dim", embedding_dim, least=0)
        if padding_idx is not None and not -n <= padding_idx < n:
            raise OutOfRangeError(f"{name}: padding_idx must be in [{-n}, {n}), got {padding_idx}")
        self.padding_idx = None if padding_idx is None else index(padding_idx) % n
        if weight is None:
            weight = init.normal((n, self.embedding_dim), dtype=dtype)
        self.weight = weight
        self.loaded()

    @classmethod
    def _given(cls, embeddings: Any, freeze: bool) -> Tensor:
        """A parameter with the numbers of `embeddings`, in an array of its own."""
        array = Tensor(embeddings).data
        if array.ndim != 2:
            raise ShapeError(
                f"{cls.__name__}.from_pretrained: embeddings must be (num_embeddings, "
                f"embedding_dim), got {array.shape}"
            )
        return Parameter(xp().array(array), requires_grad=not freeze)

    def loaded(self) -> None:
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0
            wrote(self.weight.data)

    def extra_repr(self) -> str:
        usual = {
            "padding_idx": None, "max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False,
            "mode": None, "sparse": False, "include_last_offset": False,
        }  # fmt: skip
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        parts += [
            f"{name}={mine!r}"
            for name, value in usual.items()
            if (mine := getattr(self, name, value)) != value
        ]
        return ", ".join(parts)


class Embedding(_Table):
    """One trainable vector per id.

    Args:
        num_embeddings: how many ids there are, from 0 on.
        embedding_dim: the length of the vectors.
        padding_idx: this id has the zero vector, which no gradient reaches, and which is zero after
            loading whatever was loaded; negative ones count from the end.
        max_norm: vectors that are longer come out scaled to this norm. The weight stays as it is.
        norm_type: the p of the norm.
        scale_grad_by_freq: divide a vector's gradient by how often its id occurs in the input.
        sparse: let `weight.grad` be `minigrad.sparse.SparseRows`, of the vectors that were looked
            up alone, which spares an optimizer such as `SparseAdam` the others.

    Attributes:
        weight: (num_embeddings, embedding_dim), standard normal.

    Raises:
        OutOfRangeError: an id is out of range; the message names its position and value.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        dtype: str = "float32",
        _weight: Tensor | None = None,
    ):
        self._prepare(num_embeddings, embedding_dim, padding_idx, dtype, _weight)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """An Embedding with these vectors, of which it takes a copy.

        Args:
            embeddings: (num_embeddings, embedding_dim): an array, a Tensor or lists.
            freeze: whether training leaves them as they are.

        The others as for the class; the vector of `padding_idx` becomes zero.
        """
        weight = cls._given(embeddings, freeze)
        n, features = weight.shape
        return cls(
            n, features, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            _weight=weight,
        )  # fmt: skip

    def forward(self, ids: Tensor) -> Tensor:
        """ids: integers of any shape -> (*ids.shape, embedding_dim)."""
        return F.embedding(
            as_ids(ids), self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip


class EmbeddingBag(_Table):
    """The sum, mean or maximum of the vectors of a bag of ids, without keeping them apart.

    Args:
        num_embeddings, embedding_dim, max_norm, norm_type, scale_grad_by_freq, sparse: as for
            `Embedding`.
        mode: 'sum', 'mean' or 'max'.
        include_last_offset: whether offsets have the end of the last bag, too.
        padding_idx: this id counts as if it were not there; its vector is zero.

    Attributes:
        weight: (num_embeddings, embedding_dim), standard normal.

    Raises:
        ValueError: `mode` is none of the three.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        dtype: str = "float32",
    ):
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"EmbeddingBag: mode must be 'sum', 'mean' or 'max', got {mode!r}")
        self._prepare(num_embeddings, embedding_dim, padding_idx, dtype, _weight)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.mode, self.sparse = scale_grad_by_freq, mode, sparse
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:
        """An EmbeddingBag with these vectors, see `Embedding.from_pretrained`."""
        weight = cls._given(embeddings, freeze)
        n, features = weight.shape
        return cls(
            n, features, max_norm, norm_type, scale_grad_by_freq, mode, sparse, weight,
            include_last_offset, padding_idx,
        )  # fmt: skip

    def forward(self, ids: Tensor, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """One vector a bag: (bags, embedding_dim).

        Args:
            ids: (bags, n) integers; or (n,) for all bags, one after the other.
            offsets: (bags,) where each begins in (n,) ids.
            per_sample_weights: of the shape of `ids`: what each vector is multiplied by, in mode
                'sum'.
        """
        return F.embedding_bag(
            as_ids(ids), self.weight, None if offsets is None else as_ids(offsets), self.max_norm,
            self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse, per_sample_weights,
            self.include_last_offset, self.padding_idx,
        )  # fmt: skip


class EntityEmbedding(Module):
    """One vector of several categories and continuous features, as input of an MLP.

    (Guo and Berkhahn, "Entity embeddings of categorical variables", arXiv 1604.06737.)

        entities = nn.EntityEmbedding({"sex": 2, "job": 22}, 8, continuous=3)
        mlp = nn.Sequential(entities, nn.Linear(entities.features, 32), nn.ReLU(), ...)
        mlp({"sex": [0, 1], "job": [3, 12]}, ...)

    Args:
        sizes: how many values each category has.
        embedding_dim: the length of each category's vectors: one for all, or by name.
        continuous: how many continuous features there are.

    Attributes:
        tables: one `Embedding` for each category.
        features: the length of the result.

    Raises:
        ShapeError: `embedding_dim` has other names than `sizes`.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        embedding_dim: int | Mapping[str, int],
        continuous: int = 0,
        dtype: str = "float32",
    ):
        dims = (
            embedding_dim
            if isinstance(embedding_dim, Mapping)
            else dict.fromkeys(sizes, embedding_dim)
        )
        if dims.keys() != sizes.keys():
            raise ShapeError(
                f"EntityEmbedding: embedding_dim must have the names of sizes, {list(sizes)}, got "
                f"{list(dims)}"
            )
        self.tables = {name: Embedding(n, dims[name], dtype=dtype) for name, n in sizes.items()}
        self.continuous = index(continuous)
        self.features = self.continuous + sum(t.embedding_dim for t in self.tables.values())

    def forward(self, ids: Mapping[str, Any] | Sequence[Any] | Tensor, x: Any = None) -> Tensor:
        """The vectors of all categories and the continuous features, side by side.

        Args:
            ids: the ids (B,) of each category by name; or (B, categories) in their order.
            x: (B, continuous), if there are continuous features.

        Returns:
            (B, features).

        Raises:
            ShapeError: these are not the categories or the continuous features that it was made
                for.
        """
        if not isinstance(ids, Mapping):
            ids = as_ids(ids)
            if ids.shape[-1:] != (len(self.tables),):
                raise ShapeError(
                    f"EntityEmbedding: ids must be (B, {len(self.tables)}), got {ids.shape}"
                )
            ids = {name: ids[..., i] for i, name in enumerate(self.tables)}
        elif ids.keys() != self.tables.keys():
            raise ShapeError(
                f"EntityEmbedding: ids must have the names {list(self.tables)}, got {list(ids)}"
            )
        parts = [table(ids[name]) for name, table in self.tables.items()]
        given = 0 if x is None else x.shape[-1]
        if given != self.continuous:
            raise ShapeError(
                f"EntityEmbedding: x must have {self.continuous} continuous features, got "
                f"{'none' if x is None else x.shape}"
            )
        if x is not None:
            parts.append(ops.astype(x, dtype=parts[0].dtype))
        return ops.concatenate(parts, axis=-1)

    def extra_repr(self) -> str:
        return f"continuous={self.continuous}, features={self.features}"


def as_ids(ids: Any) -> Tensor:
    """Ids as a Tensor: made from an array, a list of lists or one id alone."""
    return ids if type(ids) is Tensor else Tensor(ids)
