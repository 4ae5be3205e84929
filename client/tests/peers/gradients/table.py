"""The results as a table, for the terminal and for the documentation."""
import platform
from importlib.metadata import version

HEADER = f"{'model':32} {'exporter':12} {'input':>5} {'opset':>5}  {'logits':>8} {'gradient':>8} {'rounding':>8} settled"
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript")


def line(result) -> str:
    head = f"{result.model:32} {result.exporter:12} {result.size:>5} {result.opset or '':>5} "
    if result.gradient != result.gradient:
        return f"{head} {result.problem}"
    failed = f"  FAILED: {result.problem}" if result.problem else ""
    return f"{head} {result.logits:8.1e} {result.gradient:8.1e} {result.rounding:8.1e} {result.settled:>7}{failed}"


def document(results: list, missing: list, exceptions: dict[str, str], command: str, samples: int) -> str:
    """The Markdown page. `missing`: results without numbers, of what was not compared. `exceptions`: reasons by model and exporter."""
    good = [r for r in results if not r.problem]
    text = [
        "# Coverage: gradients against PyTorch's autograd",
        "",
        f"Made by `{command}`, with {', '.join(f'{name} {version(name)}' for name in PACKAGES)} on {platform.machine()}.",
        "",
        f"{len({r.model for r in results})} classifiers of torchvision and timm with seeded random weights and small inputs, each written by PyTorch's two exporters:",
        f"{len(results)} files, of which {len(good)} have autograd's gradients. {len(missing)} files of the same families were not compared: they stand at the end.",
        "",
        "*logits*, *gradient*: relative error (Euclidean) against PyTorch of the logits, and of the gradient of the cross-entropy with respect to the image; the",
        "largest over the samples; 1e-4 is accepted. PyTorch computes in fp32 and in fp64, and the nearer counts. *rounding*: the largest error of PyTorch's own fp32",
        "gradient on the same samples.",
        "",
        f"*settled*: how many samples were compared, {samples} at most: those on which PyTorch's gradient in fp32, and in fp64 with every weight a millionth larger or smaller,",
        "is within 1e-4 of that in fp64. Elsewhere a rectifier's input is zero but for rounding, and two programs that are both right have different gradients. 0: there was",
        "none, and three times what PyTorch differs from itself was accepted.",
        "",
        "| model | library | input | exporter | opset | logits | gradient | settled | rounding | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    text += [row(result, exceptions) for result in results]
    text += [f"| {r.model} | {r.library} | {r.size}² | {r.exporter} | | | | | | not compared |" for r in missing]
    return "\n".join(text) + "\n"


def row(result, exceptions: dict[str, str]) -> str:
    head = f"| {result.model} | {result.library} | {result.size}² | {result.exporter} | {result.opset or ''} |"
    if result.problem:
        return f"{head} | | | | {exceptions.get(result.key, 'not as expected')} |"
    return f"{head} {result.logits:.0e} | {result.gradient:.0e} | {result.settled} | {result.rounding:.0e} | |"
