#!/usr/bin/env python3
"""Compares nets after steps of training with PyTorch's.

    steps.py --bin FOLDER [--only TEXT]

Both sides begin with the same weights, see the same batches in the same order, and make 20 steps of SGD with momentum and weight decay, with the statistics of the
batch in every batch norm. Each weight and running statistic must be that of PyTorch in f64 up to a relative error (Euclidean) of 1e-4, or twice that of PyTorch's own f32,
which is larger where rounding grows from step to step: the larger one of its two layouts of memory, between which it differs severalfold.
"""
import argparse
import pathlib
import sys
import tempfile

import numpy as np

BENCH = pathlib.Path(__file__).resolve().parents[3] / "benches/peers"
sys.path.append(str(BENCH))
import nets  # noqa: E402
from contest import Contender  # noqa: E402

NETS = ["fashion-16-32-64", "resnet-20", "mobilenet-v3-small"]
STEPS, BATCH, TOLERANCE = 20, 32, 1e-4
RATE = "0.001"
ALLOWED = 2.0  # times the error of PyTorch's f32
LAYOUTS = ["contiguous", "channels-last"]


def data(shape: tuple[int, ...], samples: int, folder: pathlib.Path) -> pathlib.Path:
    """Images that can be told apart: a pattern for each class, and noise."""
    file, random = folder / "images.npz", np.random.default_rng(0)
    patterns, labels = random.random((10, *shape)), random.integers(0, 10, samples)
    images = 0.7 * patterns[labels] + 0.3 * random.random((samples, *shape))
    np.savez(file, images=(255 * images).astype(np.uint8), labels=labels)
    return file


def saved(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """What `learner` wrote."""
    content, found, at = np.fromfile(folder / "weights", "<f4"), {}, 0
    for line in (folder / "names").read_text().splitlines():
        name, *dims = line.split("\t")
        shape = tuple(int(size) for size in dims if size)
        size = int(np.prod(shape))
        found[name] = content[at : at + size].reshape(shape)
        at += size
    return found


def compare(learner: pathlib.Path, name: str, folder: pathlib.Path) -> list[str]:
    """What is wrong."""
    _, shape = nets.learner(name)
    images = data(shape, STEPS * BATCH, folder)
    common = [str(images), str(BATCH), "standard", "2"]
    torch = lambda layout: Contender([sys.executable, str(BENCH / "torch_learner.py"), name, *common, layout, RATE])
    ours = Contender([str(learner), str(nets.training_file(name, folder)), *common, RATE])
    for contender in (ours, *map(torch, LAYOUTS), torch("double")):
        contender.await_ready()
        contender.ask(f"step {STEPS}")
        contender.ask(f"save {folder}")
        contender.close()
    found, truth = saved(folder), np.load(folder / "double.npz")
    singles = [np.load(folder / f"{layout}.npz") for layout in LAYOUTS]
    if set(truth.files) != set(found):
        return [f"{name}: not on both sides: {sorted(set(truth.files) ^ set(found))}"]
    error = lambda net, n: float(np.linalg.norm(net[n].astype(np.float64) - truth[n]) / max(np.linalg.norm(truth[n]), 1e-12))
    errors = {n: (error(found, n), max(error(single, n) for single in singles)) for n in truth.files}
    whole = lambda net: np.concatenate([net[n].ravel().astype(np.float64) for n in truth.files])
    of_all, *theirs = [np.linalg.norm(whole(net) - whole(truth)) / np.linalg.norm(whole(truth)) for net in (found, *singles)]
    worst = max(errors, key=lambda n: errors[n][0])
    print(
        f"{name:20} {len(errors):4} weights and statistics after {STEPS} steps, from f64: all together {of_all:.1e} (PyTorch's f32 {max(theirs):.1e}), "
        f"the farthest {errors[worst][0]:.1e} ({errors[worst][1]:.1e}; {worst})",
        flush=True,
    )  # fmt: skip
    return [f"{name}: {n}: {ours:.1e}, PyTorch's f32 {theirs:.1e}" for n, (ours, theirs) in errors.items() if not ours <= max(TOLERANCE, ALLOWED * theirs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    failed = []
    for name in (n for n in NETS if arguments.only in n):
        with tempfile.TemporaryDirectory() as folder:
            failed += compare(arguments.bin.resolve() / "learner", name, pathlib.Path(folder))
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
