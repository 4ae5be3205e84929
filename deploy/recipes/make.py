#!/usr/bin/env python3
"""Makes the demo's models from Fashion-MNIST, as the recipes beside this file say.

    make.py --assay PROGRAM [--models FOLDER] [NAME...]

Each recipe NAME.toml becomes FOLDER/NAME/1/model.onnx, a parent before its variants; without names all of them do. The images are those of
Debian's package dataset-fashion-mnist where it is installed, and else fetched; what is in them is verified. A run that was cut off goes on where it was.
"""
import argparse
import gzip
import hashlib
import pathlib
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE / "data"
DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")
URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
# SHA-256 of what is inside: each mirror has packed it anew.
FILES = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}


def content(packed: bytes) -> str:
    return hashlib.sha256(gzip.decompress(packed)).hexdigest()


def fetch_data() -> None:
    DATA.mkdir(exist_ok=True)
    for name, digest in FILES.items():
        file = DATA / name
        if file.exists() and content(file.read_bytes()) == digest:
            continue
        if (DEBIAN / name).exists():
            packed = (DEBIAN / name).read_bytes()
        else:
            try:
                with urllib.request.urlopen(f"{URL}/{name}", timeout=60) as answer:
                    packed = answer.read()
            except (urllib.error.URLError, OSError) as error:
                sys.exit(f"error: {URL}/{name}: {error}. Install Debian's package dataset-fashion-mnist, or put the file into {DATA}.")
        if content(packed) != digest:
            sys.exit(f"error: {name} is not the file that the recipes are for: its content has another SHA-256 than {digest}")
        file.write_bytes(packed)


def in_order(recipes: dict[str, dict]) -> list[str]:
    """Each after the model that it begins with, if that is made too."""
    made: list[str] = []
    while len(made) < len(recipes):
        ready = [name for name in recipes if name not in made and parent(recipes[name]) not in recipes.keys() - made]
        made += ready
        if not ready:
            sys.exit(f"error: recipes begin with each other's models: {', '.join(recipes.keys() - made)}")
    return made


def parent(recipe: dict) -> str | None:
    return recipe["model"].split("/")[-3] if isinstance(recipe["model"], str) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", required=True, help="the command-line client")
    parser.add_argument("--models", type=pathlib.Path, default=HERE.parent / "models")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    known = {file.stem: file for file in sorted(HERE.glob("*.toml"))}
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        sys.exit(f"error: there is no recipe {unknown[0]}; there are {', '.join(known)}")
    fetch_data()
    recipes = {name: tomllib.loads(known[name].read_text()) for name in arguments.names or known}
    began = time.monotonic()
    for name in in_order(recipes):
        file = arguments.models / name / "1/model.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        print(f"\n== {name}", flush=True)
        code = subprocess.run([arguments.assay, "harden", known[name], "--out", file], check=False).returncode
        if code != 0:
            sys.exit(f"error: assay ended with code {code}")
    print(f"\n{len(recipes)} models in {time.monotonic() - began:.0f} s")


main()
