"""PyTorch as a contender of the gradient benchmark: `torch_step.py NET eager|channels-last|compile BATCH THREADS`.

The protocol is that of the `contender` program: for each line on its input, a number of milliseconds, it makes gradient steps
for that long and prints the median time of one in milliseconds.
"""
import statistics
import sys
import time

import torch

import nets

WARM_UP = 3


def main(name: str, mode: str, batch: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    net, shape = nets.build(name)
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    net = net.to(memory_format=layout)
    x = torch.rand(int(batch), *shape).to(memory_format=layout)
    labels = torch.arange(int(batch)) % 10

    def forward(x):
        logits = net(x)
        return logits, torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    if mode == "compile":
        forward = torch.compile(forward)

    def step():
        image = x.detach().requires_grad_(True)
        logits, loss = forward(image)
        (gradient,) = torch.autograd.grad(loss.sum(), image)
        return logits.detach(), loss.detach(), gradient

    for _ in range(WARM_UP):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        times, until = [], time.perf_counter() + float(line) / 1e3
        while len(times) < 3 or time.perf_counter() < until:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(f"{statistics.median(times) * 1e3:.6f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
