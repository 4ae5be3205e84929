"""What the comparisons share: processes that work in turn, the rate that the machine reaches, and the page that keeps the results."""
import math
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs/performance.md"
GEMM_SIZE, GEMM_LAYERS = 1024, 8


class Contender:
    """A process that works for a while whenever it is told to."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None):
        self.command, self.turns = command, []
        self.errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads fills up
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd=HERE, env={**os.environ, **(env or {})}
        )

    def answer(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            self.process.kill()
            self.errors.seek(0)
            raise RuntimeError(f"{' '.join(self.command)}\n{self.errors.read()[-2000:]}")
        return line

    def await_ready(self) -> None:
        if self.answer() != "ready":
            raise RuntimeError(f"{' '.join(self.command)} is not a contender")

    def ask(self, line: str) -> str:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.errors.close()


def gemm_file(folder: pathlib.Path) -> pathlib.Path:
    """A classifier of large matrix products: the rate that the machine reaches at best. Several, so that copying the samples does not count."""
    import numpy
    from onnx import TensorProto, helper, numpy_helper, save

    file = folder / "gemm.onnx"
    random = numpy.random.default_rng(0)
    weights = [random.standard_normal((GEMM_SIZE, GEMM_SIZE), dtype=numpy.float32) / GEMM_SIZE**0.5 for _ in range(GEMM_LAYERS)]
    shape = ["batch", GEMM_SIZE]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(GEMM_LAYERS)],
        "gemm",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{GEMM_LAYERS}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def race(contenders: dict[str, Contender], turns: int, milliseconds: int) -> dict[str, float]:
    """Median of each contender's turns, in milliseconds."""
    for contender in contenders.values():
        contender.await_ready()
    for _ in range(turns):
        for contender in contenders.values():
            contender.turns.append(float(contender.ask(str(milliseconds))))
    return {name: statistics.median(contender.turns) for name, contender in contenders.items()}


def gemm_rate(contender: str, folder: pathlib.Path, threads: int, turns: int, milliseconds: int) -> float:
    """Floating-point operations per second of a large matrix product on ONNX Runtime, as the program `contender` runs it."""
    product = Contender([contender, str(gemm_file(folder)), "forward", str(GEMM_SIZE), str(threads), "1"])
    try:
        return 2 * GEMM_LAYERS * GEMM_SIZE**3 / (race({"gemm": product}, turns, milliseconds)["gemm"] / 1e3)
    finally:
        product.close()


def machine(rate: float | None, threads: int, provider: str = "cpu") -> str:
    import onnxruntime
    import torch

    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    product = f", large matrix product {rate / 1e9:.0f} GFLOP/s" if rate else ""
    gpu = "" if provider == "cpu" else f"{torch.cuda.get_device_name(provider)}, CUDA {torch.version.cuda}; "
    return f"{gpu}{cpu}, {threads} of {os.cpu_count()} cores{product}; ONNX Runtime {onnxruntime.__version__}, PyTorch {torch.__version__}"


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def write(command: str, lines: list[str]) -> None:
    """Puts `lines` between the marks of `command`."""
    begin, end = f"<!-- begin: {command} -->", f"<!-- end: {command} -->"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + end + after)
