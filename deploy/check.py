#!/usr/bin/env python3
"""Tests the alerts, renders every kustomize overlay, and validates what comes out, and the jobs, against the Kubernetes API.

    check.py SCRATCH_FOLDER

Alerts need promtool, and rendering kubectl; where one is absent that is said and its part is not checked. Validation uses kubernetes-validate from PyPI,
installed into a virtual environment under SCRATCH_FOLDER.
"""
import pathlib
import shutil
import subprocess
import sys

OVERLAYS = pathlib.Path(__file__).parent / "kustomize" / "overlays"
ALERTS = pathlib.Path(__file__).parent / "prometheus"
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


def alerts() -> None:
    if shutil.which("promtool") is None:
        print("notice: promtool is not installed; the alerts were not tested")
        return
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        tested = subprocess.run(["promtool", *command], cwd=ALERTS, check=False, capture_output=True, text=True)
        if tested.returncode != 0:
            sys.exit(f"error: promtool {' '.join(command)}: {tested.stdout}{tested.stderr}")
    print("alerts: valid, and raised where they must be")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    alerts()
    if shutil.which("kubectl") is None:
        print("notice: kubectl is not installed; the manifests were not rendered")
        return
    scratch = pathlib.Path(sys.argv[1])
    scratch.mkdir(parents=True, exist_ok=True)
    program = validator(scratch)
    for overlay in sorted(path for path in OVERLAYS.iterdir() if path.is_dir()):
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
