"""The examples, run small; the figures that they reach in full are in their docstrings."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim, runs
from minigrad.examples import (
    adversarial,
    command,
    digits_cnn,
    digits_gan,
    digits_vae,
    entity_embedding,
    grouped,
    mnist_cnn,
    mnist_vae,
    score_matching,
    toy_classifier,
)


@pytest.fixture
def mnist(tmp_path):
    """A folder with idx files of 200 and 100 pictures, whose label is the row of a bright bar."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, count in (("train", 200), ("t10k", 100)):
        labels = np.arange(count) % 10
        images = np.random.default_rng(0).integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 3 : 2 * label + 6] = 250
        data.write_idx(folder / f"{part}-images-idx3-ubyte", images)
        data.write_idx(folder / f"{part}-labels-idx1-ubyte", labels.astype(np.uint8))
    return folder


def written(out):
    return {path.name for path in out.iterdir() if path.stat().st_size}


def test_the_idioms_have_identical_losses(tmp_path):
    found = toy_classifier.run(epochs=2, samples=500, out=tmp_path)
    assert found["last loss"] < found["first loss"]
    assert written(tmp_path) == {"toy_classifier.png"}
    x, y = data.ToyDataGenerator(dim=2, n_class=5).sample(500)
    batches = [(mg.tensor(x[i : i + 50]), mg.tensor(y[i : i + 50])) for i in range(0, 500, 50)]
    each = [
        idiom(toy_classifier.network(3), batches, 2) for idiom in toy_classifier.IDIOMS.values()
    ]
    assert each[0] == each[1] == each[2]
    assert len(each[0]) == 20


def test_digits_are_learned(tmp_path):
    found = digits_cnn.run(epochs=2, samples=600, out=tmp_path)
    assert found["accuracy"] > 0.2
    assert written(tmp_path) == {"digits_cnn.png"}


def test_an_attack_lowers_its_loss(tmp_path):
    found = adversarial.run(epochs=1, samples=300, out=tmp_path, steps=5)
    assert found["last loss"] < found["first loss"]
    assert found["mean fall of the loss"] > 0
    assert 0 <= found["success rate over all targets"] <= 1
    assert written(tmp_path) == {"adversarial.png"}


def test_the_attack_goes_down_the_slope_of_its_loss():
    model = digits_cnn.network(0)
    x = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    d, losses = adversarial.attack(model, x, np.array([3]), x, steps=1, rate=1e-3)

    def loss(d):
        loss = nn.functional.cross_entropy(model(mg.tensor(x) + d), mg.tensor([3]))
        return loss + adversarial.C * mg.abs(d).mean()

    slope = mg.grad(loss)(mg.tensor(x)).detach().numpy()
    np.testing.assert_allclose(d, x - 1e-3 * slope, rtol=1e-4, atol=1e-6)
    assert losses[0, 0] == pytest.approx(loss(mg.tensor(x)).detach().item(), rel=1e-5)


def test_a_vae_learns(tmp_path):
    found = digits_vae.run(epochs=3, samples=320, out=tmp_path)
    assert found["last loss"] < found["first loss"]
    assert found["last reconstruction"] < found["first reconstruction"]
    assert found["first kl"] >= 0
    assert found["last kl"] >= 0
    assert written(tmp_path) == {"digits_vae.png", "losses.png"}


def test_the_kl_of_the_vae_is_that_of_numeric_integration():
    mean, log_variance = 0.7, -0.9
    z = np.linspace(-12, 12, 200_001)
    p = np.exp(-((z - mean) ** 2) / (2 * math.exp(log_variance)))
    p /= np.trapezoid(p, z)
    q = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    expected = np.trapezoid(p * (np.log(p + 1e-300) - np.log(q + 1e-300)), z)
    model = digits_vae.VAE(0.01)
    model.enc.forward = lambda x: (
        mg.full((2, digits_vae.LATENT), mean), mg.full((2, digits_vae.LATENT), log_variance)
    )  # fmt: skip
    _, kl = model.losses(mg.zeros((2, 1, 8, 8)))
    assert kl.item() == pytest.approx(expected, rel=1e-4)


def test_a_gan_trains_both_its_parts(tmp_path):
    found = digits_gan.run(epochs=1, samples=96, out=tmp_path, ratio=2)
    assert all(math.isfinite(value) for value in found.values())
    assert written(tmp_path) == {"digits_gan.png", "losses.png"}


def test_steps_of_a_gan_leave_the_other_part_alone():
    model = digits_gan.GAN()
    optimizers = {name: optim.Adam(getattr(model, name)) for name in ("dis", "gen")}
    learner = digits_gan.GANLearner(model, optimizers, verbose=0)
    x = mg.rand(4, 1, 8, 8)
    for step, mine, other in (
        (learner.discriminate, model.dis, model.gen),
        (learner.generate, model.gen, model.dis),
    ):
        before = [{k: v.copy() for k, v in part.state_dict().items()} for part in (mine, other)]
        model.gen.eval()
        step(x)
        assert any((before[0][k] != v).any() for k, v in mine.state_dict().items())
        assert all((before[1][k] == v).all() for k, v in other.state_dict().items())
    before = {k: v.copy() for k, v in model.state_dict().items()}
    assert set(learner.evaluate((x.numpy(),))) == {"discriminator", "generator"}
    assert all((before[k] == v).all() for k, v in model.state_dict().items())


@pytest.mark.parametrize("estimator", score_matching.ESTIMATORS)
def test_a_score_is_learned(tmp_path, estimator):
    found = score_matching.run(
        epochs=2, samples=400, out=tmp_path, estimator=estimator, points=200, frames=3
    )
    assert found["last loss"] < found["first loss"]
    assert written(tmp_path) == {"langevin.gif", "score_matching.png"}


def test_the_estimators_of_the_divergence_agree():
    mg.random.seed(0)
    model, x = score_matching.ScoreModel(), mg.randn(5, 2)
    with mg.no_grad():
        s, exact = score_matching.exact(model, x)
        found = [score_matching.hutchinson(model, x) for _ in range(400)]
    assert all((other.numpy() == s.numpy()).all() for other, _ in found[:3])
    mean = np.mean([div.numpy() for _, div in found], axis=0)
    np.testing.assert_allclose(mean, exact.numpy(), atol=0.05)


def test_the_energy_distance_is_zero_for_the_same_points_only():
    x = np.random.default_rng(0).normal(size=(300, 2))
    assert score_matching.energy_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert score_matching.energy_distance(x, x + 1) > 0.5


def test_mnist_from_files(mnist, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    found = mnist_cnn.run(epochs=3, out=out, folder=mnist, check=False)
    assert found["test accuracy"] > 0.5
    assert found["steps a second"] > 0


def test_mnist_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        mnist_cnn.run(folder=tmp_path)


def test_the_eight_steps(mnist, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    found = mnist_vae.run(epochs=2, out=out, folder=mnist, check=False)
    assert found["kl"] >= 0
    assert 0 < found["error of the compact record"] < 1e-3
    assert {"artifacts", "mnist_vae.png", "model.safetensors"} <= {p.name for p in out.iterdir()}
    config = json.loads((out / "artifacts" / "config.json").read_text(encoding="utf-8"))
    assert config["config"]["model"] == {"pixels": 784, "hidden": 400, "latent": 20}
    record = runs.load_arrays(out / "model.safetensors")
    assert {v.dtype for v in record.values()} == {np.dtype(np.float16)}


def test_groups_behind_one_loss(tmp_path):
    found = grouped.run(epochs=3, samples=300, out=tmp_path)
    assert found["loss"] < 1
    assert {"grouped.png", "run"} <= {path.name for path in tmp_path.iterdir()}


def test_categories_are_worth_something():
    found = entity_embedding.run(epochs=8, samples=1500)
    assert found["squared error with categories"] < found["squared error without"]


def test_the_command_line(tmp_path):
    shown = subprocess.run(
        [
            sys.executable, "-m", "minigrad.examples.toy_classifier",
            "--epochs", "1", "--seeds", "2", "--idioms", "torch", "--out", str(tmp_path / "new"),
        ],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "mean over seeds 0 to 1" in shown.stdout
    assert written(tmp_path / "new") == {"toy_classifier.png"}


def test_the_spread_of_figures():
    found = command.spread([{"a": 1.0}, {"a": 3.0}])
    assert found == "  a  2.0000 +- 1.4142  (1.0000 to 3.0000)"
