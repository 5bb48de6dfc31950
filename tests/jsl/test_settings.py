"""--config: options from real TOML files, as good as those on the command line."""

import json
from pathlib import Path

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jsl import checkpoint, options, settings, usage
from jsl import help as helping
from jsl.cli import cli
from jsl.errors import UsageError

QUICK = "d-model = 8\nd_ff = 8\nlayers = 1\nepochs = 1\n"


@pytest.fixture
def written():
    def write(text, name="jsl.toml", encoding="utf-8"):
        Path(name).write_text(text, encoding=encoding, newline="\n")
        return name

    return write


@pytest.fixture
def train(run, corpus_path):
    def train(*arguments):
        return run("train", "--corpus", corpus_path, "--save", "a", *arguments)

    return train


def test_a_file_gives_options(train, written):
    file = written(f'lang = "ja"\n[train]\n{QUICK}max-length = "auto"\nlearning_rate = 1\n')
    found = train("--config", file)
    assert (found.code, found.err) == (0, "")
    assert found.lines[-1] == "a に保存しました。"
    loaded = checkpoint.load(Path("a"))
    assert (loaded.model.d_model, loaded.model.d_ff, loaded.model.n_layers) == (8, 8, 1)
    assert (loaded.training.epochs, loaded.training.learning_rate) == (1, 1.0)


def test_the_command_line_wins_and_a_table_over_what_is_above(run, written, corpus_path):
    file = written(f'd_ff = 3\nseed = 7\nlang = "ja"\n[train]\n{QUICK}')
    for before, after in ((["--config", file], []), ([], ["--config", file])):
        place = f"a{len(after)}"
        given = ["--epochs", 2, "--save", place, "--lang", "en"]
        found = run(*before, "train", *after, *given, "--corpus", corpus_path)
        assert found.code == 0, found.err
        assert found.lines[-1] == f"Saved to {place}."
        loaded = checkpoint.load(Path(place))
        assert (loaded.training.epochs, loaded.training.seed, loaded.model.d_ff) == (2, 7, 8)


def test_what_the_command_line_says_of_the_language_wins_wherever_it_stands(run, written):
    file = written('lang = "ja"\n')
    assert run("warmup", "--config", file, "x").err.startswith("使い方")
    assert run("--lang", "en", "warmup", "--config", file, "x").err.startswith("Usage")
    assert run("--config", file, "warmup", "--lang", "en", "x").err.startswith("Usage")


def test_required_options_flags_and_names_may_be_in_a_file(run, learned, written):
    load = json.dumps(str(learned))
    file = written(f'backend = "numpy"\n[predict]\nload = {load}\njson = true\ngroup = "甲"\n')
    found = run("predict", "はい", "--config", file)
    assert (found.code, found.err) == (0, "")
    [only] = json.loads(found.out)["translations"]
    assert (only["group"], only["tags"]) == ("甲", ["<はい>"])
    found = run("--config", file, "predict", "はい", "--group", "乙")
    assert json.loads(found.out)["translations"][0]["group"] == "乙"


def test_a_file_may_ask_for_tracebacks(run, written):
    file = written("debug = true\n")
    command = ["predict", "--load", "none", "x"]
    assert run(*command).err.startswith("Error: ")
    for whole in (["--config", file, *command], [*command, "--config", file]):
        assert run(*whole).err.startswith("Traceback")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepochs = 3\nepoch = 3\n", "jsl.toml:3: There is no option train.epoch. The "),
        ("[train]\nlerning-rate = 1\n", "jsl.toml:2: There is no option train.lerning-rate. The "),
        ("[train]\nlerning_rate = 1\n", "The nearest one is learning-rate."),
        ("[trian]\nepochs = 1\n", "jsl.toml:1: There is no option trian. The nearest one is train"),
        ("x = 1\n[train]\n", "jsl.toml:1: There is no option x. There are: "),
        ("train.epochs = 1\ntrain.q = 1\n", "jsl.toml:2: There is no option train.q."),
        ('[predict]\nepochs = 1\n', "jsl.toml:2: There is no option predict.epochs."),
        ("train = 3\n", "jsl.toml:1: train is a command; make it a table, [train]."),
        ("[train]\n\n'epochs' = 'a'\n", "jsl.toml:3: epochs should be an integer; it is 'a'."),
        ("[train]\nepochs = 1.5\n", "epochs should be an integer; it is 1.5."),
        ("[train]\nepochs = true\n", "epochs should be an integer; it is True."),
        ("[train]\nepochs = [1]\n", "epochs should be an integer; it is [1]."),
        ("epochs = {}\n", "There is no option epochs."),
        ("epochs = 'a'\n", "jsl.toml:1: epochs should be an integer; it is 'a'."),
        ("[train]\nlearning-rate = '1'\n", "learning-rate should be a number; it is '1'."),
        ("[train]\nmax-length = 1.5\n", "should be an integer or a string; it is 1.5."),
        ("[train]\nno-jit = 1\n", "no-jit should be true or false; it is 1."),
        ("[train]\ncorpus = 1\n", "corpus should be a string (in quotes); it is 1."),
        ("[train]\ncorpus = 2001-01-01\n", "corpus should be a string (in quotes)"),
        ("[train]\nd-ff = 1\nd_ff = 1\n", "jsl.toml:3: d-ff, d_ff are the same option."),
        ("[train]\nheads = 1\nn_heads = 1\n", "heads, n_heads are the same option."),
        ("[train]\nconfig = 'a'\n", "There is no option train.config."),
        ("help = true\n", "There is no option help."),
        ("version = true\n", "There is no option version."),
        ("[train\n", "The settings jsl.toml are not TOML: "),
        ("[train]\nx = " + "[" * 10_000, "The settings jsl.toml are not TOML: "),
        ("[train]\nepochs = 0\n", "jsl.toml:2: --epochs: expected an integer from 1 to "),
        ("\n\nepochs = 0\n", "jsl.toml:3: --epochs: expected an integer from 1 to "),
        ("[train]\nlearning-rate = nan\n", "jsl.toml:2: --learning-rate: expected a positive"),
        ("[train]\npreset = 'big'\n", "--preset: expected one of tiny, long, large, got big."),
        ("[train]\nd-model = 1_000_000\n", "jsl.toml:2: --d-model: expected an integer"),
        ("lang = 'fr'\n", "jsl.toml:1: --lang: expected one of ja, en, got fr."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_place(train, written, text, message):
    found = train("--config", written(text))
    assert (found.code, found.out) == (2, "")
    assert message in found.err.replace("\\\\", "/")
    assert len(found.err) < 1000
    assert not Path("a").exists()


def test_the_whole_file_is_checked_whichever_command_is_called(run, written):
    for text in ("[predict]\nbeam = 'a'\n", "[verify]\nx = 1\n"):
        found = run("warmup", "--config", written(text))
        assert (found.code, found.out) == (2, "")
        assert "jsl.toml:2: " in found.err


def test_files_that_are_none(train, written):
    assert "The settings none.toml cannot be read: " in train("--config", "none.toml").err
    assert "cannot be read: " in train("--config", ".").err
    file = written('lang = "日本"\n', encoding="cp932")
    assert "The settings jsl.toml are not UTF-8 (after 8 bytes)." in train("--config", file).err
    file = written(f"[train]\n{QUICK}", encoding="utf-8-sig")
    assert train("--config", file).code == 0


def test_one_file_is_enough(run, written):
    file = written("")
    found = run("--config", file, "warmup", "--config", file)
    assert found.code == 2
    assert "Give --config once" in found.err


def sample(option):
    """A TOML value that an option takes, and what comes of it."""
    kind = option.type
    if option.is_flag:
        return "true", True
    if isinstance(kind, options.Integer):
        return str(kind.min), kind.min
    if isinstance(kind, options.Positive):
        return "0.5", 0.5
    if isinstance(kind, options.Several):
        return '"encoder, embeddings"', ("encoder", "embeddings")
    value = kind.choices[0] if isinstance(kind, click.Choice) else "x"
    return (f'["{value}"]', (value,)) if option.multiple else (f'"{value}"', value)


PAGES = [*helping.pages(cli, "jsl")]
KEYS = [
    pytest.param(page, key, option, id=f"{page.command_path} {key}")
    for page in PAGES
    for key, option in settings.keys_of(page.command).items()
    if option.expose_value
]


@pytest.mark.parametrize(("page", "key", "option"), KEYS)
def test_every_option_can_be_in_a_file(page, key, option, written, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    value, expected = sample(option)
    path = settings.names_of(page)
    file = written(f"[{'.'.join(path)}]\n{key} = {value}\n")
    arguments = ["--config", file]
    for other in page.command.params:
        if isinstance(other, click.Argument):
            arguments.append("x")
        elif other.required and other is not option:
            arguments += [other.opts[0], str(sample(other)[1])]
    parent = click.Context(cli, info_name="jsl")
    for name in path[:-1]:
        group = cli.get_command(parent, name)
        parent = click.Context(group, info_name=name, parent=parent)
    context = page.command.make_context(path[-1], arguments, parent=parent)
    found = context.params[option.name]
    if isinstance(option.type, options.Path):
        found = tuple(map(str, found)) if option.multiple else str(found)
    assert found == expected


def test_commands_may_stand_below_others(written, monkeypatch, tmp_path):
    """As in `jsl corpus generate`; texts are borrowed."""
    monkeypatch.chdir(tmp_path)
    seen = []

    @helping.command("help.train")
    @helping.option("--seed", type=options.Integer(0), help="help.train.seed")
    def generate(seed):
        seen.append(seed)

    @helping.group("help.verify")
    def corpus():
        pass

    corpus.add_command(generate)
    root = helping.Commands("jsl", help="help.jsl")
    root.add_command(corpus)
    paths = [page.command_path for page in helping.pages(root, "jsl")]
    assert paths == ["jsl", "jsl verify", "jsl verify train"]
    assert "Train a translator on a corpus" in corpus.get_help(click.Context(corpus))
    file = written("seed = 1\n[verify.train]\nseed = 2\n")
    for arguments in (
        ["--config", file, "verify", "train"],
        ["verify", "--config", file, "train"],
        ["verify", "train", "--config", file],
        ["verify", "train", "--config", file, "--seed", "3"],
    ):
        root.main(arguments, "jsl", standalone_mode=False)
    assert seen == [2, 2, 2, 3]
    file = written("[verify]\ntrain.seed = -1\n")
    with pytest.raises(click.BadParameter) as error:
        root.main(["verify", "train", "--config", file], "jsl", standalone_mode=False)
    assert usage.explain(error.value).startswith("jsl.toml:2: --seed: ")
    with pytest.raises(UsageError, match=r"verify\.train\.seeds"):
        root.main(["--config", written("[verify.train]\nseeds = 1\n"), "verify"], "jsl")


WORDS = [
    "train",
    "epochs",
    "d-ff",
    "lang",
    "x",
    "[",
    "]",
    "=",
    "1",
    "'ja'",
    "\n",
    ".",
    "{",
    "}",
    "#",
]


@given(st.lists(st.sampled_from(WORDS), max_size=14).map("".join))
@example("[[train]]\nepochs = 1\n")
@example("train = {epochs = 'x'}\n")
@example("[train.epochs]\nx = 1\n")
@example("[train]\nepochs = {x = 1}\n")
def test_whatever_a_file_holds_it_is_taken_or_refused(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text, encoding="utf-8", newline="\n")
    found = defaults_or_error(file)
    if isinstance(found, str):
        assert "any.toml" in found
    else:
        assert set(found) >= set(cli.list_commands(PAGES[0]))


def defaults_or_error(file):
    try:
        return settings.Settings(file, cli, PAGES[0]).defaults
    except UsageError as error:
        return str(error)
