"""The models that gradients are compared on: names in torchvision's and timm's registries, in families."""
import re
from dataclasses import dataclass, field

import timm
import torch
import torchvision

CLASSES = 10
CALIBRATION_BATCH = 32
BatchNorm = torch.nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Family:
    """Architectures that differ in width, depth and the like only, and how to build one for a small input."""

    library: str
    smallest: str
    pattern: str
    size: int
    arguments: dict = field(default_factory=dict)


# `size` is the smallest sensible input: the fewer rectifiers, the more samples are settled. Alexnet pools to a fixed size, which one exporter can
# only write where it divides; maxvit's windows of 7 must divide every stage; efficientformer and levit are built for 224.
FAMILIES = [
    Family("torchvision", "alexnet", r"alexnet", 224),
    Family("torchvision", "vgg11", r"vgg\d+", 64),
    Family("torchvision", "vgg11_bn", r"vgg\d+_bn", 64),
    Family("torchvision", "resnet18", r"resnet\d+", 64),
    Family("torchvision", "resnext50_32x4d", r"resnext.*", 64),
    Family("torchvision", "wide_resnet50_2", r"wide_resnet.*", 64),
    Family("torchvision", "densenet121", r"densenet.*", 64),
    Family("torchvision", "googlenet", r"googlenet", 64, {"aux_logits": False, "init_weights": True}),
    Family("torchvision", "inception_v3", r"inception_v3", 96, {"aux_logits": False, "init_weights": True}),
    Family("torchvision", "squeezenet1_1", r"squeezenet.*", 64),
    Family("torchvision", "mobilenet_v2", r"mobilenet_v2", 64),
    Family("torchvision", "mobilenet_v3_small", r"mobilenet_v3.*", 64),
    Family("torchvision", "shufflenet_v2_x0_5", r"shufflenet.*", 64),
    Family("torchvision", "mnasnet0_5", r"mnasnet.*", 64),
    Family("torchvision", "efficientnet_b0", r"efficientnet_b\d", 64),
    Family("torchvision", "efficientnet_v2_s", r"efficientnet_v2.*", 64),
    Family("torchvision", "regnet_x_400mf", r"regnet_x.*", 64),
    Family("torchvision", "regnet_y_400mf", r"regnet_y.*", 64),
    Family("torchvision", "convnext_tiny", r"convnext.*", 64),
    Family("torchvision", "vit_b_16", r"vit_[bl]_16", 64, {"image_size": 64}),
    Family("torchvision", "vit_b_32", r"vit_[bl]_32", 64, {"image_size": 64}),
    Family("torchvision", "vit_h_14", r"vit_h_14", 56, {"image_size": 56}),
    Family("torchvision", "swin_t", r"swin_[tsb]", 64),
    Family("torchvision", "swin_v2_t", r"swin_v2.*", 64),
    Family("torchvision", "maxvit_t", r"maxvit.*", 224),
    Family("timm", "deit_tiny_patch16_224", r"deit3?_(tiny|small|base)(_distilled)?_patch16_224", 64, {"img_size": 64}),
    Family("timm", "mixer_s16_224", r"mixer_[sb]\d+_224", 64, {"img_size": 64}),
    Family("timm", "resmlp_12_224", r"resmlp_\d+_224", 64, {"img_size": 64}),
    Family("timm", "gmlp_ti16_224", r"gmlp_.*", 64, {"img_size": 64}),
    Family("timm", "convmixer_768_32", r"convmixer_.*", 28),
    Family("timm", "poolformer_s12", r"poolformer(v2)?_s\d+", 64),
    Family("timm", "efficientformer_l1", r"efficientformer_l\d", 224),
    Family("timm", "efficientformerv2_s0", r"efficientformerv2_.*", 224),
    Family("timm", "mobilenetv4_conv_small", r"mobilenetv4_.*", 64),
    Family("timm", "coatnet_0_224", r"coatnet_(nano|pico|rmlp_nano|bn_0|0).*", 64, {"img_size": 64}),
    Family("timm", "davit_tiny", r"davit_(tiny|small|base)", 64),
    Family("timm", "levit_128s", r"levit_(conv_)?(128s|128|256d?|384|512_s8)", 224),
    Family("timm", "xcit_nano_12_p16_224", r"xcit_(nano|tiny|small)_12_p(8|16)_224", 64, {"img_size": 64}),
    Family("timm", "ghostnet_100", r"ghostnet(v2|v3)?_.*", 64),
    Family("timm", "repvgg_a0", r"repvgg_(a\d|b0|b1g4|d2se)", 64),
    Family("timm", "nfnet_l0", r"(eca_|dm_)?nfnet_[lf]0", 64),
    Family("timm", "hrnet_w18_small", r"hrnet_w18(_small(_v2)?)?", 64),
]


def members(family: Family) -> list[str]:
    """All of a family's names in its registry, the smallest first."""
    registry = torchvision.models.list_models(module=torchvision.models) if family.library == "torchvision" else timm.list_models()
    names = [name for name in registry if re.fullmatch(family.pattern, name)]
    return [family.smallest] + sorted(name for name in names if name != family.smallest)


def build(family: Family, name: str) -> torch.nn.Module:
    """The model with seeded random weights, ready to predict."""
    torch.manual_seed(0)
    if family.library == "torchvision":
        model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **family.arguments)
    else:
        model = timm.create_model(name, pretrained=False, num_classes=CLASSES, **family.arguments)
    if isinstance(model, torchvision.models.VGG):
        shrink(model, family.size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        wake(model, generator)
        calibrate(model, family.size, generator)
    return model.eval()


def shrink(model: torchvision.models.VGG, size: int) -> None:
    """Gives the head the map that is left of a small image. It is made for 7², of 224²: so many rectifiers that, wherever one looks, some are at
    their kink but for rounding, and no gradient can be called wrong."""
    cells = size // 32
    model.avgpool = torch.nn.AdaptiveAvgPool2d(cells)
    model.classifier[0] = torch.nn.Linear(512 * cells**2, model.classifier[0].out_features)


def wake(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Draws anew the parameters that an untrained model starts at a constant or nearly zero: heads, biases, scales of norms and of residual
    branches. As they are, whole layers would not matter and a wrong gradient of one would not show.

    Biases of batch norms are drawn around 1.5, where most rectifiers are open but none always: around 0 a deep random net is chaotic, and
    rounding alone takes rectifiers to the other side of zero."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            largest, spread = parameter.abs().max(), parameter.max() - parameter.min()
            if isinstance(module, BatchNorm) and name == "bias":
                parameter.uniform_(1.0, 2.0, generator=generator)
            elif spread > 1e-3 * largest and largest > 1e-2:
                continue
            elif parameter.squeeze().ndim >= 2:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            elif name == "bias":
                parameter.add_(torch.empty_like(parameter).normal_(0, 0.1, generator=generator))
            else:
                parameter.uniform_(0.5, 1.0, generator=generator)


def calibrate(model: torch.nn.Module, size: int, generator: torch.Generator) -> None:
    """Sets the statistics of batch norms to those of a batch: with others the activations of a random net vanish or explode."""
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        model(images(CALIBRATION_BATCH, size, generator))
    for norm in norms:
        norm.running_var.clamp_(min=0.1 * norm.running_var.mean())  # a channel that was dead on the batch may be awake on another
    model.train()  # some models keep in eval mode what they computed from their parameters, until they are trained again


def images(n: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Pictures in [0, 1] with large and small structure. Plain noise looks the same everywhere, and batch norms would blow up its rounding errors."""
    layers = [torch.randn(n, 3, cells, cells, generator=generator) for cells in (1, 4, 16)]
    layers = [torch.nn.functional.interpolate(layer, (size, size), mode="bicubic") for layer in layers]
    return (sum(layers) + 0.3 * torch.randn(n, 3, size, size, generator=generator)).sigmoid()


def samples(family: Family, n: int, batch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of `n` images and their labels, one of many."""
    generator = torch.Generator().manual_seed(2 + batch)
    return images(n, family.size, generator), torch.randint(CLASSES, (n,), generator=generator)
