"""Makes views of the same files with this crate and with torchvision, in turns, and compares.

    python3 benches/load_images.py

Three files: a JPEG and a 16-bit PNG of 2,500x3,000 pixels and a PNG of 512x624 (`benches/images.rs`
draws them). A view is what a training step sees: decoded, a random part of 60 to 100 % scaled to
224x224, flipped, turned, made brighter and more contrasty, blurred, normalized. One thread either
side; Pillow blurs by its own fast filter, which is several times as fast as torchvision's. Medians
over the rounds of each side's own median. Needs torch and torchvision.
"""

import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import torch
from PIL import Image, ImageFilter
from torchvision import transforms
from torchvision.transforms import InterpolationMode

ROUNDS = 5
SECONDS = 2.0
FILES = ["large.jpg", "large_16_bits.png", "small.png"]
CACHES = ["none", "disk", "memory"]

VIEW = transforms.Compose([
    transforms.RandomResizedCrop(224, scale=(0.6, 1.0)),
    transforms.RandomHorizontalFlip(),
    transforms.RandomAffine(20, (0.1, 0.1), (0.95, 1.05), interpolation=InterpolationMode.BILINEAR),
    transforms.ColorJitter(brightness=0.4, contrast=0.4),
    lambda image: image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 3.0))),
    transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])


def open_image(path):
    """An RGB image; 16 bits are spread over the range they fill."""
    image = Image.open(path)
    if image.mode.startswith("I"):
        levels = numpy.asarray(image).astype(numpy.float32)
        levels = (levels - levels.min()) / max(levels.max() - levels.min(), 1)
        image = Image.fromarray((levels * 255 + 0.5).astype(numpy.uint8))
    return image.convert("RGB")


def torchvision(path):
    """Milliseconds of a view, the median over `SECONDS`."""
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        VIEW(open_image(path))
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def ours(folder):
    """Milliseconds of a view by file and cache."""
    command = ["cargo", "bench", "--bench", "images", "--", "--noplot", "--sample-size", "20",
               "--warm-up-time", "0.5", "--measurement-time", str(SECONDS)]
    environment = os.environ | {"CONVIRT_BENCH_IMAGES": str(folder)}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = re.findall(r"images/(\S+)/(\S+)\s+time:\s+\[\S+ \S+ (\S+) (\S+) \S+ \S+\]", output.stdout)
    units = {"ns": 1e-6, "µs": 1e-3, "ms": 1.0, "s": 1e3}
    return {(file, cache): float(number) * units[unit] for file, cache, number, unit in found}


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rounds = []
        for _ in range(ROUNDS):
            mine = ours(folder)
            rounds.append((mine, {file: torchvision(folder / file) for file in FILES}))
        for file in FILES:
            theirs = statistics.median(python[file] for _, python in rounds)
            size = (folder / file).stat().st_size / 1e6
            print(f"{file} ({size:.2f} MB): torchvision {theirs:.2f} ms a view")
            for cache in CACHES:
                times = [mine[file, cache] for mine, _ in rounds]
                ratios = [python[file] / mine[file, cache] for mine, python in rounds]
                print(
                    f"  convirt, cache {cache:6} {statistics.median(times):6.2f} ms, "
                    f"{statistics.median(ratios):5.1f} times as fast "
                    f"({min(ratios):.1f} to {max(ratios):.1f})"
                )


if __name__ == "__main__":
    sys.exit(main())
