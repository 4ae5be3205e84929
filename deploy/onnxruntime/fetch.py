#!/usr/bin/env python3
"""Fetches ONNX Runtime's shared library and verifies it.

    fetch.py FOLDER [--gpu]

The library is taken out of the official Python wheel, which pip downloads into a temporary folder; nothing is installed into
the user's Python. Each file is compared with a pinned SHA-256 before it is put in place, so FOLDER holds a verified library or
none. A second run that finds the verified files does nothing.
"""
import argparse
import hashlib
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

VERSION = "1.31.1"

# The wheels of different Pythons hold different builds. One is pinned, whatever Python runs this script.
WHEEL_PYTHON = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]

# (system, machine, gpu): (package, platform of the wheel, {file: SHA-256})
BUILDS = {
    ("Linux", "x86_64", False): (
        "onnxruntime",
        "manylinux_2_28_x86_64",
        {"libonnxruntime.so.1.31.1": "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3"},
    ),
    ("Linux", "x86_64", True): (
        "onnxruntime-gpu",
        "manylinux_2_28_x86_64",
        {
            "libonnxruntime.so.1.31.1": "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303",
            "libonnxruntime_providers_shared.so": "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d",
            "libonnxruntime_providers_cuda.so": "d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137",
        },
    ),
    ("Linux", "aarch64", False): (
        "onnxruntime",
        "manylinux_2_28_aarch64",
        {"libonnxruntime.so.1.31.1": "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467"},
    ),
    ("Darwin", "arm64", False): (
        "onnxruntime",
        "macosx_14_0_arm64",
        {"libonnxruntime.1.31.1.dylib": "f8b06155feece624e55e49124340eea279da812529ae6fbc46a9f2be9c9cad2e"},
    ),
}


def sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verified(folder: pathlib.Path, files: dict) -> bool:
    return all((folder / name).is_file() and sha256(folder / name) == digest for name, digest in files.items())


def download(package: str, wheel_platform: str, folder: str) -> pathlib.Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", wheel_platform, *WHEEL_PYTHON, "--dest", folder]
    if subprocess.run([*command, f"{package}=={VERSION}"], check=False).returncode != 0:
        sys.exit(
            f"error: pip could not download {package}=={VERSION}. It needs Python's pip (Debian: apt install python3-pip) and"
            " access to a package index. Or get the library yourself and set ORT_DYLIB_PATH to it."
        )
    return next(pathlib.Path(folder).glob("*.whl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where to put the library")
    parser.add_argument("--gpu", action="store_true", help="the build with the CUDA provider (250 MB download)")
    arguments = parser.parse_args()

    key = (platform.system(), platform.machine(), arguments.gpu)
    if key not in BUILDS:
        known = ", ".join(f"{system} {machine}{' with --gpu' if gpu else ''}" for system, machine, gpu in BUILDS)
        sys.exit(
            f"error: no pinned ONNX Runtime for {key[0]} {key[1]}{' with --gpu' if key[2] else ''} (there is: {known})."
            f" Install ONNX Runtime {VERSION} and set ORT_DYLIB_PATH to its shared library."
        )
    package, wheel_platform, files = BUILDS[key]
    if verified(arguments.folder, files):
        print(f"ONNX Runtime {VERSION} ({package}) is in {arguments.folder}, verified")
        return

    print(f"fetching ONNX Runtime {VERSION} ({package}) ...", flush=True)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        wheel = download(package, wheel_platform, scratch)
        with zipfile.ZipFile(wheel) as archive:
            for name, digest in files.items():
                unpacked = pathlib.Path(scratch) / name
                with archive.open(f"onnxruntime/capi/{name}") as source, unpacked.open("wb") as target:
                    shutil.copyfileobj(source, target)
                if sha256(unpacked) != digest:
                    sys.exit(f"error: {name} of {wheel.name} has SHA-256 {sha256(unpacked)}, expected {digest}; not installed")
        for name in files:
            (pathlib.Path(scratch) / name).replace(arguments.folder / name)
    print(f"ONNX Runtime {VERSION} ({package}) is in {arguments.folder}, verified")


main()
