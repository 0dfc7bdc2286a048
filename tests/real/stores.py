"""Every secrets manager against one contract, through the real binary.

    python3 stores.py TOOLS [KIND...]       # only these: vault, aws, azure, gcp, file, env
"""

import subprocess
import sys
from pathlib import Path

import install
import world
from managers.backends import Aws, Azure, Env, File, Gcp, VaultV1, VaultV2, judged
from managers.contract import Contract
from managers.fallback import Fallback
from managers.logins import Logins
from managers.restarts import Restarts
from managers.rotation import Rotation
from world import Certificates, Checks, StandIn


def hosts_file(place: Path):
    """A hosts file of this namespace's own, so that a name can stop being resolved."""
    file = place / "hosts"
    named = "127.0.0.1 localhost\n127.0.0.1 store.test\n"
    file.write_text(named)
    subprocess.run(["mount", "--bind", str(file), "/etc/hosts"], check=True)

    def known(yes: bool) -> None:
        file.write_text(named if yes else "127.0.0.1 localhost\n")

    return known


def main() -> None:
    tools = Path(sys.argv[1])
    checks = Checks("stores")
    python = install.stores(tools)
    with world.place() as name:
        place = Path(name)
        certificates = Certificates(place)
        hosts = hosts_file(place)
        subprocess.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"], check=True)
        wrong = {
            "of an unknown CA": certificates.another("stranger", issuer=None),
            "of another name": certificates.another("elsewhere", names="DNS:elsewhere.test"),
            "that has expired": certificates.another("old", days=-1),
        }
        standin = StandIn(place, certificates)
        makers = {VaultV2: tools, VaultV1: tools, Aws: python, Azure: python, Gcp: python, File: None, Env: None}
        for kind, program in makers.items():
            if sys.argv[2:] and kind.kind not in sys.argv[2:]:
                continue
            home = place / kind.__name__
            home.mkdir()
            backend = kind(home, certificates, *([program] if program else []))
            if isinstance(backend, (Azure, Gcp)):
                checks.check(f"{backend.name}: the official Python client does its whole round through the stand-in",
                             lambda: judged(home, certificates, python, backend))  # fmt: skip
            contract = Contract(checks, backend, home, certificates, standin, wrong)
            contract.values()
            if backend.kind != "env":  # a process's environment does not change
                contract.versions()
                contract.running()
                Rotation(contract).run()
            if backend.network:
                contract.failures()
                contract.outages(hosts)
                if not isinstance(backend, VaultV1):  # the same server and logins as v2
                    Logins(contract).run()
            if isinstance(backend, VaultV2):
                second = home / "second"
                second.mkdir()
                aws = Aws(second, certificates, python)
                Fallback(contract, aws).run()
                aws.stop()
            if isinstance(backend, File):
                Restarts(contract).run()
            contract.leaks()
            if not isinstance(backend, Env):  # no gate of its own has run
                world.hunt(checks, home, {**backend.secrets, "client key": contract.key})
            backend.stop()
        standin.kill()
    checks.end()


if __name__ == "__main__":
    main()
