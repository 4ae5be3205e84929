"""PyTorch as a contender of the training benchmark: `torch_learner.py NET DATA BATCH OBJECTIVE THREADS contiguous|channels-last|double [RATE]`.

`double` computes in f64.

The protocol and the constants are those of the `learner` program; the net is that of `nets.learner`.
"""
import json
import pathlib
import sys
import time
from fractions import Fraction

import numpy as np
import torch
from torch.nn import functional

import nets

RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4


def pgd(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float, steps: int) -> torch.Tensor:
    """Linf, from `x` itself; the batch norms as at inference."""
    net.eval()
    found = x.clone()
    for _ in range(steps):
        found.requires_grad_(True)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(net(found), y, reduction="sum"), found)
        with torch.no_grad():
            found = (found + 2.5 * eps / steps * gradient.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    net.train()
    return found.detach()


def main(name: str, data: str, batch: str, objective: str, threads: str, layout: str, rate: str = str(RATE)) -> None:
    torch.set_num_threads(int(threads))
    net, _ = nets.learner(name)
    memory = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    number = torch.double if layout == "double" else torch.float
    net = net.to(number, memory_format=memory).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=float(rate), momentum=MOMENTUM, weight_decay=DECAY)
    arrays = np.load(data)
    images = torch.tensor(arrays["images"]).float().div(255).to(number).contiguous(memory_format=memory)
    labels = torch.tensor(arrays["labels"]).long()
    size, at = int(batch), 0
    kind, *settings = objective.split(":")

    def step() -> float:
        nonlocal at
        if at + size > len(images):
            at = 0
        x, y = images[at : at + size], labels[at : at + size]
        at += size
        if kind == "pgd":
            x = pgd(net, x, y, float(Fraction(settings[0])), int(settings[1]))
        loss = functional.cross_entropy(net(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    print("ready", flush=True)
    for line in sys.stdin:
        command, argument = line.split()
        if command == "step":
            began = time.perf_counter()
            for _ in range(int(argument)):
                loss = step()
            print(json.dumps({"seconds": time.perf_counter() - began, "loss": loss}), flush=True)
        else:
            state = {n: v.numpy() for n, v in net.state_dict().items() if v.is_floating_point()}
            np.savez(pathlib.Path(argument) / f"{layout}.npz", **state)
            print("{}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
