"""The images that the repository ships."""
import gzip
import pathlib

import numpy as np

DATA = pathlib.Path(__file__).resolve().parents[3] / "deploy/data/fashion-mnist"


def images(n: int):
    """The first n test images of Fashion-MNIST, uint8 [n, 1, 28, 28], and their labels."""
    pixels = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    return pixels[:n], read("t10k-labels-idx1-ubyte.gz", 8)[:n]


def read(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((DATA / name).read_bytes())[header:], np.uint8)
