#!/usr/bin/env python3
"""Prints reference.txt, for ../corruptions.rs: numbers in units of 1/255, by the package imagecorruptions (ImageNet-C's constants).

    python3 -m venv venv && venv/bin/pip install imagecorruptions==1.1.2 'setuptools<80' scikit-image scipy opencv-python-headless
    venv/bin/python reference.py > reference.txt

The package is older than its dependencies: what it asks of them is given back below. Its zoom blur, elastic transformation and frost
are not the benchmark's own, so they are not among the numbers.
"""
import functools
import sys
import types

import numpy as np
import scipy.ndimage
import skimage.filters
import skimage.util
from PIL import Image

SIDE = 64
PLACES = [(0, 0, 0), (1, 20, 33), (2, 63, 40), (0, 31, 63)]
EXACT = ["defocus_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate"]
RANDOM = ["gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "fog", "speckle_noise", "spatter"]
PICTURES = 400

np.float_ = np.float64
gaussian = skimage.filters.gaussian


@functools.wraps(gaussian)
def older_gaussian(image, sigma=1, multichannel=False, **options):
    return gaussian(image, sigma, channel_axis=-1 if multichannel else None, **options)


skimage.filters.gaussian = older_gaussian
# It would draw from a generator that nothing seeds.
skimage.util.random_noise = functools.partial(skimage.util.random_noise, rng=np.random.default_rng(0))
interpolation = types.ModuleType("scipy.ndimage.interpolation")
interpolation.map_coordinates = scipy.ndimage.map_coordinates
sys.modules["scipy.ndimage.interpolation"] = interpolation

from imagecorruptions import corruptions  # noqa: E402


def picture():
    """Waves and dots of 8 bits, the same as in corruptions.rs."""
    row, column, channel = np.meshgrid(np.arange(SIDE), np.arange(SIDE), np.arange(3), indexing="ij")
    waves = 0.35 * np.sin(0.45 * row + 0.3 * channel) * np.cos(0.37 * column)
    dots = (7 * row + 13 * column + 5 * channel) % 11 / 10
    return np.floor(255 * (0.425 + waves + 0.15 * dots) + 0.5).astype(np.uint8)


def main():
    print("# By reference.py. exact: kind, severity, values at four places, mean size of the change")
    clean = picture()
    for kind in EXACT:
        for severity in range(1, 6):
            corrupted = np.asarray(getattr(corruptions, kind)(Image.fromarray(clean), severity), dtype=np.float64)
            values = " ".join(f"{corrupted[row, column, channel]:.2f}" for channel, row, column in PLACES)
            print(f"exact {kind} {severity} {values} {np.abs(corrupted - clean).mean():.3f}")
    print("# random: kind, severity, mean change and its deviation among pictures, mean size of the change and its deviation")
    np.random.seed(0)
    for kind in RANDOM:
        corrupt = getattr(corruptions, kind)
        for severity in range(1, 6):
            pictures = [np.asarray(corrupt(Image.fromarray(clean), severity), dtype=np.float64) for _ in range(PICTURES)]
            means = [(corrupted - clean).mean() for corrupted in pictures]
            sizes = [np.abs(corrupted - clean).mean() for corrupted in pictures]
            numbers = [np.mean(means), np.std(means), np.mean(sizes), np.std(sizes)]
            print(f"random {kind} {severity}", *(f"{number:.3f}" for number in numbers))


if __name__ == "__main__":
    main()
