"""The files of cluster/deploy: each name in them is one that there is, and what they start is started.

    deploy.py PROGRAM

helm, promtool, systemd-analyze and nginx are asked where they are installed; without them everything else is checked all the same.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import blocks
import yaml
from checks import METRIC, OF_PROMETHEUS, Commands, base, documented_labels, kinds, links, metrics_text
from gotemplate import Chart, Refused
from world import ROOT, Failed, World, free

DEPLOY = ROOT / "cluster/deploy"
CHART = DEPLOY / "helm/strandline"
VALUES: dict[str, Any] = {"gateway": {"tlsSecret": "tls"}, "environment": {"STRANDLINE_LOG": "info"}, "tolerations": [{"key": "disk", "operator": "Exists"}]}
CLUSTER: dict[str, Any] = {"cluster": {"enabled": True, "certificatesSecret": "certs", "tokensSecret": "tokens", "sharedClaim": "files"}}
# a value that a template names
VALUE = re.compile(r"\.Values((?:\.\w+)+)")
# what every program is linked with on a system of glibc
OF_THE_C_LIBRARY = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|gcc_s))\.so\.\d+$")
# what Prometheus itself tells of each target
ITS_OWN = {"up"}


def asked(*command: str | Path, cwd: Path | None = None, silent: str | None = None, told: str | None = None) -> Iterator[str]:
    """Asks a tool of others, where it is installed; it must end well, and say nothing of `silent`. `told`: what it reads."""
    if shutil.which(command[0]) is None:
        print(f"deploy: {command[0]} is not installed here, it is not asked")
        return
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, input=told)
    said = done.stdout + done.stderr
    if done.returncode != 0 or (silent is not None and silent in said):
        yield f"{command[0]}: {said}"


def dockerfile(world: World, commands: Commands) -> Iterator[str]:
    """COPY names what there is and what the builder gets; every member of the workspace is copied; the command is one of ours."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "docker/Dockerfile").read_text())
    rules = [line for line in (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied: list[str] = []
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        for source in sources:
            if not (ROOT / source).exists():
                yield f"Dockerfile copies {source}, which is not there"
            if f"!{source.split('/')[0]}" not in rules:
                yield f"Dockerfile.dockerignore keeps {source} from the builder"
            copied.append(source)
    members = re.search(r"^members = \[(.*?)\]", (ROOT / "Cargo.toml").read_text(), re.MULTILINE | re.DOTALL)
    for member in re.findall(r'"(.*?)"', members[1] if members else ""):
        if not any(member == source or member.startswith(source + "/") for source in copied):
            yield f"Dockerfile does not copy the member {member}: cargo would not build"
    sources = [path for folder in ("crates", "cluster") for path in (ROOT / folder).rglob("*.rs")]
    for path in sources:
        for included in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', path.read_text()):
            at = (path.parent / included).resolve().relative_to(ROOT).as_posix()
            if not any(at == source or at.startswith(source + "/") for source in copied):
                yield f"Dockerfile does not copy {at}, which {path.relative_to(ROOT)} includes"
    wanted = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    if not wanted or f"ARG RUST={wanted[1]}\n" not in text:
        yield "Dockerfile: RUST is not the rust-version of Cargo.toml"
    if not re.search(r"^USER 65532", text, re.MULTILINE):
        yield "Dockerfile: the image runs as root"
    command = re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)
    yield from started(world, commands, json.loads(command[1]) if command else [], "Dockerfile", DEPLOY / "stores.deql")


def started(world: World, commands: Commands, words: list[str], who: str, statement: Path | str) -> Iterator[str]:
    """A `serve` of a deployment, with its statement, comes up."""
    options = {word for word in words if word.startswith("--")}
    if words[:1] != ["serve"] or options - commands.known["serve"]:
        yield f"{who}: {words} is no serve of this program"
        return
    text = statement.read_text() if isinstance(statement, Path) else statement
    file = world.home / "stores.deql"
    file.write_text(world.here(text))
    if "/var/lib/strandline/" not in text:
        yield f"{who}: the statement keeps nothing on the volume"
    world.start("strandline " + " ".join(word.replace("/etc/strandline/stores.deql", str(file)) for word in words))
    world.stop()
    shutil.rmtree(world.folder / "system", ignore_errors=True)


def systemd(world: World, commands: Commands) -> Iterator[str]:
    """The unit starts what there is, drains by SIGTERM, gives nothing away."""
    path = DEPLOY / "systemd/strandline.service"
    text = path.read_text()
    keys = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    words = keys["ExecStart"].split()
    yield from started(world, commands, words[1:], "strandline.service", DEPLOY / "stores.deql")
    wanted = {"KillSignal": "SIGTERM", "NoNewPrivileges": "true", "ProtectSystem": "strict", "User": "strandline", "RestartPreventExitStatus": "2"}
    yield from (f"strandline.service: {key} is {keys.get(key)}, not {value}" for key, value in wanted.items() if keys.get(key) != value)
    if not re.search(r"^u +strandline ", (DEPLOY / "systemd/strandline.sysusers.conf").read_text(), re.MULTILINE):
        yield "strandline.sysusers.conf makes no user strandline"
    # the program where it is, so that the tool finds it
    unit = world.home / "strandline.service"
    unit.write_text(text.replace("/usr/bin/strandline", str(commands.program)))
    # it warns of what it does not know, and ends with 0
    yield from asked("systemd-analyze", "verify", "--man=no", unit, silent=unit.name)


def wait_for_start(world: World, commands: Commands) -> Iterator[str]:
    """ExecStartPost waits while the node is not ready, ends when it is, with tokens and TLS too, and gives up when it is gone."""
    post = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "systemd/strandline.service").read_text(), re.MULTILINE))["ExecStartPost"]
    script = re.fullmatch(r"/bin/sh -c '(.*)'", post)
    if not script:
        yield f"ExecStartPost is {post}"
        return
    waits = world.home / "wait.sh"
    waits.write_text(script[1].replace("$$", "$").replace("/usr/bin/strandline", "strandline"))
    world.shell(f"timeout 2 env MAINPID=$$ sh {waits} || echo waited; exit 0")
    if "waited" not in (world.folder / "printed").read_text():
        yield "ExecStartPost does not wait for a node that is not there"
    code, _ = world.shell(f"sleep 0 & gone=$!; wait; MAINPID=$gone sh {waits}")
    if code != 1:
        yield f"ExecStartPost ends with {code} when the node has ended"
    world.shell("strandline certs dev --dir certs && strandline token new --name somebody --role read --token-file tokens", strict=True)
    secured = "--token-file tokens --tls-cert certs/server.pem --tls-key certs/server.key"
    # as it is where only `serve` was told where to listen
    del world.environment["STRANDLINE_URL"]
    for start in ("strandline serve", f"strandline serve {secured}"):
        world.start(start)
        code, printed = world.shell(f"MAINPID=$$ timeout 60 sh {waits}")
        if code != 0:
            yield f"ExecStartPost fails beside `{start}`: {printed}"
        # what the image asks again and again, in the environment of its node
        code, printed = world.shell(" ".join(health_check()))
        if code != 0 or "ready" not in printed:
            yield f"HEALTHCHECK says of `{start}`: {printed}"
        world.stop()
    code, printed = world.shell(" ".join(health_check()))
    if code == 0:
        yield f"HEALTHCHECK takes a node that has ended for one that is ready: {printed}"


def health_check() -> list[str]:
    """The command of the image's HEALTHCHECK, with the program that is tested."""
    found = re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", (DEPLOY / "docker/Dockerfile").read_text(), re.MULTILINE)
    words: list[str] = json.loads(found[1]) if found else ["false"]
    return [words[0].replace("/usr/bin/", ""), *words[1:]]


def leaves(value: Any, at: str = "") -> Iterator[str]:
    """Where values stand; an empty map, which users fill as they like, is one."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{at}.{key}")
    else:
        yield at


def values(chart: Path) -> Iterator[str]:
    """Templates name values that there are, and each value is named, by itself or with what it is part of. To helm neither would be an error."""
    given = set(leaves(yaml.safe_load((chart / "values.yaml").read_text())))
    named = {path for file in (chart / "templates").iterdir() for path in VALUE.findall(file.read_text())}

    def covers(path: str, leaf: str) -> bool:
        return leaf == path or leaf.startswith(f"{path}.")

    yield from (f"templates name .Values{path}, which values.yaml has not" for path in sorted(named) if not any(covers(path, leaf) for leaf in given))
    yield from (f"values.yaml has {leaf}, which no template names" for leaf in sorted(given) if not any(covers(path, leaf) for path in named))


def helm(world: World, commands: Commands) -> Iterator[str]:
    """The chart renders, its objects fit together, its node comes up; and as a cluster in sets by role."""
    yield from values(CHART)
    objects = Chart(CHART, VALUES).objects()
    yield from fit(objects)
    node = next(c for o in objects if o["kind"] == "StatefulSet" for c in o["spec"]["template"]["spec"]["containers"] if c["name"] == "node")
    statement = next(o["data"]["stores.deql"] for o in objects if "stores.deql" in o.get("data", {}))
    yield from started(world, commands, node["args"], "the chart's node", statement)
    no_tokens = {"cluster": {"enabled": True, "certificatesSecret": "certs"}}
    refused_now: list[tuple[dict[str, Any], str]] = [({}, "tlsSecret"), ({"cluster": {"enabled": True}}, "certificatesSecret"), (no_tokens, "tokensSecret")]
    for given, said in refused_now:
        try:
            Chart(CHART, given).render()
            yield f"the chart takes {given}"
        except Refused as refused:
            if said not in str(refused):
                yield f"the chart refuses {given} with: {refused}"
    yield from asked("helm", "lint", CHART, "--set", "gateway.tlsSecret=tls")
    yield from asked("helm", "template", "events", CHART, "--set", "gateway.tlsSecret=tls")
    yield from asked("helm", "template", "events", CHART, *(word for key, value in CLUSTER["cluster"].items() for word in ("--set", f"cluster.{key}={value}")))
    yield from gateway(world, objects)
    yield from sets(Chart(CHART, VALUES | CLUSTER).objects(), commands)
    yield from listens()


def listens() -> Iterator[str]:
    """What others reach is listened for at the address of the values, and at no other: pods may have addresses of IPv6 alone."""
    for address in ("0.0.0.0", "[::]"):
        alone, cluster = (Chart(CHART, VALUES | more | {"listen": address}).objects() for more in ({}, CLUSTER))
        told = re.findall(r"^ *listen (\S+?)[; ]", next(o["data"]["nginx.conf"] for o in alone if "nginx.conf" in o.get("data", {})), re.MULTILINE)
        if told != [f"{address}:8080", f"{address}:8443"]:
            yield f"listen {address}: the gateway listens on {told}"
        for pods in (o for o in cluster if o["kind"] == "StatefulSet"):
            words = next(c for c in pods["spec"]["template"]["spec"]["containers"] if c["name"] == "node")["args"]
            if not {f"--http={address}:7070", f"--native={address}:7071"} <= set(words):
                yield f"listen {address}: {pods['metadata']['name']} is told {words}"


def sets(objects: list[dict[str, Any]], commands: Commands) -> Iterator[str]:
    """Each role is a set of its own, with its budget; one pod makes the cluster, the others join it; ids never meet."""
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    if ("ConfigMap", "events-gateway") in names or ("StatefulSet", "events") in names:
        yield "a cluster has the node or the gateway of one that runs alone"
    made = {o["metadata"]["name"]: o for o in objects if o["kind"] == "StatefulSet"}
    labels = {name: o["spec"]["template"]["metadata"]["labels"] for name, o in made.items()}
    wanted = {"events-first": "ingest", "events-ingest": "ingest", "events-compact": "compact", "events-read": "read"}

    def chosen(selector: dict[str, str]) -> set[str]:
        return {name for name, has in labels.items() if selector.items() <= has.items()}

    ids: list[str] = []
    for name, pods in made.items():
        spec = pods["spec"]["template"]["spec"]
        node = next(c for c in spec["containers"] if c["name"] == "node")
        arguments = dict(word.partition("=")[::2] for word in node["args"][1:])
        yield from (f"{name}: serve has no {option}" for option in arguments.keys() - commands.known["serve"])
        if node["args"][0] != "serve" or arguments["--roles"] != wanted.get(name):
            yield f"{name}: {node['args']}"
        if ("--join" in arguments) == (name == "events-first") or ("--config" in arguments) != (name == "events-first"):
            yield f"{name}: one pod makes the cluster, the others join it"
        if arguments["--cluster"] != "[$(POD_IP)]:7073":
            yield f"{name}: a pod's own address may be one of IPv6, and stands in brackets: {arguments['--cluster']}"
        joins = arguments.get("--join", "events-first-0.events-nodes:7073")
        if joins != "events-first-0.events-nodes:7073" or pods["spec"]["serviceName"] != "events-nodes":
            yield f"{name}: joins {joins}"
        identity = next(e["value"] for e in node["env"] if e["name"] == "NODE_ID")
        first, count = pods["spec"]["ordinals"]["start"], pods["spec"]["replicas"]
        ids += [identity.replace("$(POD_INDEX)", str(first + n)) for n in range(count)]
        if chosen(pods["spec"]["selector"]["matchLabels"]) != {name}:
            yield f"{name}: its selector chooses other pods"
        yield from pod(name, pods, names)
    if set(made) != set(wanted) or len(ids) != len(set(ids)) or len(ids) != 5:
        yield f"sets {sorted(made)}, ids {ids}"
    budgets = [(chosen(o["spec"]["selector"]["matchLabels"]), o["spec"]["maxUnavailable"]) for o in objects if o["kind"] == "PodDisruptionBudget"]
    if sorted(sorted(of) for of, _ in budgets) != [["events-compact"], ["events-first", "events-ingest"], ["events-read"]]:
        yield f"budgets of {budgets}"
    if any(most != 1 for of, most in budgets if "events-first" in of):
        yield "more than one voter may go at once"
    services = {o["metadata"]["name"]: chosen(o["spec"]["selector"]) for o in objects if o["kind"] == "Service"}
    if services != {"events": set(wanted), "events-read": {"events-read"}, "events-nodes": set(wanted)}:
        yield f"services choose {services}"
    yield from found_before_ready(objects)


def found_before_ready(objects: list[dict[str, Any]]) -> Iterator[str]:
    """Each pod has a name of its own from its start on: nodes that come back must find each other before any of them is ready."""
    specs = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "Service"}
    for name in {o["spec"]["serviceName"] for o in objects if o["kind"] == "StatefulSet"}:
        spec = specs.get(name, {})
        if spec.get("clusterIP") != "None" or spec.get("publishNotReadyAddresses") is not True:
            yield f"{name}: no names of pods that are not ready"


def fit(objects: list[dict[str, Any]]) -> Iterator[str]:
    """Selectors choose the pods, volumes are there, probes ask what a node serves, nobody is root."""
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    sets = [o for o in objects if o["kind"] == "StatefulSet"]
    if not sets:
        yield "the chart has no set"
    for pods in sets:
        at, labels = pods["metadata"]["name"], pods["spec"]["template"]["metadata"]["labels"].items()
        selectors = [pods["spec"]["selector"]["matchLabels"]]
        selectors += [o["spec"]["selector"].get("matchLabels", o["spec"]["selector"]) for o in objects if o["kind"] in ("Service", "PodDisruptionBudget")]
        yield from (f"{at}: {selector} does not choose its pods" for selector in selectors if not selector.items() <= labels)
        yield from pod(at, pods, names)
    yield from found_before_ready(objects)


def pod(at: str, pods: dict[str, Any], names: set[tuple[str, str]]) -> Iterator[str]:
    """What a pod names is there; its probes ask what a node serves; it may no more than it needs."""
    spec = pods["spec"]["template"]["spec"]
    volumes = {v["name"] for v in spec["volumes"]} | {v["metadata"]["name"] for v in pods["spec"]["volumeClaimTemplates"]}
    for volume in spec["volumes"]:
        if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in names:
            yield f"{at}: no ConfigMap {volume['configMap']['name']}"
    if ("Service", pods["spec"]["serviceName"]) not in names or ("ServiceAccount", spec["serviceAccountName"]) not in names:
        yield f"{at}: its service or account is not there"
    if not spec["securityContext"]["runAsNonRoot"] or spec["terminationGracePeriodSeconds"] < 30:
        yield f"{at}: runs as root, or is killed before it has drained"
    yield from secrets(at, spec)
    ports = {p["containerPort"] for c in spec["containers"] for p in c.get("ports", [])}
    for container in spec["containers"]:
        yield from (f"{at}: no volume {m['name']}" for m in container["volumeMounts"] if m["name"] not in volumes)
        context = container["securityContext"]
        if context["allowPrivilegeEscalation"] or not context["readOnlyRootFilesystem"] or context["capabilities"]["drop"] != ["ALL"]:
            yield f"{at}: {container['name']} may more than it needs"
        for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
            asks = container.get(probe, {}).get("httpGet")
            if container["name"] == "node" and (asks is None or asks["path"] != path or asks["port"] not in ports):
                yield f"{at}: {probe} is {asks}"


def secrets(at: str, spec: dict[str, Any]) -> Iterator[str]:
    """What is renewed in a Secret reaches a pod that runs: it is mounted as a folder, read from there, and copied nowhere; a node takes what its group may read."""
    of_secrets = {v["name"]: v["secret"] for v in spec["volumes"] if "secret" in v}
    if "initContainers" in spec:
        yield f"{at}: what an init container makes of a secret is not renewed"
    for container in spec["containers"]:
        mounts = [m for m in container["volumeMounts"] if m["name"] in of_secrets]
        yield from (f"{at}: {m['name']} is mounted by subPath, which is never renewed" for m in mounts if "subPath" in m or "subPathExpr" in m)
        if container["name"] != "node":
            continue
        yield from (f"{at}: a node does not take {m['name']} with these modes" for m in mounts if of_secrets[m["name"]].get("defaultMode") != 0o440)
        named = [word.partition("=")[2] for word in container["args"] if word.startswith(("--token-file=", "--tls-"))]
        yield from (f"{at}: {file} is in no secret" for file in named if not any(file.startswith(f"{m['mountPath']}/") for m in mounts))


def gateway(world: World, objects: list[dict[str, Any]]) -> Iterator[str]:
    """The gateway passes on what its port of probes says, and keeps the operators' routes; nginx is asked where it is."""
    text = next(o["data"]["nginx.conf"] for o in objects if "nginx.conf" in o.get("data", {}))
    if text.count("{") != text.count("}"):
        yield "nginx.conf: braces"
    for wanted in ("location = /health", "location = /ready", "location = /metrics", "ssl_verify_client on", "location /admin { return 404; }"):
        if wanted not in text:
            yield f"nginx.conf has no `{wanted}`"
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        print("deploy: nginx is not installed here, it is not asked")
        return
    files = world.home / "tls"
    files.mkdir()
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {files}/tls.key -out {files}/tls.crt -subj /CN=test -days 1 && cp {files}/tls.crt {files}/ca.crt"
    subprocess.run(["sh", "-c", make], check=True, capture_output=True)
    config = world.home / "nginx.conf"
    config.write_text(text.replace(" /tmp/", f" {files}/").replace("/etc/strandline-tls", str(files)))
    yield from asked("nginx", "-t", "-c", config, "-p", world.home)


def strange(expression: str) -> list[str]:
    """What an expression chooses or groups by that its metrics have not: it would show nothing."""
    has = documented_labels()
    everywhere = OF_PROMETHEUS | {"le"}
    findings = []
    for name, inner in re.findall(r"(strandline_\w+)\{([^}]*)\}", expression):
        chosen = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', inner))
        findings += [f"{base(name)} has no label {label}" for label in sorted(chosen - has.get(base(name), set()) - everywhere)]
    any_of = set().union(*(has.get(base(name), set()) for name in METRIC.findall(expression))) | everywhere
    grouped = {label for names in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.findall(r"\w+", names)}
    return findings + [f"no metric of it has a label {label}" for label in sorted(grouped - any_of)]


def choices(board: dict[str, Any], known: set[str]) -> Iterator[str]:
    """What somebody may choose on the dashboard is filled from metrics and labels that there are, and panels choose by nothing else."""
    variables = board["templating"]["list"]
    for name, label in re.findall(r"label_values\((\w+), (\w+)\)", json.dumps([v.get("query") for v in variables])):
        if name not in known or label not in documented_labels().get(base(name), set()) | OF_PROMETHEUS:
            yield f"dashboard: a choice is filled from {label} of {name}, which a node does not tell"
    made = {variable["name"] for variable in variables} | {"__rate_interval"}
    yield from (f"dashboard: ${name} is no choice" for name in sorted(set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"]))) - made))


def prometheus(world: World, commands: Commands) -> Iterator[str]:
    """Rules and dashboard name metrics that a node tells; each rule says its reason and what to do, each panel what it shows."""
    text = metrics_text(world)
    told = kinds(text)
    known = ITS_OWN | set(told) | {f"{n}_{part}" for n, kind in told.items() if kind == "histogram" for part in ("bucket", "sum", "count")}
    rules = [r for g in yaml.safe_load((DEPLOY / "prometheus/strandline.rules.yml").read_text())["groups"] for r in g["rules"]]
    tested = {case["alertname"] for t in yaml.safe_load((DEPLOY / "prometheus/strandline.rules.test.yml").read_text())["tests"] for case in t["alert_rule_test"] if case["exp_alerts"]}
    yield from (f"{rule['alert']}: no test lets it fire" for rule in rules if rule["alert"] not in tested)
    for rule in rules:
        yield from (f"{rule['alert']}: {finding}" for finding in strange(rule["expr"]))
        yield from (f"{rule['alert']}: a node does not tell {name}" for name in METRIC.findall(rule["expr"]) if name not in known)
        missing = {"summary", "reason", "action"} - set(rule["annotations"])
        if missing or rule["labels"].get("severity") not in ("critical", "warning", "info"):
            yield f"{rule['alert']}: no {missing or 'severity'}"
        for name in METRIC.findall(" ".join(rule["annotations"].values())):
            if name not in known and name not in told:
                yield f"{rule['alert']}: its text names {name}, which a node does not tell"
    board = json.loads((DEPLOY / "grafana/strandline.json").read_text())
    yield from choices(board, known)
    panels = [p for p in board["panels"] if p["type"] != "row"]
    for panel in panels:
        yield from (f"dashboard, {panel['title']}: {finding}" for target in panel["targets"] for finding in strange(target["expr"]))
        for name in [n for t in panel["targets"] for n in METRIC.findall(t["expr"])]:
            if name not in known:
                yield f"dashboard, {panel['title']}: a node does not tell {name}"
        if not panel.get("description") or not panel["targets"]:
            yield f"dashboard, {panel['title']}: says not what it shows"
    watched = " ".join([t["expr"] for p in panels for t in p["targets"]] + [r["expr"] for r in rules])
    looked_at = {base(name) for name in METRIC.findall(watched)}
    yield from (f"{name} is on no panel of the dashboard and in no rule" for name in sorted(told.keys() - looked_at))
    # conventions of names and of the format
    yield from asked("promtool", "check", "metrics", told=text)
    yield from asked("promtool", "check", "rules", DEPLOY / "prometheus/strandline.rules.yml")
    yield from asked("promtool", "test", "rules", "strandline.rules.test.yml", cwd=DEPLOY / "prometheus")


def package(world: World, commands: Commands) -> Iterator[str]:
    """The archive holds a program that runs and needs nothing but the C library, licences, and documents whose links hold."""
    environment = {**os.environ, "STRANDLINE_PACKAGE_PROGRAM": str(commands.program)}
    done = subprocess.run([ROOT / "scripts/package", world.home / "dist"], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        yield f"scripts/package: {done.stdout}{done.stderr}"
        return
    archive = Path(done.stdout.strip().splitlines()[-1])
    with tarfile.open(archive) as opened:
        opened.extractall(world.home, filter="data")
    at = world.home / archive.name.removesuffix(".tar.gz")
    documents = ("doc/README.md", "doc/docs/quick-start.md", "deploy/systemd/strandline.service", "deploy/stores.deql")
    completions = ("bash-completion/completions/strandline", "zsh/site-functions/_strandline", "fish/vendor_completions.d/strandline.fish")
    shares = ("man/man1/strandline-serve.1", *completions)
    for name in ("bin/strandline", "LICENSE-APACHE", "LICENSE-MIT", *documents, *(f"share/{name}" for name in shares)):
        if not (at / name).exists():
            yield f"the archive has no {name}"
    code, printed = world.shell(f"'{at}/bin/strandline' --version && cd dist && sha256sum --check --quiet *.sha256")
    if code != 0 or not printed.startswith("strandline "):
        yield f"the archive's program: {printed}"
    objdump = subprocess.run(["objdump", "-p", at / "bin/strandline"], capture_output=True, text=True, check=True)
    needed = set(re.findall(r"^ +NEEDED +(\S+)$", objdump.stdout, re.MULTILINE))
    yield from (f"the archive's program needs {name}, which a system may be without" for name in sorted(needed) if not OF_THE_C_LIBRARY.match(name))
    if not needed:
        yield "objdump says no longer what a program needs"
    documented = (at / "doc").resolve()
    yield from (f"the archive: {finding}" for finding in links(sorted(documented.rglob("*.md")), documented))


def topologies(world: World, commands: Commands) -> Iterator[str]:
    """Each cluster of the page comes up with its commands, with as many nodes in their roles, and its statements are taken; what needs other machines names options that there are."""
    at = DEPLOY / "topologies"
    for statement in at.glob("*.deql"):
        text = world.here(statement.read_text()).replace("/mnt/strandline", str(world.folder / "system/shared"))
        (world.home / statement.name).write_text(text)
    started_now = 0
    for block in blocks.parse(at / "README.md"):
        lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
        nodes = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        yield from (f"topologies: no command: {line}" for line in lines if not line.startswith("$ "))
        for node in nodes:
            unknown = set(re.findall(r" (--[a-z-]+)", node)) - commands.known["serve"]
            yield from (f"topologies: `{node}`: there is no {option}" for option in sorted(unknown))
        if any("127.0.0.1" not in node for node in nodes):
            continue
        for node in nodes:
            world.start(node)
        _, told = world.shell("curl -s http://127.0.0.1:7170/admin/v1/cluster", strict=True)
        roles = [member["roles"] for member in json.loads(told)["members"] if member["state"] == "member"]
        wanted = [(re.findall(r"--roles (\S+)", node) or ["ingest,compact,read"])[0] for node in nodes]
        if roles != wanted:
            yield f"topologies: the members do {roles} instead of {wanted}: {told}"
        world.stop()
        started_now += 1
        for folder in (*world.home.glob("n[0-9]"), world.folder / "system"):
            shutil.rmtree(folder, ignore_errors=True)
    if started_now < 2:
        yield f"topologies: {started_now} clusters were started"
    settings = f"STRANDLINE_PROGRAM='{commands.program}' STRANDLINE_CLUSTER_ONCE=1 STRANDLINE_CLUSTER_PORT={cluster_port()} ROLES='ingest ingest ingest compact'"
    code, printed = world.shell(f"{settings} '{ROOT}/scripts/cluster' 4 '{world.home}/a folder'")
    # the rows of the table of members: a state, then roles
    roles = re.findall(r"\bmember\b\W+([a-z,]+)", printed)
    if code != 0 or printed.count("ready http=") != 4 or roles != ["ingest", "ingest", "ingest", "compact"]:
        yield f"scripts/cluster ends with {code}: {roles}: {printed}"


def cluster_port() -> int:
    """A port above which those of four nodes are free."""
    while True:
        first = random.randrange(15_000, 30_000)
        if all(free(first + 100 * node + n) for node in range(1, 5) for n in range(3)):
            return first


def listed(world: World, commands: Commands) -> Iterator[str]:
    """cluster/deploy/README.md names each folder of it, and tests that there are."""
    text = (DEPLOY / "README.md").read_text()
    skipped = ("README.md", "topologies*")
    for path in sorted(DEPLOY.iterdir()):
        if path.name not in text and not any(fnmatch(path.name, name) for name in skipped):
            yield f"cluster/deploy/README.md does not name {path.name}"
    sources = [source for folder in ("crates", "cluster", "tests/blackbox") for source in (ROOT / folder).rglob("*.rs")]
    known = {name for source in sources for name in re.findall(r"\bfn (\w+)", source.read_text())}
    tests = [name for name in re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`", text) if not METRIC.fullmatch(name)]
    yield from (f"cluster/deploy/README.md names {name}: there is no such test" for name in tests if name not in known)
    if not tests:
        yield "cluster/deploy/README.md names no test: the words by which they are found have changed"


CHECKS: list[Callable[[World, Commands], Iterator[str]]] = [dockerfile, systemd, wait_for_start, helm, prometheus, package, topologies, listed]


def main() -> int:
    program = Path(sys.argv[1]).resolve()
    commands = Commands(program)
    wanted = [check for check in CHECKS if not sys.argv[2:] or check.__name__ in sys.argv[2:]]
    failed = 0
    for check in wanted:
        with tempfile.TemporaryDirectory(prefix="page") as folder:
            world = World(Path(folder), program)
            try:
                findings = list(check(world, commands))
            except Failed as why:
                findings = [str(why)]
            finally:
                world.close()
        failed += len(findings)
        print("\n".join(f"FAILED {check.__name__}: {finding}" for finding in findings) or f"deploy: {check.__name__} holds", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
