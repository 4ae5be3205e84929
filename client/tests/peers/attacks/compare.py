#!/usr/bin/env python3
"""Compares the strength of assay's attacks with that of torchattacks, Foolbox and ART, on PyTorch copies of the same models.

    compare.py --bin FOLDER [--only PATTERN] [--models NAME...] [--samples N] [--threads N]

Each attack of `pairs.py` runs in FOLDER/attacker and in the other programs, on the same images and with the same budget. What the others find is classified by
the copy, and counts where it is inside the box and the ball. Assay must leave at most half a percent of the samples more (attacks that draw random numbers run with
several seeds, and two standard deviations are allowed besides), or, where the nearest adversarial sample is looked for, find it at a median distance of at most
1.05 times theirs (where random numbers are drawn, times two standard errors of the median ratio). In L0 it is the mean: numbers of elements are small and whole,
so that their median moves in steps larger than what is allowed. What is expected to fail is listed in exceptions.toml.

Models other than the shipped ones come from the folder ASSAY_REFERENCE; what is not there is left out, and said.
"""
import argparse
import functools
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context

import numpy as np
import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.append(str(HERE.parent))
from converted import converted  # noqa: E402
from demo_images import images  # noqa: E402

from pairs import Pair, pairs  # noqa: E402

REFERENCE = pathlib.Path(os.environ.get("ASSAY_REFERENCE", ROOT.parent / "shared/reference"))
EXCEPTIONS = HERE / "exceptions.toml"
MORE_ROBUST = 0.005  # of the samples
FARTHER = 1.05
ROUNDING = 1e-4  # of eps: points of the others are on the sphere but for rounding
ORDERS = {"Linf": np.inf, "L2": 2, "L1": 1, "L0": 0}


@dataclass(frozen=True)
class Net:
    name: str
    file: pathlib.Path
    grey: bool
    eps: dict[str, str]  # where about half of the samples resist
    normalization: tuple[str, ...] = ()  # mean and deviation of each channel, where the file leaves them to the caller

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        if self.grey:
            return images(400)
        arrays = np.load(REFERENCE / "images/cifar10-first100.npz")
        return arrays["pixels_u8"], arrays["label"]


def shipped(name: str) -> pathlib.Path:
    return ROOT / "deploy/models" / name / "1/model.onnx"


NETS = [
    Net("fashion-layer-pruned", shipped("fashion-layer-pruned"), True, {"Linf": "0.12", "L2": "1.7", "L1": "15"}),
    Net("fashion-dense", shipped("fashion-dense"), True, {"Linf": "0.015", "L2": "0.2", "L1": "2"}),
    Net("cifar_base_kw", REFERENCE / "vnncomp/oval21/cifar_base_kw.onnx", False, {"Linf": "6/255", "L2": "0.75", "L1": "6"}, (".485,.456,.406", ".225,.225,.225")),
]


@dataclass(frozen=True)
class Found:
    """By attacks on samples that were classified correctly."""

    distances: np.ndarray  # infinite: none was found
    forward: float  # evaluations of one sample
    backward: float

    @property
    def robust(self) -> int:
        return int(np.isinf(self.distances).sum())


class Counted(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, x):
        self.forwards += len(x)
        logits = self.net(x.float())  # some of ART's attacks compute in double precision
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient):
        self.backwards += len(gradient)


class Bench:
    """One model and its samples."""

    def __init__(self, net: Net, binary: pathlib.Path, folder: pathlib.Path):
        self.net, self.binary = net, binary
        pixels, labels = net.samples()
        self.copy = converted(net.file, net.normalization)
        x, y = torch.tensor(pixels).float() / 255, torch.tensor(labels).long()
        with torch.no_grad():
            correct = self.copy(x).argmax(1) == y
        self.x, self.y = x[correct], y[correct]
        self.data = folder / f"{net.name}.npz"
        np.savez(self.data, images=pixels[correct.numpy()], labels=self.y.numpy())
        self.cache: dict[tuple, Found] = {}

    def ours(self, pair: Pair, samples: int, queries: int) -> Found:
        key = (pair.ours.format(queries=queries), pair.norm)
        if key not in self.cache:
            command = [self.binary, self.net.file, self.data, pair.norm, key[0], str(torch.get_num_threads()), *self.net.normalization]
            lines = "".join(f"{self.eps(pair)} {samples} {seed}\n" for seed in range(pair.seeds))
            run = subprocess.run(command, input=lines, capture_output=True, text=True)
            if run.returncode:
                raise RuntimeError(f"{key}: {run.stderr}")
            said = [json.loads(line) for line in run.stdout.splitlines()[1:]]
            distances = [math.inf if distance is None else distance for of_seed in said for distance in of_seed["distances"]]
            evaluated = samples * pair.seeds
            assert len(distances) == evaluated, f"{self.net.name}: the copy and the file do not agree on the images"
            queries, gradients = (sum(of_seed[what] for of_seed in said) for what in ("queries", "gradients"))
            self.cache[key] = Found(np.array(distances), (queries + gradients) / evaluated, gradients / evaluated)
        return self.cache[key]

    def theirs(self, pair: Pair, samples: int, peer) -> Found:
        of_seeds = [self.theirs_once(pair, samples, peer, seed) for seed in range(pair.seeds)]
        forward, backward = (np.mean([getattr(found, what) for found in of_seeds]) for what in ("forward", "backward"))
        return Found(np.concatenate([found.distances for found in of_seeds]), forward, backward)

    def theirs_once(self, pair: Pair, samples: int, peer, seed: int) -> Found:
        torch.manual_seed(seed)
        np.random.seed(seed)
        counted = Counted(self.copy).eval()
        eps = math.inf if pair.anywhere else float(Fraction(self.eps(pair)))
        x, y = self.x[:samples], self.y[:samples]
        found = peer(counted, x, y, eps).detach().float()
        with torch.no_grad():
            broken = (self.copy(found).argmax(1) != y).numpy()
        offsets = (found.double() - x.double()).flatten(1).numpy()
        distances = np.linalg.norm(offsets, ord=ORDERS[pair.norm], axis=1)
        valid = (found.flatten(1).amin(1) >= 0).numpy() & (found.flatten(1).amax(1) <= 1).numpy() & (distances <= eps * (1 + ROUNDING))
        return Found(np.where(broken & valid, distances, math.inf), counted.forwards / samples, counted.backwards / samples)

    def eps(self, pair: Pair) -> str:
        return "inf" if pair.anywhere else str(pair.wider * Fraction(self.net.eps[pair.norm]))

    def typical(self, found: Found, norm: str) -> float:
        """Distance of an adversarial sample; in L0, one that was not found counts as if all its elements changed."""
        return float(np.minimum(found.distances, self.x[0].numel()).mean() if norm == "L0" else np.median(found.distances))

    def compared(self, pair: Pair, most: int) -> Iterator[tuple[str, str]]:
        """Prints a line for each other program; yields the key and what is wrong, if something is."""
        samples = min(pair.samples, most, len(self.x))
        for name, peer in pair.theirs.items():
            theirs = self.theirs(pair, samples, peer)
            ours = self.ours(pair, samples, math.ceil(theirs.forward))
            attack = pair.name
            if pair.nearest:
                values = [self.typical(found, pair.norm) for found in (ours, theirs)]
                weaker = not values[0] <= FARTHER * values[1] * (scatter(ours, theirs) if pair.seeds > 1 else 1)
                shown = [f"{value:.4g}" for value in values]
            else:
                values = [found.robust for found in (ours, theirs)]
                evaluated = samples * pair.seeds
                weaker = values[0] > values[1] + MORE_ROBUST * evaluated + (luck(ours, theirs) if pair.seeds > 1 else 0)
                shown = [f"{value} of {evaluated}" for value in values]
            costs = [f"{found.forward:.0f} + {found.backward:.0f}" for found in (ours, theirs)]
            line = f"{self.net.name:22} {attack:12} {pair.norm:4} {self.eps(pair):7} {name:16} {shown[0]:>11} {shown[1]:>11}  {costs[0]:>12} {costs[1]:>12}"
            print(f"{line}{'  WEAKER' if weaker else ''}", flush=True)
            yield f"{self.net.name}/{attack}/{pair.norm}/{name}", f"{shown[0]}, theirs {shown[1]}" if weaker else ""


def luck(a: Found, b: Found) -> float:
    """Two standard deviations of the difference between the counts of two attacks that are equally strong, and random."""
    return 2 * math.sqrt((np.isinf(a.distances) != np.isinf(b.distances)).sum())


def scatter(a: Found, b: Found) -> float:
    """Two standard errors of the median ratio of the distances that two attacks find for the same samples, as a factor."""
    both = np.isfinite(a.distances) & np.isfinite(b.distances)
    ratios = np.log(a.distances[both] / b.distances[both])
    return math.exp(2 * math.sqrt(math.pi / 2) * ratios.std() / math.sqrt(max(1, len(ratios))))


HEADER = f"{'model':22} {'attack':12} {'norm':4} {'eps':7} {'other':16} {'ours':>11} {'theirs':>11}  {'evaluations':>12} {'theirs':>12}"


def judge(results: dict[str, str], exceptions: dict[str, str]) -> list[str]:
    """What is not as expected."""
    wrong = [f"{key}: {problem}" for key, problem in results.items() if problem and key not in exceptions]
    return wrong + [f"{key} passes now: take it out of {EXCEPTIONS.name}" for key, problem in results.items() if not problem and key in exceptions]


def compare(net: Net, options: argparse.Namespace) -> dict[str, str]:
    """What is wrong with each attack on one model."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="assay-attacks-") as folder:
        bench = Bench(net, options.bin / "attacker", pathlib.Path(folder))
        for pair in (pair for pair in pairs() if re.search(options.only, f"{pair.ours} {pair.norm}")):
            results.update(bench.compared(pair, options.samples))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the program `attacker`")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only attacks whose name, norm and parameters match this regular expression, as in 'pgd.*Linf'")
    parser.add_argument("--models", nargs="+", default=[net.name for net in NETS], choices=[net.name for net in NETS])
    parser.add_argument("--samples", type=int, default=1 << 20, help="at most, of each attack")
    parser.add_argument("--threads", type=int, default=1, help="of each model: the models are compared side by side, because one keeps no second core busy")
    options = parser.parse_args()

    nets = []
    for net in (net for net in NETS if net.name in options.models):
        if net.file.exists():
            nets.append(net)
        else:
            print(f"notice: {net.name} is left out: there is no {net.file}")
    results: dict[str, str] = {}
    print(HEADER, flush=True)
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) // options.threads), get_context("spawn")) as pool:
        for of_net in pool.map(functools.partial(compare, options=options), nets):
            results.update(of_net)
    wrong = judge(results, tomllib.loads(EXCEPTIONS.read_text()))
    if wrong:
        sys.exit("\n".join(["", "error: not as expected:", *wrong]))
    print(f"ok: {len(results)} comparisons")


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    main()
