"""A gradient step (logits, loss, d loss / d input) of assay against PyTorch: `make bench-gradients`.

Every contender is a process of its own with two threads, and the processes work in turn, because two spinning thread pools on two
cores ruin each other's times. Each turn gives a median; the table has the median of the turns. It is printed, and written between
the marks in docs/performance.md with `--write`.
"""
import argparse
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import nets
import runs

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs/performance.md"
PEERS = ["eager", "channels-last", "compile"]
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

    def ask(self, line: str) -> float:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.answer())

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
        if contender.answer() != "ready":
            raise RuntimeError(f"{' '.join(contender.command)} is not a contender")
    for _ in range(turns):
        for contender in contenders.values():
            contender.turns.append(contender.ask(str(milliseconds)))
    return {name: statistics.median(contender.turns) for name, contender in contenders.items()}


def measure(net: str, batch: int, options: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Times in milliseconds and peak memories in MiB of one net at one batch size."""
    model = str(nets.onnx_file(net, options.folder))
    threads = str(options.threads)
    ours = lambda what: Contender([options.contender, model, what, str(batch), str(options.threads // options.sessions), str(options.sessions)])
    theirs = lambda mode: Contender([sys.executable, str(HERE / "torch_step.py"), net, mode, str(batch), threads], {"OMP_NUM_THREADS": threads})
    contenders = {"forward": ours("forward"), "step": ours("step"), **{mode: theirs(mode) for mode in options.peers}}
    try:
        times = race(contenders, options.turns, options.milliseconds)
        memory = {what: contenders[what].ask("memory") for what in ("forward", "step")}
    finally:
        for contender in contenders.values():
            contender.close()
    return times, memory


def gemm_rate(options: argparse.Namespace) -> float:
    """Floating-point operations per second of a large matrix product on ONNX Runtime."""
    command = [options.contender, str(gemm_file(options.folder)), "forward", str(GEMM_SIZE), str(options.threads), "1"]
    contender = Contender(command)
    try:
        return 2 * GEMM_LAYERS * GEMM_SIZE**3 / (race({"gemm": contender}, options.turns, options.milliseconds)["gemm"] / 1e3)
    finally:
        contender.close()


def machine(rate: float, options: argparse.Namespace) -> str:
    import onnxruntime
    import torch

    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return (
        f"{cpu}, {options.threads} of {os.cpu_count()} cores, large matrix product {rate / 1e9:.0f} GFLOP/s; ONNX Runtime {onnxruntime.__version__}, "
        f"PyTorch {torch.__version__}; {options.turns} turns of {options.milliseconds} ms, assay with {options.sessions} session(s)."
    )


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contender", required=True, help="the program `contender`, built in release")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where exported nets are kept")
    parser.add_argument("--nets", nargs="+", default=nets.NAMES, choices=nets.NAMES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=1, help="assay's sessions; the threads are shared out among them")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--milliseconds", type=int, default=400, help="length of a turn")
    parser.add_argument("--runs", action="store_true", help="only the table of the sizes of a run")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)

    if options.runs:
        lines = runs.table(options.nets, pathlib.Path(options.contender).with_name("derive"), options.folder, options.turns)
        print("\n".join(lines))
        if options.write:
            write("make bench-gradients ARGS=--runs", lines)
        return
    rate = gemm_rate(options)
    lines = [machine(rate, options), ""]
    lines.append("| net, batch | forward ms | step ms | PyTorch ms (best of) | PyTorch / assay | step / (2 × forward) | of GEMM rate | memory, step / forward |")
    lines.append("|---|---|---|---|---|---|---|---|")
    print("\n".join(lines), flush=True)
    ratios = []
    for net in options.nets:
        macs = nets.macs(net)
        for batch in options.batches:
            times, memory = measure(net, batch, options)
            forward, step = times["forward"], times["step"]
            best = min(options.peers, key=times.get, default=None)
            ratio = times[best] / step if best else float("nan")
            ratios.append(ratio)
            reached = 4 * macs * batch / (step / 1e3) / rate
            peer = f"{times[best]:.2f} ({best})" if best else "–"
            lines.append(
                f"| {net}, {batch} | {forward:.2f} | {step:.2f} | {peer} | {ratio:.2f} | {step / 2 / forward:.2f} | {reached:.0%} "
                f"| {memory['step']:.0f} / {memory['forward']:.0f} MiB |"
            )
            print(lines[-1], flush=True)
    lines += ["", f"Geometric mean of PyTorch / assay: **{geometric_mean(ratios):.2f}**; least {min(ratios):.2f}."]
    print("\n".join(lines[-2:]), flush=True)
    if options.write:
        write("make bench-gradients", lines)


def write(command: str, lines: list[str]) -> None:
    """Puts `lines` between the marks of `command`."""
    begin, end = f"<!-- begin: {command} -->", f"<!-- end: {command} -->"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + end + after)


if __name__ == "__main__":
    main()
