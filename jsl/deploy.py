"""Deploying: writing what inference needs of a run, and measuring what smaller weights lose.

The losses are measured on sentences, before anything is written, with weights as they will be read:

    logit_error     the largest difference of logits from those of float32, over the largest of
                    these; the decoder is shown what float32 translates
    changed         how many translations, tag after tag, are other ones
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jsl import archive, checkpoint, deployed
from jsl.batching import padded
from jsl.checkpoint import CHECKPOINTS, CONFIG, METRICS, MODEL, OPTIMIZER, TRAINING, Run
from jsl.corpus import known_group
from jsl.decode import generator
from jsl.errors import RunDirError, TextError, UsageError
from jsl.messages import say
from jsl.model import build_model
from jsl.schema import DTYPES
from jsl.vocabulary import BOUNDARY
from minigrad import nn, no_grad, runs
from minigrad.backend import using
from minigrad.runs.files import place_of
from minigrad.runs.stores import Remote

MOST, FEW = 100, 16  # sentences that are measured on, and how many are too few to tell
BATCH = 25


@dataclass(frozen=True)
class Sentences:
    """What losses are measured on.

    Attributes:
        name: of the file that they are from, or 'random'.
        ids: of each, with its end.
    """

    name: str
    ids: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Deployed:
    """A deployed model that was written.

    Attributes:
        about: the section `deployed` of its config.json.
        groups: that it translates for.
        before: bytes of all files of the run.
        bytes: of its own.
    """

    about: dict[str, Any]
    groups: tuple[str, ...]
    before: int
    bytes: int


def deploy(
    run: Run,
    place: Path | str,
    dtype: str = "float32",
    groups: Sequence[str] | None = None,
    sentences: Sentences | None = None,
    overwrite: bool = False,
) -> Deployed:
    """Write a deployed model: to a directory, or as one file if `place` ends in .zip.

    Args:
        dtype: of the weights: 'float32', 'float16' or 'int8'.
        groups: that it is for; all by default, and always in the run's order.
        sentences: to measure losses on; `starter_sentences` by default.
        overwrite: whether another deployed model may be replaced.

    Raises:
        UsageError: a group is not known, or `place` is where the run is.
        RunDirError: the weights do not fit into the dtype or were rounded already, or `place`
            holds something else or cannot be written.
    """
    if run.deployed is not None and run.deployed["dtype"] != "float32":
        path = checkpoint.shown(run.directory)
        raise RunDirError(say("deploy.rounded", path=path, dtype=run.deployed["dtype"]))
    chosen = chosen_groups(run, groups)
    prepare(run, place, overwrite)
    try:
        weights = weights_of(run, chosen)
        kept = {}
        for name in DTYPES:
            try:
                kept[name] = deployed.stored(weights, name)
            except RunDirError:
                if name == dtype:
                    raise
        about = {
            "format": deployed.FORMAT,
            "dtype": dtype,
            "run": run.deployed["run"]
            if run.deployed
            else _hash(place_of(run.files[MODEL]).read()),
            "normalisation": deployed.normalisation(run.vocabulary.source_kind),
            "measured": measure(run, chosen, kept, sentences or starter_sentences(run)),
        }
        config = {n: v for n, v in run.config.items() if n not in ("training", "progress")}
        corpus = {n: v for n, v in run.config["corpus"].items() if not n.startswith("valid")}
        config |= {"groups": list(chosen), "corpus": corpus, deployed.SECTION: about}
        stream = io.BytesIO()
        runs.save_json(stream, config)
        written = write(place, {CONFIG: stream.getvalue(), MODEL: kept[dtype]})
    except BaseException:
        checkpoint.remove_if_empty(place)
        raise
    before = sum(place_of(file).size() for file in run.files.values())
    return Deployed(about, chosen, before, written)


def chosen_groups(run: Run, groups: Sequence[str] | None) -> tuple[str, ...]:
    """Those of the run that are among `groups`, all if these are none.

    Raises:
        UsageError: one is not the run's; the message lists those that are.
    """
    names = [known_group(run.groups, name) for name in groups or ()]
    return tuple(group for group in run.groups if not names or group in names)


def weights_of(run: Run, groups: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of some groups; what these share with others, too."""
    with using("numpy"):
        model = build_model(run.model, run.vocabulary, run.groups, run.training.seed)
        checkpoint.restore(model, run)
        return nn.Grouped({group: model[group] for group in groups}).state_dict()


# ----------------------------------------------------------------------------------- the losses


def sentences_of(run: Run, name: str, texts: Iterable[str], known: bool = False) -> Sentences:
    """Of the texts that the run can read, at most `MOST`, spread over all of them.

    Args:
        known: whether only texts will do whose words and characters all have ids.

    Raises:
        UsageError: there are none.
    """
    found = list[tuple[int, ...]]()
    for text in dict.fromkeys(texts):
        try:
            if known and run.vocabulary.unknown_in(text):
                continue
            ids = run.vocabulary.encode_text(text)
        except TextError:
            continue
        if len(ids) <= run.model.max_seq_len:
            found.append(tuple(ids))
    if not found:
        raise UsageError(say("deploy.no_texts", path=name))
    places = np.linspace(0, len(found) - 1, MOST).astype(int) if len(found) > MOST else None
    return Sentences(name, tuple(found if places is None else [found[i] for i in places]))


def starter_sentences(run: Run) -> Sentences:
    """Those of the bundled corpus; random ones if a run can read but few of these."""
    from jsl.corpus import load_corpus, starter_corpus_path

    path = starter_corpus_path()
    texts = [row.japanese for row in load_corpus(path, None).rows]
    with suppress(UsageError):  # it can read none
        found = sentences_of(run, path.name, texts, known=True)
        if len(found.ids) >= FEW:
            return found
    return random_sentences(run)


def random_sentences(run: Run) -> Sentences:
    """Of symbols by chance, of all lengths that the run can read."""
    draw = np.random.default_rng(0)
    words = run.vocabulary
    symbols = np.arange(BOUNDARY + 1, len(words.special) + len(words.symbols))
    longest = run.model.max_seq_len - 1
    lengths = 1 + np.arange(MOST) % longest if longest else np.zeros(MOST, int)
    return Sentences(
        "random", tuple((*draw.choice(symbols, n).tolist(), BOUNDARY) for n in lengths)
    )


def measure(
    run: Run, groups: Sequence[str], kept: dict[str, bytes], sentences: Sentences
) -> dict[str, Any]:
    """What config.json says of the losses.

    Args:
        kept: for each dtype, the bytes of model.safetensors.
    """
    with using("numpy"):
        exact = _model(run, groups, deployed.Stored(kept["float32"], "float32").load())
        expected = {group: _translated(run, exact[group], sentences) for group in groups}
        found = {"float32": {"bytes": len(kept["float32"]), "logit_error": 0.0, "changed": 0}}
        for dtype in kept.keys() - found.keys():
            model = _model(run, groups, deployed.Stored(kept[dtype], dtype).load())
            errors, changed = [], 0
            for group in groups:
                tags = expected[group]
                errors.append(_error(exact[group], model[group], sentences.ids, tags))
                other = _translated(run, model[group], sentences)
                changed += sum(a != b for a, b in zip(tags, other, strict=True))
            found[dtype] = {
                "bytes": len(kept[dtype]), "logit_error": max(errors), "changed": changed,
            }  # fmt: skip
    return {
        "texts": sentences.name,
        "sentences": len(sentences.ids),
        "translations": len(sentences.ids) * len(groups),
        "dtypes": {dtype: found[dtype] for dtype in DTYPES if dtype in found},
    }


def _model(run: Run, groups: Sequence[str], weights: dict[str, np.ndarray]) -> nn.Grouped:
    model = build_model(run.model, run.vocabulary, groups, run.training.seed)
    model.load_state_dict(weights)
    model.eval()
    return model


def _translated(run: Run, model: Any, sentences: Sentences) -> list[list[int]]:
    search = generator(model, run.vocabulary, run.model.max_seq_len)
    return [
        ids for start in range(0, len(sentences.ids), BATCH)
        for ids in search.greedy(padded(sentences.ids[start : start + BATCH]))
    ]  # fmt: skip


def _error(
    exact: Any, model: Any, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> float:
    """The largest difference of logits over the largest logit."""
    worst = largest = 0.0
    for start in range(0, len(sources), BATCH):
        shown = [[BOUNDARY, *ids] for ids in targets[start : start + BATCH]]
        src, tgt = padded(sources[start : start + BATCH]), padded(shown)
        with no_grad():
            a, b = exact(src, tgt).data, model(src, tgt).data
        for row, ids in enumerate(shown):  # behind them is padding
            worst = max(worst, float(np.abs(a[row, : len(ids)] - b[row, : len(ids)]).max()))
            largest = max(largest, float(np.abs(a[row, : len(ids)]).max()))
    return worst / largest if largest else worst


# ---------------------------------------------------------------------------------------- writing


def is_zip(place: Path | str) -> bool:
    """Whether a model is to be written as one file."""
    return str(place).lower().endswith(archive.SUFFIX)


def prepare(run: Run, place: Path | str, overwrite: bool) -> None:
    """Refuse a place where something is that would be lost.

    Raises:
        UsageError: the run itself is there.
        RunDirError: it holds something, and `overwrite` is False or it is a run.
    """
    if _same(run.directory, place):
        raise UsageError(say("deploy.same", path=checkpoint.shown(place)))
    if isinstance(place, Path) and place.exists() and place.is_dir() == is_zip(place):
        raise RunDirError(say("deploy.kind", path=place))
    if overwrite and _holds_run(place):
        raise RunDirError(say("deploy.run", path=checkpoint.shown(place)))
    if not is_zip(place):
        checkpoint.prepare(place, overwrite)
    elif not overwrite and _is_file(place):
        raise RunDirError(say("deploy.exists", path=checkpoint.shown(place)))


def _holds_run(place: Path | str) -> bool:
    """Whether there is a run, or what is left of one, that could be trained further."""
    try:
        return checkpoint.load(place).deployed is None
    except RunDirError:
        left = (OPTIMIZER, TRAINING, METRICS, CHECKPOINTS)
        return isinstance(place, Path) and any((place / name).exists() for name in left)


def _is_file(place: Path | str) -> bool:
    if isinstance(place, Path):
        return place.exists()
    with checkpoint.saving(place):  # a store may refuse
        return Remote(place).is_file()


def _same(a: Path | str, b: Path | str) -> bool:
    if isinstance(a, Path) and isinstance(b, Path):
        return a.resolve() == b.resolve()
    return str(a).rstrip("/") == str(b).rstrip("/")


def write(place: Path | str, files: dict[str, bytes]) -> int:
    """Write files with their manifest, whole or not at all; how many bytes that is.

    Raises:
        RunDirError: they cannot be written.
    """
    entries = {n: {"bytes": len(data), "sha256": _hash(data)} for n, data in sorted(files.items())}
    manifest = io.BytesIO()
    runs.save_json(manifest, {"files": entries})
    with checkpoint.saving(place):
        if is_zip(place):
            data = archive.packed({**files, runs.MANIFEST: manifest.getvalue()})
            if isinstance(place, Path):
                place.parent.mkdir(parents=True, exist_ok=True)
            runs.atomic_write(place, data)
            return len(data)
        with runs.transaction(place) as new:
            for name, data in files.items():
                runs.atomic_write(new / name, data)
    return sum(map(len, files.values())) + len(manifest.getvalue())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
