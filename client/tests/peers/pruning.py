#!/usr/bin/env python3
"""Compares what pruning removes with Torch-Pruning, and with the criteria computed by PyTorch, NumPy and scikit-learn.

    pruning.py --bin FOLDER

The smallest filters of ResNet-18 by L1 must be those that Torch-Pruning removes, and the two nets that are left must have the same logits. By the other
criteria the filters that FOLDER/assay removes from the first convolution of each block must be those of the lowest scores, where these are far enough apart.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import torch
import torch_pruning
from onnx import numpy_helper
from sklearn.cross_decomposition import PLSRegression
from torchvision.models.resnet import BasicBlock, ResNet

sys.path.append(str(pathlib.Path(__file__).parent / "gradients"))
from export import export  # noqa: E402

RATE, SIDE, SAMPLES, CLASSES = 0.25, 32, 40, 10
LOGITS = 1e-5  # relative error
LEVEL = 1e-4  # relative difference of scores that f32 does not tell apart
RECIPE = """
schema = 1
name = "pruned"
seed = 1
model = "net.onnx"
epochs = 0
prune = {{ structure = "filters", importance = "{importance}", rate = {rate}, samples = {samples} }}
data = {{ path = "images.npz", validation = 0 }}
"""

Scores = dict[str, np.ndarray]  # of filters, by the name of the convolution


def resnet_18() -> ResNet:
    torch.manual_seed(1)
    return settled(ResNet(BasicBlock, [2, 2, 2, 2], num_classes=CLASSES))


def three_blocks() -> ResNet:
    torch.manual_seed(1)
    model = ResNet(BasicBlock, [1, 1, 1, 1])
    model.layer4, model.fc = torch.nn.Identity(), torch.nn.Linear(256, CLASSES)
    return settled(model)


def settled(model: ResNet) -> ResNet:
    """Its batch norms have statistics of their inputs, so that few filters are dead."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(10):
            model.train()(torch.rand(32, 3, SIDE, SIDE))
    return model.eval()


def first_convolutions(model: ResNet) -> dict[str, BasicBlock]:
    """Whose filters no shortcut reads."""
    return {f"{name}.conv1": module for name, module in model.named_modules() if isinstance(module, BasicBlock)}


def images(folder: pathlib.Path) -> tuple[torch.Tensor, np.ndarray]:
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (SAMPLES, 3, SIDE, SIDE), dtype=np.uint8), np.arange(SAMPLES) % CLASSES
    np.savez(folder / "images.npz", images=pixels, labels=labels)
    return torch.tensor(pixels).float() / 255, labels


def pruned(assay: pathlib.Path, folder: pathlib.Path, model: ResNet, importance: str) -> pathlib.Path:
    export(model, torch.rand(2, 3, SIDE, SIDE), "torchscript", folder / "net.onnx", train=True)
    recipe, out = folder / f"{importance}.toml", folder / f"{importance}.onnx"
    recipe.write_text(RECIPE.format(importance=importance, rate=RATE, samples=SAMPLES))
    subprocess.run([assay, "--output", "json", "harden", recipe, "--out", out], check=True, stdout=subprocess.DEVNULL)
    return out


def removed(file: pathlib.Path, model: ResNet) -> dict[str, set[int]]:
    """Filters that a file does not have any more."""
    left = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}
    result = {}
    for name, block in first_convolutions(model).items():
        kept = {filter.tobytes() for filter in left[f"{name}.weight"]}
        filters = block.conv1.weight.detach().numpy()
        result[name] = {i for i, filter in enumerate(filters) if filter.tobytes() not in kept}
        assert len(filters) - len(result[name]) == len(kept), f"{name}: the filters that are left are not those that there were"
    return result


def against_torch_pruning(assay: pathlib.Path, folder: pathlib.Path) -> list[str]:
    model = resnet_18()
    file = pruned(assay, folder, model, "l1")
    ours, before = removed(file, model), {name: block.conv1.weight.detach().clone() for name, block in first_convolutions(model).items()}
    x = torch.rand(16, 3, SIDE, SIDE)
    torch_pruning.pruner.BasePruner(
        model,
        x[:1],
        # Of the layer itself, not of the norm behind it and the one that reads it.
        importance=torch_pruning.importance.MagnitudeImportance(p=1, group_reduction="first", normalizer=None, target_types=[torch.nn.Conv2d]),
        pruning_ratio=0.0,
        pruning_ratio_dict={block.conv1: RATE for block in first_convolutions(model).values()},
    ).step()
    wrong = []
    for name, block in first_convolutions(model).items():
        kept = {filter.numpy().tobytes() for filter in block.conv1.weight.detach()}
        theirs = {i for i, filter in enumerate(before[name]) if filter.numpy().tobytes() not in kept}
        if ours[name] != theirs:
            wrong.append(f"l1, {name}: removed {sorted(ours[name])}, Torch-Pruning {sorted(theirs)}")
    with torch.no_grad():
        expected = model(x).numpy()
    found = onnxruntime.InferenceSession(str(file)).run(None, {"input": x.numpy()})[0]
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    print(f"{'l1':13} {sum(map(len, ours.values())):4} filters of ResNet-18, against Torch-Pruning; logits differ by {error:.1e}", flush=True)
    return wrong + ([] if error <= LOGITS else [f"l1: logits differ by {error:.1e}"])


@torch.no_grad()
def maps(model: ResNet, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Behind the activation that follows each first convolution."""
    found: dict[str, np.ndarray] = {}
    blocks = first_convolutions(model).items()
    hooks = [block.bn1.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.relu().numpy()})) for name, block in blocks]
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def expected_abs(model: ResNet, x: torch.Tensor, labels: np.ndarray) -> Scores:
    return {name: np.abs(of_layer).mean((0, 2, 3)) for name, of_layer in maps(model, x).items()}


def hrank(model: ResNet, x: torch.Tensor, labels: np.ndarray) -> Scores:
    return {name: np.linalg.matrix_rank(of_layer).mean(0) for name, of_layer in maps(model, x).items()}


def vip(model: ResNet, x: torch.Tensor, labels: np.ndarray) -> Scores:
    largest = {name: of_layer.max((2, 3)) for name, of_layer in maps(model, x).items()}
    columns = np.concatenate(list(largest.values()), 1)
    fit = PLSRegression(n_components=2, scale=True, tol=1e-14, max_iter=100_000).fit(columns, np.eye(CLASSES)[labels])
    explained = (fit.x_scores_**2).sum(0) * (fit.y_loadings_**2).sum(0)
    scores = np.sqrt(columns.shape[1] * (fit.x_weights_**2 / (fit.x_weights_**2).sum(0)) @ explained / explained.sum())
    ends = np.cumsum([of_layer.shape[1] for of_layer in largest.values()])
    return dict(zip(largest, np.split(scores, ends[:-1])))


@torch.no_grad()
def without_each(model: ResNet, x: torch.Tensor, score: Callable[[np.ndarray, np.ndarray], float], seen: torch.nn.Module) -> Scores:
    """`score` of what `seen` gets and gives, with all filters and without one, filter by filter."""
    model, x, found = model.double(), x.double(), []
    looking = seen.register_forward_hook(lambda _, taken, given: found.append((taken[0].flatten(1).numpy(), given.numpy())))
    model(x)
    whole, scores = found.pop(), {}
    for name, block in first_convolutions(model).items():
        scores[name] = np.zeros(block.conv1.out_channels)
        for filter in range(block.conv1.out_channels):

            def close(_, __, out, filter=filter):
                out[:, filter] = 0
                return out

            closed = block.bn1.register_forward_hook(close)
            model(x)
            closed.remove()
            scores[name][filter] = score(whole, found.pop())
    looking.remove()
    model.float()
    return scores


def kl(model: ResNet, x: torch.Tensor, labels: np.ndarray) -> Scores:
    def divergence(whole, without):
        p, q = (torch.log_softmax(torch.tensor(logits), 1) for _, logits in (whole, without))
        return float((q.exp() * (q - p)).sum(1).mean())

    return without_each(model, x, divergence, model.fc)


def cka(model: ResNet, x: torch.Tensor, labels: np.ndarray) -> Scores:
    def distance(whole, without):
        a, b = (features - features.mean(0) for features, _ in (whole, without))
        return 1 - float(((a.T @ b) ** 2).sum() / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b))

    return without_each(model, x, distance, model.fc)


CRITERIA = {"expected-abs": expected_abs, "hrank": hrank, "vip": vip, "kl": kl, "cka": cka}


def against_scores(assay: pathlib.Path, folder: pathlib.Path, importance: str, x: torch.Tensor, labels: np.ndarray) -> list[str]:
    model = three_blocks()
    gone, wrong, ties = removed(pruned(assay, folder, model, importance), model), [], 0
    for name, scores in CRITERIA[importance](model, x, labels).items():
        count = round(RATE * len(scores))
        last, next_one = np.sort(scores)[count - 1 : count + 1]
        low, high = next_one - LEVEL * abs(next_one), last + LEVEL * abs(last)
        must, may = {int(i) for i in np.flatnonzero(scores < low)}, {int(i) for i in np.flatnonzero(scores <= high)}
        ties += len(may - must)
        if not (must <= gone[name] <= may and len(gone[name]) == count):
            wrong.append(f"{importance}, {name}: not removed {sorted(must - gone[name])}, removed {sorted(gone[name] - may)}, {len(gone[name])} in all of {count}")
    print(f"{importance:13} {sum(map(len, gone.values())):4} filters of a net with three blocks; {ties} at the limit could be either", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the program `assay`")
    arguments = parser.parse_args()
    assay = arguments.bin.resolve() / "assay"
    with tempfile.TemporaryDirectory(prefix="assay-pruning-") as folder:
        place = pathlib.Path(folder)
        x, labels = images(place)
        wrong = against_torch_pruning(assay, place)
        for importance in CRITERIA:
            wrong += against_scores(assay, place, importance, x, labels)
    if wrong:
        sys.exit("\n".join(["", "error: not as expected:", *wrong]))
    print("ok")


if __name__ == "__main__":
    main()
