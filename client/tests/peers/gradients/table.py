"""The results as a table, for the terminal and for the documentation."""
import platform
from importlib.metadata import version

HEADER = f"{'model':32} {'exporter':12} {'input':>5} {'opset':>5}  {'logits':>8} {'gradient':>8} {'rounding':>8} within"
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript")


def line(result) -> str:
    head = f"{result.model:32} {result.exporter:12} {result.size:>5} {result.opset or '':>5} "
    if result.gradient != result.gradient:
        return f"{head} {result.problem}"
    failed = f"  FAILED: {result.problem}" if result.problem else ""
    return f"{head} {result.logits:8.1e} {result.gradient:8.1e} {result.rounding:8.1e} {result.within:>6}{failed}"


def document(results: list, exceptions: dict[str, str], command: str, samples: int) -> str:
    """The Markdown page. `exceptions`: reasons by model and exporter."""
    good = [r for r in results if not r.problem]
    models = {r.model for r in results}
    text = [
        "# Coverage: gradients against PyTorch's autograd",
        "",
        f"Made by `{command}`, with {', '.join(f'{name} {version(name)}' for name in PACKAGES)} on {platform.machine()}.",
        "",
        f"{len(models)} classifiers of torchvision and timm with seeded random weights and small inputs, each written by PyTorch's two exporters: {len(results)} files, of",
        f"which {len(good)} have autograd's gradients.",
        "",
        "*logits*, *gradient*: relative error (Euclidean) against PyTorch of the logits, and of the gradient of the cross-entropy with respect to the image;",
        "the error that half of the samples do not exceed, of which 1e-4 is accepted. A sample is compared with PyTorch in fp32 and in fp64 and the nearer",
        "counts: rounding may take a rectifier's input to the other side of zero, in either program, and the gradient there is another one. *within*: how many of",
        f"{samples} samples have a gradient within 1e-4. *rounding*: the error of PyTorch's own fp32 gradient against fp64.",
        "",
        "| model | library | input | exporter | opset | logits | gradient | within | rounding | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    text += [row(result, exceptions) for result in results]
    return "\n".join(text) + "\n"


def row(result, exceptions: dict[str, str]) -> str:
    head = f"| {result.model} | {result.library} | {result.size}² | {result.exporter} | {result.opset or ''} |"
    if result.problem:
        return f"{head} | | | | {exceptions.get(result.key, 'not as expected')} |"
    return f"{head} {result.logits:.0e} | {result.gradient:.0e} | {result.within} | {result.rounding:.0e} | |"
