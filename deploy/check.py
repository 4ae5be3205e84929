#!/usr/bin/env python3
"""Renders every kustomize overlay, and each component on the base, and validates what comes out, and the jobs, against the Kubernetes API.

    check.py SCRATCH_FOLDER

Rendering needs kubectl; where it is absent that is said and nothing is checked. Validation uses kubernetes-validate from PyPI,
installed into a virtual environment under SCRATCH_FOLDER.
"""
import os
import pathlib
import shutil
import subprocess
import sys

KUSTOMIZE = pathlib.Path(__file__).resolve().parent / "kustomize"
JOBS = pathlib.Path(__file__).parent / "jobs"
VALIDATOR = "kubernetes-validate==1.37.0"
KUBERNETES = "1.34"  # the version to validate against


def validator(scratch: pathlib.Path) -> pathlib.Path:
    environment = scratch / "venv"
    program = environment / "bin" / "kubernetes-validate"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", VALIDATOR]
        subprocess.run(pip, check=True)
    return program


def valid(program: pathlib.Path, manifest: pathlib.Path) -> bool:
    return subprocess.run([program, "--strict", "--quiet", "-k", KUBERNETES, manifest], check=False).returncode == 0


def split(manifest: str) -> tuple:
    """The documents of the Kubernetes API, and those of custom resources, which have no public schema to validate with."""
    documents = [document for document in manifest.split("\n---\n") if document.strip()]
    custom = [document for document in documents if "apiVersion: monitoring.coreos.com/" in document]
    return [document for document in documents if document not in custom], custom


def alone(component: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    """An overlay of the base with one component, and nothing else."""
    overlay = scratch / f"component-{component.name}"
    overlay.mkdir(exist_ok=True)
    base, own = (os.path.relpath(path, overlay.resolve()) for path in (KUSTOMIZE / "base", component))
    kind = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    (overlay / "kustomization.yaml").write_text(f"{kind}resources: [{base}]\ncomponents: [{own}]\n")
    return overlay


def folders(parent: pathlib.Path) -> list:
    return sorted(path for path in parent.iterdir() if path.is_dir())


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if shutil.which("kubectl") is None:
        print("notice: kubectl is not installed; the manifests were not rendered")
        return
    scratch = pathlib.Path(sys.argv[1])
    scratch.mkdir(parents=True, exist_ok=True)
    program = validator(scratch)
    components = [alone(component, scratch) for component in folders(KUSTOMIZE / "components")]
    for overlay in folders(KUSTOMIZE / "overlays") + components:
        manifest = subprocess.run(["kubectl", "kustomize", overlay], check=True, stdout=subprocess.PIPE, text=True).stdout
        documents, custom = split(manifest)
        if not documents:
            sys.exit(f"error: overlay {overlay.name} renders nothing")
        rendered = scratch / f"{overlay.name}.yaml"
        rendered.write_text("\n---\n".join(documents))
        if not valid(program, rendered):
            sys.exit(f"error: overlay {overlay.name} is not valid for Kubernetes {KUBERNETES}; rendered to {rendered}")
        print(f"overlay {overlay.name}: {len(documents)} resources valid, {len(custom)} custom resources rendered")
    for job in sorted(JOBS.glob("*.yaml")):
        if not valid(program, job):
            sys.exit(f"error: {job} is not valid for Kubernetes {KUBERNETES}")
        print(f"job {job.stem}: valid")


main()
