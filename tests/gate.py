"""The whole gate, `make test`: format, lint, types, imports, then the tests; stops at the first that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STEPS: list[tuple[str, list[str]]] = [
    ("format", [str(BIN / "ruff"), "format", "--check", "--quiet", "."]),
    ("lint", [str(BIN / "ruff"), "check", "--quiet", "."]),
    ("types", [str(BIN / "mypy")]),
    ("imports", [str(BIN / "lint-imports"), "--no-logo"]),
    ("tests", [sys.executable, "-m", "pytest"]),
]


def main() -> int:
    """Run the steps in order; return the exit code of the first that fails, else 0."""
    for name, command in STEPS:
        started = time.perf_counter()
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        sys.stdout.write(f"gate: {name}: {'ok' if code == 0 else 'FAILED'} in {time.perf_counter() - started:.0f} s\n")
        sys.stdout.flush()
        if code:
            return code
    if shutil.which("chromium") is None:
        sys.stdout.write("gate: the browser tests were skipped; `apt-get install chromium` and run `make test` again\n")
        return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
