"""Makes net.onnx, and net.npz with what PyTorch says of one training step of it, in f64.

    python make.py        (torch 2.15, onnx, numpy)

The file is exported as for inference; loss and gradients are of the same weights in training mode: cross-entropy, summed over
the batch, with the statistics of the batch in every batch normalisation.
"""

from pathlib import Path

import numpy
import torch
from torch import nn

HERE = Path(__file__).parent


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x):
        q, k, v = self.project(self.norm(x)).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1)
        return x + self.scale * self.out(weights @ v)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4),
            nn.BatchNorm2d(8),
            nn.PReLU(8),
            nn.Conv2d(8, 12, (3, 2), dilation=(1, 2), padding=(2, 1), groups=2),
            nn.GroupNorm(3, 12),
            nn.GELU(),
            nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1, groups=3),
            nn.BatchNorm2d(6),
            nn.AvgPool2d(2, ceil_mode=True),
        )
        self.attention = Attention(6)
        self.head = nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 5))

    def forward(self, x):
        tokens = self.attention(self.features(x).flatten(2).transpose(1, 2))
        return self.head(tokens.mean(1))


torch.manual_seed(5)
net = Net().double()
with torch.no_grad():
    for parameter in net.parameters():
        # No two weights are equal: the exporter would write copies of one.
        parameter.add_(0.1 * torch.randn_like(parameter))
        parameter.copy_(parameter.float().double())
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)

net.eval()
example = torch.randn(2, 3, 9, 8)
torch.onnx.export(
    net.float(), (example,), HERE / "net.onnx", dynamo=False, opset_version=17, do_constant_folding=False,
    training=torch.onnx.TrainingMode.PRESERVE, input_names=["x"], output_names=["logits"],
    dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
)

net.double().train()
arrays = {}


def record(name):
    def hook(_, inputs, __):
        x = inputs[0].detach()
        axes = [a for a in range(x.dim()) if a != 1]
        arrays[f"mean/{name}.running_mean"] = x.mean(axes)
        arrays[f"variance/{name}.running_var"] = x.var(axes, unbiased=False)

    return hook


for name, module in net.named_modules():
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        module.register_forward_hook(record(name))

x = torch.randn(6, 3, 9, 8).double().requires_grad_()
labels = torch.tensor([0, 4, 2, 2, 1, 3])
logits = net(x)
losses = nn.functional.cross_entropy(logits, labels, reduction="none")
losses.sum().backward()
arrays.update(input=x, labels=labels, logits=logits, loss=losses, gradient=x.grad)
for name, parameter in net.named_parameters():
    arrays[f"weight/{name}"] = parameter.float()
    arrays[f"gradient/{name}"] = parameter.grad
numpy.savez_compressed(HERE / "net.npz", **{name: array.detach().numpy() for name, array in arrays.items()})
