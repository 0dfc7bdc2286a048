"""The fuzz targets of tests/fuzz, each for a while from an empty corpus.

    python3 fuzz.py TOOLS
"""

import re
import subprocess
import sys
from pathlib import Path

import install
import world
from world import Checks

SECONDS = 20
# Fewer would mean that something is wrong with the target.
LEAST = 100_000


def main() -> None:
    programs = install.fuzz(Path(sys.argv[1]))
    checks = Checks("fuzz")
    with world.place() as name:

        def fuzzed(target: str) -> None:
            corpus = Path(name) / target
            corpus.mkdir()
            command = [programs / target, f"-max_total_time={SECONDS}", "-max_len=4096", f"-artifact_prefix={corpus}/", corpus]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
            runs = re.search(r"Done (\d+) runs", done.stderr)
            assert done.returncode == 0 and runs, done.stderr[-3000:]
            print(f"       {target}: {runs[1]} runs", flush=True)
            assert int(runs[1]) >= LEAST, runs[1]

        for target in ("sealed_token", "login_body"):
            checks.check(f"{target}: nothing opens, nothing stumbles", lambda: fuzzed(target))
    checks.end()


if __name__ == "__main__":
    main()
