"""The chart: rendered by helm, validated, scored, compared with its snapshots; and a pod of it run without an engine.

    python3 kubernetes.py TOOLS          BLESS=1 writes the snapshots again

No cluster runs here. What a pod is gets built by hand: the libraries that a distroless image has and nothing else, read-only, as
the chart's user, with what the chart mounts where it mounts it.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import install
import world
from load import free_port
from world import Checks, Ground, Process, run, same

CHART = world.ROOT / "deploy" / "chart"
VALUES = world.HERE / "kubernetes"
CASES = ("central", "alone", "aws", "azure", "gcp")
VERSIONS = ("1.29.1", "1.37.0")
# What the schemas of Kubernetes do not know: the kinds of others.
OTHERS = ("Certificate", "ServiceMonitor", "PrometheusRule")
# What the base image has for a program that needs a C library: gcr.io/distroless/cc-debian12.
LIBRARIES = ("libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2")
# What kube-score has against a case, and what is meant so: one gate with a claim cannot be two for a moment.
KNOWN = {"alone": ["Deployment update strategy", "Deployment few replicas"]}


class Helm:
    def __init__(self, tools: Path, place: Path):
        self.tools, self.place = tools / "helm", place
        self.validate = install.kubernetes(tools).parent / "kubernetes-validate"
        self.env = {**os.environ, "HOME": str(place), "HELM_CACHE_HOME": str(place), "HELM_CONFIG_HOME": str(place), "HELM_DATA_HOME": str(place)}

    def run(self, *words: object) -> subprocess.CompletedProcess:
        return subprocess.run([str(word) for word in [self.tools / "helm", *words]], env=self.env, capture_output=True, text=True)

    def template(self, *words: object) -> subprocess.CompletedProcess:
        return self.run("template", "bi", CHART, "--kube-version", VERSIONS[0], "--namespace", "patgate", *words)

    def rendered(self, case: str, *more: object) -> str:
        done = self.template("--values", VALUES / f"{case}.yaml", *more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *settings: str, case: str = "central") -> str:
        # A list or a table is JSON.
        words = [word for one in settings for word in ("--set-json" if one[-1] in "}]" else "--set", one)]
        done = self.template("--values", VALUES / f"{case}.yaml", *words)
        assert done.returncode != 0, f"{settings} was taken"
        return done.stderr


def documents(text: str) -> list[str]:
    return [one for one in re.split(r"^---$", text, flags=re.MULTILINE) if kind(one)]


def kind(document: str) -> str:
    found = re.search(r"^kind: (\S+)$", document, re.MULTILINE)
    return found[1] if found else ""


def configuration(text: str) -> str:
    """The gate's file, out of its ConfigMap."""
    document = next(one for one in documents(text) if kind(one) == "ConfigMap" and "patgate.toml: |" in one)
    body = document.split("patgate.toml: |\n", 1)[1]
    return "".join(line[4:] for line in body.splitlines(keepends=True) if line.startswith("    ") or not line.strip())


def main() -> None:
    tools = Path(sys.argv[1]).resolve()
    checks = Checks("kubernetes")
    with world.place() as name:
        place = Path(name)
        helm = Helm(tools, place)
        chart(checks, helm, place)
        values(checks, helm)
        pod(checks, helm, place, tools)
    checks.end()


def chart(checks: Checks, helm: Helm, place: Path) -> None:
    def linted():
        done = helm.run("lint", "--strict", CHART, "--values", VALUES / "central.yaml")
        assert done.returncode == 0 and "0 chart(s) failed" in done.stdout, done.stdout + done.stderr
        run(helm.tools / "helm", "package", CHART, "--destination", place, env=helm.env)

    checks.check("helm lint --strict, and a package of it", linted)
    for case in CASES:
        text = helm.rendered(case)

        def snapshot(case=case, text=text):
            file = VALUES / "snapshots" / f"{case}.yaml"
            if "BLESS" in os.environ:
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
            assert file.read_text() == text, f"{file.name} is another; BLESS=1 tests/run kubernetes writes it again"

        def valid(case=case, text=text):
            own = place / f"{case}.yaml"
            own.write_text("---\n".join(one for one in documents(text) if kind(one) not in OTHERS))
            for version in VERSIONS:
                run(helm.validate, "-k", version, "--strict", own)

        def checked(case=case, text=text):
            """The gate itself reads the file that the chart writes, and finds in it what the values say."""
            file = place / f"{case}.toml"
            file.write_text(configuration(text))
            run(world.BINARY, "check", "--file-only", "--config", file)
            told = tomllib.loads(file.read_text())
            same(told["listen"]["certificate"], "/etc/patgate-tls/tls.crt")
            same(told["accounts"]["prod"]["host"], "myorg-prod.snowflakecomputing.com")

        def scored(case=case):
            done = subprocess.run([helm.tools / "kube-score", "score", "--output-format", "ci", place / f"{case}.yaml"], capture_output=True, text=True)
            bad = [line for line in done.stdout.splitlines() if line.startswith(("[CRITICAL]", "[WARNING]"))]
            # It has no order of its own.
            same(sorted(line.split(": ", 1)[1] for line in bad), sorted(KNOWN.get(case, [])))

        checks.check(f"{case}: as its snapshot", snapshot)
        checks.check(f"{case}: valid, strictly, for Kubernetes {' and '.join(VERSIONS)}", valid)
        checks.check(f"{case}: the gate accepts the configuration", checked)
        checks.check(f"{case}: kube-score has nothing against it but what is known", scored)

    def alerts():
        central = documents(helm.rendered("central"))
        rule = next(one for one in central if kind(one) == "PrometheusRule")
        spec = rule.split("\nspec:\n", 1)[1]
        file = place / "alerts.yml"
        file.write_text("".join(line[2:] for line in spec.splitlines(keepends=True)))
        same(file.read_text().strip(), (world.ROOT / "deploy" / "alerts.yml").read_text().strip())
        # The operator of Prometheus names a job after this label of the Service, and the alerts ask for the job.
        monitor = next(one for one in central if kind(one) == "ServiceMonitor")
        service = next(one for one in central if kind(one) == "Service" and "patgate/metrics" in one)
        assert "jobLabel: app.kubernetes.io/name" in monitor and 'app.kubernetes.io/name: patgate' in service and 'job="patgate"' in spec, monitor
        board = next(one for one in central if "grafana_dashboard" in one)
        json.loads(board.split("patgate.json: |\n", 1)[1])

    def sidecar():
        file = world.ROOT / "deploy" / "sidecar.yaml"
        for version in VERSIONS:
            run(helm.validate, "-k", version, "--strict", file)
        # What it says the file should be, in its head.
        lines = [line[6:] for line in file.read_text().splitlines() if line.startswith("#     ")]
        config = place / "sidecar.toml"
        config.write_text("\n".join(lines[lines.index("[listen]"):]) + "\n")
        run(world.BINARY, "check", "--file-only", "--config", config)

    checks.check("its alerts and its board are those of deploy/", alerts)
    checks.check("the sidecar is valid, and so is the configuration in its head", sidecar)


def values(checks: Checks, helm: Helm) -> None:
    def unknown():
        assert "nonsense" in helm.refused("nonsense=1")
        assert "nonsense" in helm.refused("config.listen.nonsense=1")
        assert "pat_" in helm.refused("config.credentials.powerbi.pat_=x")
        assert "replicaCount" in helm.refused("replicaCount=two")
        assert "drain" in helm.refused("config.listen.drain=5")
        assert "drain" in helm.refused("config.listen.drain=5min")
        assert "sql" in helm.refused("config.clients.powerbi.sql=some")

    def pasted():
        key, pat = "pgk_powerbi_canary", "eyJhbGciOiJIUzI1NiJ9.eyJjYW5hcnkiOjF9.c2ln"
        assert "keys" in helm.refused(f'config.clients.powerbi.keys=["{key}"]')
        assert "pat" in helm.refused(f"config.credentials.powerbi.pat={pat}")
        assert "pat" in helm.refused(f'config.credentials.powerbi.pat=["vault:kv/bi#token", "{pat}"]')
        assert "token" in helm.refused("config.stores.vault.vault.token=hvs.canary")

    def apart():
        assert "config.seal.keys" in helm.refused("replicaCount=2", "state.existingClaim=", case="alone")
        assert "existingClaim" in helm.refused("replicaCount=2", "config.seal.keys=pat:ring", case="alone")
        assert "issuer.name" in helm.refused("certificate.issuer.name=")
        assert "dnsNames" in helm.refused("certificate.dnsNames=[]")
        assert "killed in its drain" in helm.refused("config.listen.drain=5m")
        assert "maxReplicas" in helm.refused("replicaCount=10")
        assert "healthFrom" in helm.refused("networkPolicy.healthFrom=[]")
        assert "nobody reaches it" in helm.refused("config.listen.address=127.0.0.1:8443")
        assert "config.health.address" in helm.refused("config.health.address=")
        assert "egressPorts" in helm.refused("networkPolicy.egressPorts=[]")
        bare = helm.template()
        assert "config.accounts is empty" in bare.stderr, bare.stderr

    def odd():
        """Values that YAML or TOML would read otherwise."""
        settings = ("serviceAccount.name=123", "priorityClassName=1", "podLabels.odd=true", "config.listen.public=gate.example.com:443")
        text = helm.rendered("central", *[word for setting in settings for word in ("--set-string", setting)])
        assert 'serviceAccountName: "123"' in text and 'priorityClassName: "1"' in text, text[:500]
        name = 'a.b "c" <d>'
        file = helm.place / "odd.json"
        file.write_text(json.dumps({"config": {"accounts": {name: {"host": "x.snowflakecomputing.com"}}, "traces": {"sample": 1}}}))
        told = tomllib.loads(configuration(helm.rendered("central", "--values", file)))
        same(told["accounts"][name]["host"], "x.snowflakecomputing.com")
        same((told["traces"]["sample"], told["seal"]["keys"], told["clients"]["powerbi"]["limits"]["sessions"]), (1, "sealing:keys", 50))

    def proxy():
        """A further listener has its ports everywhere."""
        text = helm.rendered("central", "--set-json", 'config.listeners={"proxy":{"kind":"connect","address":"0.0.0.0:3128"}}')
        two = 'config.listeners={"other_long_listener_one":{"address":"0.0.0.0:1"},"other_long_listener_two":{"address":"0.0.0.0:2"}}'
        assert "one name for a port" in helm.refused(two)
        for wanted in ("containerPort: 3128", "port: 3128", "targetPort: l-proxy", "- port: l-proxy"):
            assert wanted in text, wanted

    def restarted():
        """What a running gate does not take up changes its pods; what it takes up does not."""
        mark = lambda *words: re.search(r'patgate/at-start: "(\w+)"', helm.rendered("central", *words))[1]  # noqa: E731
        same(mark("--set", "config.clients.powerbi.limits.sessions=7"), mark())
        way = 'config.listeners={"proxy":{"kind":"connect","address":"0.0.0.0:3128"%s}}'
        same(mark("--set-json", way % ',"auth":true'), mark("--set-json", way % ""))
        assert mark("--set-json", way % ',"tunnels":7') != mark("--set-json", way % "") != mark()
        for setting in ("config.listen.workers=3", "config.seal.rotate=1h", "config.pat.budget=1", "config.replicas.timeout=20ms", "config.stores.vault.vault.kubernetes.role=x"):
            assert mark("--set", setting) != mark(), setting

    def scheduled():
        """The test's pod runs where the gates do, and may pull what they pull."""
        words = ("--set-json", 'tolerations=[{"key":"bi","operator":"Exists"}]', "--set-json", 'imagePullSecrets=["registry"]', "--set", "nodeSelector.pool=bi")
        text = helm.rendered("central", *words)
        for wanted in ('- name: "registry"', "pool: bi", "key: bi"):
            same(text.count(wanted), 2)

    def closed():
        """No way out but the operator's own."""
        words = ("--set-json", "networkPolicy.egressPorts=[]", "--set-json", 'networkPolicy.egress=[{"to":[{"ipBlock":{"cidr":"10.0.0.0/8"}}]}]')
        policy = next(one for one in documents(helm.rendered("central", *words)) if kind(one) == "NetworkPolicy")
        assert "10.0.0.0/8" in policy and "port: 8200" not in policy and not re.search(r"ports:\s*(null)?\s*$", policy), policy

    checks.check("a change that needs a restart makes new pods, and no other does", restarted)
    checks.check("the test's pod goes where the gates go", scheduled)
    checks.check("a network policy with ways of the operator's own alone", closed)
    checks.check("values that YAML or TOML would read otherwise stay what they are", odd)
    checks.check("a further listener has its port at the pod, the service and the policy", proxy)
    checks.check("a value or a key of the configuration that nobody knows is refused", unknown)
    checks.check("a secret in place of its hash or its reference is refused: a ConfigMap is no place for it", pasted)
    checks.check("what does not go together is refused with what to do", apart)


class Pod(Process):
    """The container of a pod: the image's root and the chart's mounts, read-only, without a capability, by number."""

    def __init__(self, root: Path, mounts: dict[str, Path], *words: object):
        binds = " && ".join(f'mkdir -p "$1{at}" && mount --bind "{there}" "$1{at}"' for at, there in mounts.items())
        script = (
            # The root first, so that what is mounted in it stays.
            f'mount --bind "$1" "$1" && {binds} && mount -o remount,bind,ro "$1" && mount -t tmpfs -o uid=65532,gid=65532,mode=0700 none "$1/var/lib/patgate" && '
            'root=$1 && shift && exec chroot --userspec=65532:65532 "$root" "$@"'
        )
        self.before = ["unshare", "--mount", "sh", "-c", script, "sh", root]
        super().__init__(root.parent, "pod", "/usr/local/bin/patgate", *words, env={"STATE_DIRECTORY": "/var/lib/patgate", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


def image(place: Path, tools: Path) -> Path:
    """The root of an image: what the base has, and the program. No shell, no package manager."""
    root, debian = place / "image", install.debian(tools)
    for directory in ("usr/local/bin", "usr/bin", "lib64", "lib/x86_64-linux-gnu", "etc/ssl/certs", "var/lib/patgate", "etc/patgate", "etc/patgate-tls", "etc/patgate-secrets", "tmp", "dev"):
        (root / directory).mkdir(parents=True)
    for library in LIBRARIES:
        run("cp", "-L", debian / "lib/x86_64-linux-gnu" / library, root / "lib/x86_64-linux-gnu")
    run("cp", "-L", debian / "lib64/ld-linux-x86-64.so.2", root / "lib64")
    run("cp", "-L", debian / "etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
    (root / "etc/passwd").write_text("nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")
    run("cp", world.BINARY, root / "usr/local/bin/patgate")
    return root


def pod(checks: Checks, helm: Helm, place: Path, tools: Path) -> None:
    ground = Ground(place, "POWERBI_SERVICE", "canary-pat-kubernetes")
    port, health, admin = free_port(), free_port(), free_port()
    key, key_hash = world.new_key("powerbi")
    mounts = {}
    for at, files in {
        "/etc/patgate-tls": {"tls.crt": ground.certificates.pem, "tls.key": ground.certificates.key, "ca.pem": ground.certificates.ca},
        "/etc/patgate-secrets/pat": {"token": place / "pat"},
    }.items():  # fmt: skip
        directory = place / at.strip("/").replace("/", "-")
        directory.mkdir()
        for name, source in files.items():
            (directory / name).write_bytes(source.read_bytes())
        mounts[at] = directory
    settings = {
        "config.listen.address": f"0.0.0.0:{port}", "config.health.address": f"0.0.0.0:{health}",
        "config.admin.address": f"127.0.0.1:{admin}", "config.accounts.prod.host": "localhost",
        "config.accounts.prod.address": f"127.0.0.1:{ground.standin.port}", "config.accounts.prod.ca": "/etc/patgate-tls/ca.pem",
        "config.clients.powerbi.keys[0]": key_hash, "config.clients.powerbi.networks[0]": "127.0.0.0/8", "config.log.level": "trace",
    }  # fmt: skip
    text = helm.rendered("alone", *[word for name, value in settings.items() for word in ("--set", f"{name}={value}")])
    mounts["/etc/patgate"] = place / "configuration"
    mounts["/etc/patgate"].mkdir()
    (mounts["/etc/patgate"] / "patgate.toml").write_text(configuration(text))
    deployment = next(one for one in documents(text) if kind(one) == "Deployment")
    args = json.loads(re.search(r"^ +args: (\[.*\])$", deployment, re.MULTILINE)[1])
    root = image(place, tools)

    def mounted():
        """Each place of the chart's is one that the test mounts."""
        wanted = set(re.findall(r"mountPath: (\S+)", deployment))
        same(wanted, {*mounts, "/var/lib/patgate"})

    def probe(path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", health, timeout=world.PATIENCE)
        connection.request("GET", path)
        return connection.getresponse().status

    serving = SimpleNamespace(port=port)  # what a login needs to know of a gate

    def serves():
        world.wait_for(lambda: probe("/readyz") == 200)
        same(probe("/livez"), 200)
        assert world.login(serving, ground.certificates.ca, key)["success"]

    def reloaded():
        """The kubelet puts another file there; no pod is replaced for it."""
        file = mounts["/etc/patgate"] / "patgate.toml"
        late, late_hash = world.new_key("late")
        assert not world.login(serving, ground.certificates.ca, late)["success"]
        file.write_text(file.read_text() + f'[clients.late]\ncredential = "powerbi"\nkeys = ["{late_hash}"]\n')
        world.wait_for(lambda: world.login(serving, ground.certificates.ca, late)["success"])

    def healthy():
        """The check of the image, which has no shell and no curl."""
        done = Pod(root, mounts, "health", "--ready", "--config", "/etc/patgate/patgate.toml")
        same(done.process.wait(world.PATIENCE), 0)

    checks.check("the pod has the mounts of the chart", mounted)
    running = Pod(root, mounts, *args)
    checks.check("it runs in a distroless root, read-only, as 65532: probes, and a login", serves)
    checks.check("`patgate health` works there", healthy)
    checks.check("a changed ConfigMap is applied without a new pod", reloaded)
    checks.check("it ends with 0", lambda: same(running.stop(), 0))
    checks.check("no secret stands in its log", lambda: world.leaks([running.log], {"PAT": ground.pat, "key": key}))
    ground.standin.kill()


if __name__ == "__main__":
    main()
