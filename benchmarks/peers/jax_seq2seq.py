"""jsl's translator and its training step in JAX, compiled whole; weights by PyTorch's names."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def norm(p, name, x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    y = (x - mean) * jax.lax.rsqrt(variance + 1e-5)
    return y * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(p, name, x, memory, mask, heads):
    def split(x):
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    q, k, v = (
        split(linear(p, f"{name}.{kind}_proj", y))
        for kind, y in zip("qkv", (x, memory, memory), strict=True)
    )
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    y = (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape)
    return linear(p, f"{name}.out_proj", y)


def feed_forward(p, name, x):
    return linear(p, f"{name}.linear2", jax.nn.relu(linear(p, f"{name}.linear1", x)))


def logits(p, src, tgt, positions, heads, layers):
    seen = (src != 0)[:, None, None, :]
    causal = jnp.tril(jnp.ones((tgt.shape[1], tgt.shape[1]), bool))
    x = p["encoder.embed.weight"][src] + positions[: src.shape[1]]
    for i in range(layers):
        name = f"encoder.layers.{i}"
        h = norm(p, f"{name}.norm1", x)
        x = x + attention(p, f"{name}.self_attn", h, h, seen, heads)
        x = x + feed_forward(p, name, norm(p, f"{name}.norm2", x))
    memory = norm(p, "encoder.norm", x)
    x = p["decoder.embed.weight"][tgt] + positions[: tgt.shape[1]]
    for i in range(layers):
        name = f"decoder.layers.{i}"
        h = norm(p, f"{name}.norm1", x)
        x = x + attention(p, f"{name}.self_attn", h, h, causal, heads)
        h = norm(p, f"{name}.norm2", x)
        x = x + attention(p, f"{name}.multihead_attn", h, memory, seen, heads)
        x = x + feed_forward(p, name, norm(p, f"{name}.norm3", x))
    return linear(p, "decoder.output_projection", norm(p, "decoder.norm", x))


def loss_of(p, src, tgt, out, **options):
    scores = jax.nn.log_softmax(logits(p, src, tgt, **options))
    counted = out != 0
    each = -jnp.take_along_axis(scores, out[..., None], axis=-1)[..., 0]
    return jnp.where(counted, each, 0).sum() / counted.sum()


class Trainer:
    """Weights and Adam's state; `step` does all of a training step in one compiled call."""

    def __init__(self, state: dict[str, np.ndarray], positions, heads: int, layers: int, lr: float):
        self.weights = {k: jnp.asarray(v) for k, v in state.items()}
        self.moments = [{k: jnp.zeros_like(v) for k, v in self.weights.items()} for _ in "mv"]
        self.count = jnp.zeros((), jnp.int32)
        options = {"positions": jnp.asarray(positions), "heads": heads, "layers": layers}

        @partial(jax.jit, donate_argnums=(0, 1, 2))
        def step(weights, m, v, count, src, tgt, out):
            loss, grads = jax.value_and_grad(partial(loss_of, **options))(weights, src, tgt, out)
            count = count + 1
            rate, root = lr / (1 - 0.9**count), 1 / jnp.sqrt(1 - 0.999**count)
            for k, g in grads.items():
                # a padding id keeps its zero vector
                g = g.at[0].set(0) if k.endswith("embed.weight") else g
                m[k] = 0.9 * m[k] + 0.1 * g
                v[k] = 0.999 * v[k] + 0.001 * g * g
                weights[k] = weights[k] - rate * m[k] / (jnp.sqrt(v[k]) * root + 1e-8)
            return weights, m, v, count, loss

        self._step = step

    def step(self, src, tgt, out) -> float:
        self.weights, *self.moments, self.count, loss = self._step(
            self.weights, *self.moments, self.count, src, tgt, out
        )
        return float(loss)
