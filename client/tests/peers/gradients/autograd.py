"""What PyTorch says: logits, and the gradient of the summed cross-entropy with respect to the samples."""
import copy
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Step:
    """Logits `[n, classes]` and gradient, of the shape of the batch."""

    logits: np.ndarray
    gradient: np.ndarray

    def at(self, rows: list[int]) -> "Step":
        """Of these samples only."""
        return Step(self.logits[rows], self.gradient[rows])


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


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """`|found - expected| / |expected|` over the batch."""
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected.astype(np.float64)))
