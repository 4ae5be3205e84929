"""What PyTorch says: logits, and the gradient of the summed cross-entropy with respect to the samples."""
import contextlib
import copy
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

TOLERANCE = 1e-4  # relative error (Euclidean) of a sample's gradient
NEIGHBOURS = 2
NEARBY = 1e-6  # relative change of weights: moves what is computed some ten times as far as rounding to fp32 does


@dataclass(frozen=True)
class Step:
    """Logits `[n, classes]` and gradient, of the shape of the batch."""

    logits: np.ndarray
    gradient: np.ndarray


def step(model: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Step:
    x = x.clone().requires_grad_()
    logits = model(x)
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return Step(logits.detach().numpy(), gradient.numpy())


def in_double(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in fp64."""
    model.train()  # forgets what it computed in fp32 and kept
    return copy.deepcopy(model.eval()).double()


def errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """`|found - expected| / |expected|`, sample by sample."""
    norms = lambda a: np.linalg.norm(a.astype(np.float64).reshape(len(a), -1), axis=1)
    return norms(found.astype(np.float64) - expected) / norms(expected)


class Truth(NamedTuple):
    """Samples, and what PyTorch says of them in fp32 and in fp64; all by sample."""

    x: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    gradient: np.ndarray
    logits64: np.ndarray
    gradient64: np.ndarray
    spread: np.ndarray  # how far autograd is from itself: see `truth`

    def at(self, samples: np.ndarray | slice) -> "Truth":
        return Truth(*(array[samples] for array in self))

    def settled(self) -> np.ndarray:
        """Where autograd agrees with itself."""
        return self.spread <= TOLERANCE


def truth(model: torch.nn.Module, doubled: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor, every: bool = False) -> Truth:
    """The spread is the largest error of the gradient in fp32 from that in fp64, and of fp64 with slightly different weights from fp64; without
    `every`, of what is asked until a sample is found not to be settled.

    Where a rectifier's input is zero but for rounding, or two elements of a maximum are equal but for it, two programs that are both right
    fall on different sides, and have different gradients. Weights change to both sides: one of them crosses the kink.
    """
    single, double = step(model, x, labels), step(doubled, x.double(), labels)
    spread = errors(single.gradient, double.gradient)
    for seed, side in itertools.product(range(NEIGHBOURS), (1, -1)):
        ask = (spread <= TOLERANCE) | every
        if ask.any():
            with nudged(doubled, seed, side * NEARBY):
                near = step(doubled, x[ask].double(), labels[ask]).gradient
            spread[ask] = np.maximum(spread[ask], errors(near, double.gradient[ask]))
    return Truth(x.numpy(), labels.numpy(), single.logits, single.gradient, double.logits, double.gradient, spread)


@contextlib.contextmanager
def nudged(model: torch.nn.Module, seed: int, size: float) -> Iterator[None]:
    """Changes every weight by a random part of it, for a while. In place: the largest models fit into memory only so often."""
    def scale(undo: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.train().parameters():
            factor = 1 + size * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.data.div_(factor) if undo else parameter.data.mul_(factor)
        model.eval()

    scale(undo=False)
    yield
    scale(undo=True)


def chosen(model: torch.nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], n: int) -> Truth:
    """The first `n` settled samples of all batches; the whole first batch where there is none."""
    doubled, batches = in_double(model), list(batches)
    settled = []
    for x, labels in batches:
        found = truth(model, doubled, x, labels)
        settled.append(found.at(found.settled()))
        if sum(len(batch.x) for batch in settled) >= n:
            break
    settled = Truth(*map(np.concatenate, zip(*settled))).at(slice(n))
    return settled if len(settled.x) else truth(model, doubled, *batches[0], every=True)
