"""The results as a table, for the terminal and for the documentation."""
import platform
from importlib.metadata import version

HEADER = f"{'model':32} {'exporter':12} {'input':>5} {'opset':>5}  {'logits':>8} {'gradient':>8} {'rounding':>8}"
PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript")


def line(result) -> str:
    head = f"{result.model:32} {result.exporter:12} {result.size:>5} {result.opset or '':>5} "
    if result.gradient != result.gradient:
        return f"{head} {result.problem}"
    note = f" against {result.reference}" if result.reference != "fp32" else ""
    note += f" (batch {result.batch})" if result.batch > 1 else ""
    failed = f"  FAILED: {result.problem}" if result.problem else ""
    return f"{head} {result.logits:8.1e} {result.gradient:8.1e} {result.rounding:8.1e}{note}{failed}"


def document(results: list, exceptions: dict[str, str], command: str) -> str:
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
        "*logits*, *gradient*: relative error (Euclidean, over a batch of two) of the logits, and of the gradient of the cross-entropy with respect to the",
        "images, against PyTorch in fp32; at most 1e-4 is accepted. *rounding*: the same error of PyTorch's own fp32 gradient against fp64. Where that alone",
        "exceeds 1e-4, fp64 is what both are compared with. *batch*: the files are compared on up to three batches and the first with an acceptable error",
        "counts, because rounding may take a rectifier to the other side of zero, in either program.",
        "",
        "| model | library | input | exporter | opset | logits | gradient | rounding | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    text += [row(result, exceptions) for result in results]
    return "\n".join(text) + "\n"


def row(result, exceptions: dict[str, str]) -> str:
    head = f"| {result.model} | {result.library} | {result.size}² | {result.exporter} | {result.opset or ''} |"
    if result.problem:
        return f"{head} | | | {exceptions.get(result.key, 'not as expected')} |"
    notes = [f"against {result.reference}"] if result.reference != "fp32" else []
    notes += [f"batch {result.batch}"] if result.batch > 1 else []
    return f"{head} {result.logits:.0e} | {result.gradient:.0e} | {result.rounding:.0e} | {', '.join(notes)} |"
