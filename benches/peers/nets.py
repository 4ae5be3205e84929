"""The networks of the gradient benchmark, with random weights: speed does not depend on them."""
import pathlib
import warnings

import torch
from torch import nn

MODELS = pathlib.Path(__file__).resolve().parents[2] / "deploy/models"
SHIPPED = {"fashion-robust": 1.0, "fashion-filter-pruned": 0.5}  # share of each block's inner filters that pruning left


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, the first to `inner` channels."""

    def __init__(self, before: int, inner: int, after: int, stride: int, norm: bool):
        super().__init__()
        normal = nn.BatchNorm2d if norm else lambda _: nn.Identity()
        self.first = nn.Sequential(nn.Conv2d(before, inner, 3, stride, 1, bias=not norm), normal(inner))
        self.second = nn.Sequential(nn.Conv2d(inner, after, 3, 1, 1, bias=not norm), normal(after))
        plain = stride == 1 and before == after
        self.short = nn.Identity() if plain else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=not norm), normal(after))

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))) + self.short(x))


class Residual(nn.Module):
    """A stem and `blocks` blocks of each width; the map halves from width to width."""

    def __init__(self, widths, blocks, norm, channels=3, inner=1.0):
        super().__init__()
        normal = nn.BatchNorm2d if norm else lambda _: nn.Identity()
        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], 3, 1, 1, bias=not norm), normal(widths[0]))
        body, before = [], widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                body.append(Block(before, int(inner * width), width, stride, norm))
                before = width
        self.body = nn.Sequential(*body)
        self.head = nn.Linear(before, 10)

    def forward(self, x):
        return self.head(self.body(torch.relu(self.stem(x))).mean((2, 3)))


def build(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The net and the shape of one sample. Batch norm has the statistics of one batch, as after training."""
    torch.manual_seed(0)
    if name == "resnet-18":
        net, shape = Residual([64, 128, 256, 512], 2, norm=True), (3, 32, 32)
    elif name == "resnet-20":
        net, shape = Residual([16, 32, 64], 3, norm=True), (3, 32, 32)
    elif name == "16-32-64":
        net, shape = Residual([16, 32, 64], 1, norm=False), (3, 32, 32)
    elif name == "fashion-16-32-64":
        net, shape = Residual([16, 32, 64], 1, norm=True, channels=1), (1, 28, 28)
    elif name in SHIPPED:
        net, shape = Residual([16, 32, 64], 2, norm=True, channels=1, inner=SHIPPED[name]), (1, 28, 28)
    elif name == "mobilenet-v3-small":
        import torchvision

        net, shape = torchvision.models.mobilenet_v3_small(num_classes=10), (3, 64, 64)
    elif name == "vit-tiny":
        import timm

        net, shape = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, num_classes=10), (3, 64, 64)
    else:
        raise ValueError(f"no net is called {name}")
    net.train()
    with torch.no_grad():
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = None  # running statistics become those of the next batch
            norm.reset_running_stats()
        net(torch.rand(32, *shape))
    for weight in net.parameters():
        weight.requires_grad_(False)
    return net.eval(), shape


NAMES = ["resnet-18", "16-32-64", "mobilenet-v3-small", "vit-tiny", *SHIPPED]


def onnx_file(name: str, folder: pathlib.Path) -> pathlib.Path:
    """The net as the ONNX file that assay gets: the shipped one, or an export into `folder`."""
    if name in SHIPPED:
        return MODELS / name / "1/model.onnx"
    file = folder / f"{name}.onnx"
    if not file.exists():
        net, shape = build(name)
        axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
        names = {"input_names": ["input"], "output_names": ["logits"]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(net, (torch.rand(2, *shape),), file, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
    return file


def learner(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The net as it is trained, without dropouts. No two weights are equal at the start: the exporter would write copies of one."""
    net, shape = build(name)
    for dropout in (m for m in net.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0
    torch.manual_seed(1)
    for weight in net.parameters():
        weight.add_(0.01 * torch.randn_like(weight))
        weight.requires_grad_(True)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.1
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return net, shape


def training_file(name: str, folder: pathlib.Path) -> pathlib.Path:
    """The net of `learner` as a file, with its batch norms."""
    file = folder / f"{name}.training.onnx"
    net, shape = learner(name)
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.rand(2, *shape),), file, dynamo=False, opset_version=17, dynamic_axes=axes, input_names=["input"], output_names=["logits"],
            do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip
    return file


def macs(name: str) -> int:
    """Multiplications of one sample's forward pass in convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    net, shape = build(name)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        net(torch.rand(1, *shape))
    return counter.get_total_flops() // 2
