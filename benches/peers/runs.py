"""What one sample of a gradient step costs in runs of different sizes, on one thread: `make bench-gradients ARGS=--runs`.

A run of few samples pays the fixed cost of its operators for few; one of many has its first activations in main memory when it reads them again.
"""
import pathlib
import statistics
import subprocess
import time

import nets

SIZES = [1, 2, 4, 8, 16, 32, 64]


def feed(session, batch: int) -> dict:
    import numpy

    random = numpy.random.default_rng(0)
    shape = lambda value: [d if isinstance(d, int) else batch for d in value.shape]
    integers = lambda value: numpy.zeros(shape(value), numpy.int64)
    return {v.name: integers(v) if "int64" in v.type else random.random(shape(v), numpy.float32) for v in session.get_inputs()}


def milliseconds(graph: pathlib.Path, turns: int) -> dict[int, float]:
    """Median time of a sample by the size of the run; the sizes take turns."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feeds = {size: feed(session, size) for size in SIZES}
    times = {size: [] for size in SIZES}
    for turn in range(turns + 1):
        for size, inputs in feeds.items():
            start = time.process_time()
            session.run(None, inputs)
            if turn:  # the first allocates
                times[size].append((time.process_time() - start) / size * 1e3)
    return {size: statistics.median(taken) for size, taken in times.items()}


def table(names: list[str], derive: pathlib.Path, folder: pathlib.Path, turns: int) -> list[str]:
    """Lines of Markdown: processor time of a sample, in milliseconds."""
    lines = [f"| net | {' | '.join(map(str, SIZES))} |", "|---" * (len(SIZES) + 1) + "|"]
    for name in names:
        graph = folder / f"{name}.gradient.onnx"
        subprocess.run([derive, nets.onnx_file(name, folder), graph], check=True)
        times = milliseconds(graph, turns)
        lines.append(f"| {name} | {' | '.join(f'{times[size]:.2f}' for size in SIZES)} |")
    return lines
