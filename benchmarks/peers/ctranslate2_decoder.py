"""Greedy decoding and beam search in CTranslate2."""

import tempfile
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

from minigrad import nn


class Decoder:
    """A model's weights in CTranslate2, for decoding to a given length.

    Args:
        start_id: starts a sequence and would end it.
        compute_type: 'float32' or 'int8'.
        threads: of one product.
        workers: sentences of a batch are split between so many, each with its own threads.
    """

    def __init__(
        self,
        model: nn.Seq2Seq,
        positions: np.ndarray,
        start_id: int,
        length: int,
        compute_type: str = "float32",
        threads: int = 1,
        workers: int = 1,
    ):
        self.length, self.workers = length, workers
        with tempfile.TemporaryDirectory() as directory:
            spec = specification(model, positions, start_id)
            spec.validate()
            if compute_type == "int8":
                spec.optimize(quantization="int8")
            else:
                spec.optimize()
            spec.save(directory)
            self.translator = ctranslate2.Translator(
                directory,
                device="cpu",
                compute_type=compute_type,
                intra_threads=threads,
                inter_threads=workers,
            )

    def tokens(self, src: np.ndarray) -> list[list[str]]:
        """What `search` takes, of (B, S) ids."""
        return [[str(i) for i in row] for row in src.tolist()]

    def search(self, tokens: list[list[str]], beam: int = 1) -> list[list[str]]:
        found = self.translator.translate_batch(
            tokens,
            beam_size=beam,
            length_penalty=1,
            max_decoding_length=self.length,
            min_decoding_length=self.length,
            max_batch_size=-(-len(tokens) // self.workers) if self.workers > 1 else 0,
        )
        return [result.hypotheses[0] for result in found]


def specification(model: nn.Seq2Seq, positions: np.ndarray, start_id: int) -> Any:
    """The weights of a Pre-LN model with relu, where CTranslate2 wants them.

    Copies: it scales some of what it is given in place.
    """
    encoder, decoder = model.encoder, model.decoder
    spec = transformer_spec.TransformerSpec.from_config(
        (len(encoder.layers), len(decoder.layers)),
        encoder.layers[0].self_attn.num_heads,
        pre_norm=True,
        activation=common_spec.Activation.RELU,
    )
    names = [str(i) for i in range(len(decoder.output_projection.weight.data))]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.bos_token = spec.config.eos_token = names[start_id]
    spec.config.decoder_start_token = names[start_id]
    spec.config.unk_token = names[0]
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.config.layer_norm_epsilon = encoder.norm.eps

    def linear(target, *sources):
        target.weight = np.concatenate([m.weight.data for m in sources])
        target.bias = np.concatenate([m.bias.data for m in sources])

    def norm(target, source):
        target.gamma, target.beta = source.weight.data.copy(), source.bias.data.copy()

    def self_attention(target, source, before):
        norm(target.layer_norm, before)
        linear(target.linear[0], source.q_proj, source.k_proj, source.v_proj)
        linear(target.linear[1], source.out_proj)

    def feed_forward(target, source, before):
        norm(target.layer_norm, before)
        linear(target.linear_0, source.linear1)
        linear(target.linear_1, source.linear2)

    for part, source in ((spec.encoder, encoder), (spec.decoder, decoder)):
        embeddings = part.embeddings[0] if isinstance(part.embeddings, list) else part.embeddings
        embeddings.weight = source.embed.weight.data.copy()
        part.scale_embeddings = False
        part.position_encodings.encodings = positions.copy()
        norm(part.layer_norm, source.norm)
    for target, source in zip(spec.encoder.layer, encoder.layers, strict=True):
        self_attention(target.self_attention, source.self_attn, source.norm1)
        feed_forward(target.ffn, source, source.norm2)
    for target, source in zip(spec.decoder.layer, decoder.layers, strict=True):
        self_attention(target.self_attention, source.self_attn, source.norm1)
        attention, cross = target.attention, source.multihead_attn
        norm(attention.layer_norm, source.norm2)
        linear(attention.linear[0], cross.q_proj)
        linear(attention.linear[1], cross.k_proj, cross.v_proj)
        linear(attention.linear[2], cross.out_proj)
        feed_forward(target.ffn, source, source.norm3)
    linear(spec.decoder.projection, decoder.output_projection)
    return spec
