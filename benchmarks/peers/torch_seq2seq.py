"""jsl's translator in PyTorch, with the same names, so that weights go over as they are."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Coder(nn.Module):
    """An encoder or decoder: embedding, positions, layers, norm, and perhaps a projection."""

    def __init__(self, layer, vocab_size, positions, config, projects):
        super().__init__()
        dropout = config.get("dropout", 0.0)
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.Embedding(vocab_size, config["d_model"], padding_idx=0)
        self.positions = positions
        self.layers = nn.ModuleList(
            layer(
                config["d_model"],
                config["n_heads"],
                config["d_ff"],
                dropout=dropout,
                activation="relu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config["n_layers"])
        )
        self.norm = nn.LayerNorm(config["d_model"])
        if projects:
            self.output_projection = nn.Linear(config["d_model"], vocab_size)

    def start(self, ids):
        return self.dropout(self.embed(ids) + self.positions[: ids.shape[1]])


class Seq2Seq(nn.Module):
    """One group's transformer; `config` has d_model, n_heads, d_ff, n_layers.

    It may have dropout, and target_vocab_size where that is not the size of the source's.
    """

    def __init__(self, vocab_size: int, config: dict[str, int], positions: np.ndarray):
        super().__init__()
        self.tables = torch.from_numpy(positions)
        self.encoder = Coder(nn.TransformerEncoderLayer, vocab_size, self.tables, config, False)
        vocab_size = config.get("target_vocab_size", vocab_size)
        self.decoder = Coder(nn.TransformerDecoderLayer, vocab_size, self.tables, config, True)

    def forward(self, src, tgt):
        padding = src == 0
        x = self.encoder.start(src)
        for layer in self.encoder.layers:
            x = layer(x, src_key_padding_mask=padding)
        memory = self.encoder.norm(x)
        x = self.decoder.start(tgt)
        shape, device = (tgt.shape[1], tgt.shape[1]), tgt.device
        causal = torch.ones(shape, dtype=torch.bool, device=device).triu(1)
        for layer in self.decoder.layers:
            x = layer(
                x, memory, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=padding
            )
        return self.decoder.output_projection(self.decoder.norm(x))


class Grouped(nn.Module):
    """One model per group; results return in the order of the batch."""

    def __init__(self, models: dict[str, nn.Module]):
        super().__init__()
        self.models = nn.ModuleDict(models)

    def forward(self, groups: list[str], src, tgt):
        if len(self.models) == 1:
            return next(iter(self.models.values()))(src, tgt)
        logits = None
        for name, model in self.models.items():
            rows = torch.tensor([i for i, g in enumerate(groups) if g == name])
            if len(rows):
                part = model(src[rows], tgt[rows])
                if logits is None:
                    logits = part.new_zeros(len(src), *part.shape[1:])
                logits = logits.index_copy(0, rows, part)
        return logits


class Trainer:
    """A model with Adam; `step` does what one step of jsl's training does."""

    def __init__(
        self,
        model: Grouped,
        learning_rate: float,
        fused: bool,
        warmup: int = 0,
        clip_norm: float = 0.0,
        label_smoothing: float = 0.0,
    ):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=fused)
        self.clip_norm, self.label_smoothing = clip_norm, label_smoothing
        self.rate = None
        if warmup:  # up in a straight line, then with the inverse square root of the step
            self.rate = torch.optim.lr_scheduler.LambdaLR(
                self.optimizer, lambda n: n / warmup if n < warmup else (warmup / n) ** 0.5
            )

    def step(self, groups: list[str], src, tgt_in, tgt_out) -> float:
        loss = self._loss(groups, src, tgt_in, tgt_out, self.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        if self.rate is not None:
            self.rate.step()
        return loss.item()

    def _loss(self, groups, src, tgt_in, tgt_out, label_smoothing=0.0):
        logits = self.model(groups, src, tgt_in)
        options = {"ignore_index": 0, "label_smoothing": label_smoothing}
        return F.cross_entropy(logits.flatten(0, 1), tgt_out.flatten(), **options)

    def loss(self, groups: list[str], src, tgt_in, tgt_out) -> float:
        """The loss of a batch with the weights as they are, and without dropout."""
        self.model.eval()
        with torch.no_grad():
            found = self._loss(groups, src, tgt_in, tgt_out).item()
        self.model.train()
        return found

    def weights(self, group: str) -> dict[str, np.ndarray]:
        """The weights of a group's model, by name."""
        return {k: v.numpy() for k, v in self.model.models[group].state_dict().items()}
