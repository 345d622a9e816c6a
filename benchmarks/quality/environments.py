"""The environment of each peer: made on first use from its pinned requirements, below the work folder."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / "peers"


@dataclass(frozen=True)
class Program:
    """How a peer runs: its script, its requirements, and what its processes find in their environment."""

    script: str
    requirements: str
    environment: tuple[tuple[str, str], ...] = ()


_RECTOOLS = Program("rectools_peer.py", "requirements-rectools.txt")
# implicit runs threads of its own and is slower with those of OpenBLAS beside them; its own warning says so.
_IMPLICIT = Program("implicit_peer.py", "requirements-implicit.txt", (("OPENBLAS_NUM_THREADS", "1"),))

PROGRAMS = {
    "rectools-sasrec": _RECTOOLS,
    "rectools-esasrec": _RECTOOLS,
    "implicit-als": _IMPLICIT,
    "implicit-item-knn": _IMPLICIT,
    "vmis-knn": Program("vmis_knn.py", "requirements-vmis.txt"),
}


def ask(name: str, split: Path, out: Path, work: Path, minutes: float) -> None:
    """Run a peer on a split; its output goes to `log.txt` beside its lists.

    Raises:
        subprocess.CalledProcessError: it failed; the log says why.
    """
    program = PROGRAMS[name]
    python = python_of(name, work)
    out.mkdir(parents=True, exist_ok=True)
    method = name.split("-", 1)[1]
    command = [str(python), str(PEERS / program.script), str(split), str(out), method, "--minutes", str(minutes)]
    with (out / "log.txt").open("w") as log:
        surroundings = {**os.environ, **dict(program.environment)}
        surroundings.pop("PYTHONPATH", None)
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, env=surroundings)


def python_of(name: str, work: Path) -> Path:
    """Return the interpreter of the environment of a peer, with just its requirements."""
    wanted = PEERS / PROGRAMS[name].requirements
    digest = blake2b(wanted.read_bytes(), digest_size=4).hexdigest()
    folder = work / "environments" / f"{wanted.stem.removeprefix('requirements-')}-{digest}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)], check=True)
        done.touch()
    return python.absolute()
