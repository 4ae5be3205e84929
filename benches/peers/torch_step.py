"""PyTorch as a contender of the gradient benchmark: `torch_step.py NET eager|channels-last|compile BATCH THREADS [cpu|cuda:0]`.

The protocol is that of the `contender` program: for each line on its input, a number of milliseconds, it makes gradient steps
for that long and prints the median time of one in milliseconds. On a GPU the samples are there before, and the results stay
there; a step has ended when the GPU has. TF32 is off, as it is in assay.
"""
import statistics
import sys
import time

import torch

import nets

WARM_UP = 3


def main(name: str, mode: str, batch: str, threads: str, device: str = "cpu") -> None:
    torch.set_num_threads(int(threads))
    torch.backends.cudnn.allow_tf32 = False
    net, shape = nets.build(name)
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    net = net.to(device, memory_format=layout)
    x = torch.rand(int(batch), *shape).to(device, memory_format=layout)
    labels = torch.arange(int(batch), device=device) % 10
    finish = torch.cuda.synchronize if x.is_cuda else lambda: None

    def forward(x):
        logits = net(x)
        return logits, torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    if mode == "compile":
        forward = torch.compile(forward)

    def step():
        image = x.detach().requires_grad_(True)
        logits, loss = forward(image)
        (gradient,) = torch.autograd.grad(loss.sum(), image)
        finish()
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
