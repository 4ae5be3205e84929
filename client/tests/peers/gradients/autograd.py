"""What PyTorch says: logits, and the gradient of the summed cross-entropy with respect to the samples."""
import copy
from dataclasses import dataclass

import numpy as np
import torch

NEIGHBOURS = 3
NEARBY = 1e-6  # standard deviation, for pixels in [0, 1]: some units in the last place of fp32


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


def doubled(model: torch.nn.Module) -> torch.nn.Module:
    """A copy that computes in fp64."""
    model.train()  # forgets what it computed in fp32 and kept
    return copy.deepcopy(model.eval()).double()


def errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """`|found - expected| / |expected|`, sample by sample."""
    norms = lambda a: np.linalg.norm(a.astype(np.float64).reshape(len(a), -1), axis=1)
    return norms(found.astype(np.float64) - expected) / norms(expected)


def spread(doubled: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor, single: Step, double: Step) -> np.ndarray:
    """How far autograd is from itself, sample by sample: fp32 from fp64, and fp64 a little beside the sample from fp64 at it.

    Where a rectifier's input is zero but for rounding, or two elements of a maximum are equal but for it, two programs that are both right
    fall on different sides, and have different gradients.
    """
    most = errors(single.gradient, double.gradient)
    generator = torch.Generator().manual_seed(0)
    for _ in range(NEIGHBOURS):
        beside = x.double() + NEARBY * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        most = np.maximum(most, errors(step(doubled, beside, labels).gradient, double.gradient))
    return most
