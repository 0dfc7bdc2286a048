"""Programs for Windows, as Wine starts them."""

import os
import subprocess
import tempfile
from pathlib import Path

import install


class Wine:
    """A machine of Wine's. What it starts by itself keeps the output of the first program open: so programs write to files."""

    def __init__(self, tools: Path):
        self.env = {**os.environ, **install.wine_env(tools / "wine")}
        # Wine ends its services with its last ordinary program.
        quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.run("wineboot")
        self.keeper = subprocess.Popen([install.WINE, "cmd"], env=self.env, **quiet)

    def run(self, *words: object, code: int | None = 0, stdin: str = "", cwd: Path | None = None, patience: float = 300) -> tuple[str, str]:
        """What a program wrote to stdout and to stderr."""
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            given.write(stdin)
            given.seek(0)
            command = [install.WINE, *map(str, words)]
            ended = subprocess.run(command, env=self.env, cwd=cwd, stdin=given, stdout=out, stderr=errors, timeout=patience)
            out.seek(0)
            errors.seek(0)
            told = out.read().replace("\r\n", "\n"), errors.read().replace("\r\n", "\n")
            assert code in (None, ended.returncode), (words, ended.returncode, told[0][-2000:], told[1][-2000:])
            return told

    def end(self) -> None:
        self.keeper.kill()
        self.keeper.wait()
        subprocess.run([Path(install.WINE).with_name("wineserver64"), "-k"], env=self.env)
