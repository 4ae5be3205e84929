#!/usr/bin/env python3
"""Cuts the first N samples from a pair of gzipped IDX files, byte for byte.

    cut_idx.py SOURCE_DIR TARGET_DIR N

Reads t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz. The output is the same on every machine.
"""
import gzip
import pathlib
import struct
import sys


def cut(source: pathlib.Path, target: pathlib.Path, count: int) -> None:
    data = gzip.decompress(source.read_bytes())
    dimensions = data[3]
    shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    if shape[0] < count:
        sys.exit(f"{source}: has {shape[0]} samples, {count} were asked for")
    sample = 1
    for size in shape[1:]:
        sample *= size
    start = 4 + 4 * dimensions
    head = data[:4] + struct.pack(f">{dimensions}I", count, *shape[1:])
    target.write_bytes(gzip.compress(head + data[start : start + count * sample], 9, mtime=0))


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    source, target, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        cut(source / name, target / name, count)


main()
