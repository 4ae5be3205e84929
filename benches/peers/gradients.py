"""A gradient step (logits, loss, d loss / d input) of assay against PyTorch: `make bench-gradients`.

Every contender is a process of its own with two threads, and the processes work in turn, because two spinning thread pools on two
cores ruin each other's times. Each turn gives a median; the table has the median of the turns. It is printed, and written between
the marks in docs/performance.md with `--write`. With `--provider cuda:0` all work on the GPU.
"""
import argparse
import pathlib
import sys

import nets
import runs
from contest import HERE, PAGE, ROOT, Contender, gemm_rate, geometric_mean, machine, race, write

PEERS = ["eager", "channels-last", "compile"]


def measure(net: str, batch: int, options: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Times in milliseconds and peak memories in MiB of one net at one batch size."""
    model = str(nets.onnx_file(net, options.folder))
    threads = str(options.threads)
    ours = lambda what: Contender([options.contender, model, what, str(batch), str(options.threads // options.sessions), str(options.sessions), options.provider])
    theirs = lambda mode: Contender([sys.executable, str(HERE / "torch_step.py"), net, mode, str(batch), threads, options.provider], {"OMP_NUM_THREADS": threads})
    contenders = {"forward": ours("forward"), "step": ours("step"), **{mode: theirs(mode) for mode in options.peers}}
    try:
        times = race(contenders, options.turns, options.milliseconds)
        memory = {what: float(contenders[what].ask("memory")) for what in ("forward", "step")}
    finally:
        for contender in contenders.values():
            contender.close()
    return times, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contender", required=True, help="the program `contender`, built in release")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where exported nets are kept")
    parser.add_argument("--nets", nargs="+", default=nets.NAMES, choices=nets.NAMES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--provider", default="cpu", help="cpu or cuda:0; sessions on a GPU need `make setup GPU=1`")
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
    on_cpu = options.provider == "cpu"
    rate = gemm_rate(options.contender, options.folder, options.threads, options.turns, options.milliseconds) if on_cpu else None
    turns = f"{options.turns} turns of {options.milliseconds} ms, assay with {options.sessions} session(s)"
    lines = [f"{machine(rate, options.threads, options.provider)}; {turns}.", ""]
    # The product's rate would be that of copies to the GPU, and the processes' memory is not the GPU's.
    lines.append("| net, batch | forward ms | step ms | PyTorch ms (best of) | PyTorch / assay | step / (2 × forward) |" + on_cpu * " of GEMM rate | memory, step / forward |")
    lines.append("|---|---|---|---|---|---|" + on_cpu * "---|---|")
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
            peer = f"{times[best]:.2f} ({best})" if best else "–"
            lines.append(f"| {net}, {batch} | {forward:.2f} | {step:.2f} | {peer} | {ratio:.2f} | {step / 2 / forward:.2f} |")
            if on_cpu:
                reached = 4 * macs * batch / (step / 1e3) / rate
                lines[-1] += f" {reached:.0%} | {memory['step']:.0f} / {memory['forward']:.0f} MiB |"
            print(lines[-1], flush=True)
    lines += ["", f"Geometric mean of PyTorch / assay: **{geometric_mean(ratios):.2f}**; least {min(ratios):.2f}."]
    print("\n".join(lines[-2:]), flush=True)
    if options.write:
        write("make bench-gradients" if options.provider == "cpu" else f'make bench-gradients ARGS="--provider {options.provider}"', lines)


if __name__ == "__main__":
    main()
