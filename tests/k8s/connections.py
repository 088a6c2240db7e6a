"""Rules about connections: policies permit those that the configuration needs, no others."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import yaml

from tests.k8s.configuration import needs
from tests.k8s.references import UPSTREAM
from tests.k8s.rendered import NAME, Document, Rendered, main_container, matches, pod_labels

OUTSIDE = "outside"
STORES = {"postgres": 5432, "redis": 6379, "push-redis": 6379, "stripe-sandbox": 8002}
STRIPE = 443
# Excluded: the cloud's address for credentials, and private networks.
PRIVATE = {"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}


class Connection(NamedTuple):
    """A connection from the pods of one workload to a port of another workload, or outside."""

    source: str
    target: str
    port: int

    def __str__(self) -> str:
        return f"{self.source} → {self.target}:{self.port}"


def metrics_are_scraped(rendered: Rendered) -> Iterator[str]:
    """Every long-running process of GitTix, except the sandbox, is scraped by Prometheus."""
    targets = set(scraped(rendered))
    for workload in rendered.of("Deployment"):
        ports = {port["containerPort"] for port in main_container(workload)["ports"]}
        name = pod_labels(workload)[NAME]
        if name != "ingress" and not targets & {(name, port) for port in ports}:
            yield f"{name}: Prometheus does not scrape it"


def connections_are_denied_by_default(rendered: Rendered) -> Iterator[str]:
    closing = [
        policy["spec"]
        for policy in rendered.of("NetworkPolicy")
        if set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and policy["spec"].keys() == {"podSelector", "policyTypes"}
    ]
    for workload in rendered.workloads():
        if not any(matches(spec["podSelector"], pod_labels(workload)) for spec in closing):
            yield f"{pod_labels(workload)[NAME]}: no policy denies other connections"


def connections_are_those_needed(rendered: Rendered) -> Iterator[str]:
    wanted, allowed = set(_wanted(rendered)), set(_egress(rendered))
    for connection in sorted(wanted - allowed):
        yield f"{connection} is needed, but no egress policy permits it"
    for connection in sorted(allowed - wanted):
        yield f"{connection} is not needed, but an egress policy permits it"


def targets_admit_their_clients(rendered: Rendered) -> Iterator[str]:
    let_in = set(_ingress(rendered))
    for connection in sorted(
        connection
        for connection in _wanted(rendered)
        if connection.target != OUTSIDE and connection not in let_in
    ):
        yield f"{connection} is needed, but no ingress policy permits it"
    wanted = {Connection(OUTSIDE, "ingress", 8080), *_wanted(rendered)}
    for connection in sorted(let_in - wanted):
        if connection.target not in STORES:
            yield f"{connection} is not needed, but an ingress policy permits it"


def names_can_be_resolved(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.workloads():
        ports = {
            (port["protocol"], port["port"])
            for policy in _policies(rendered, workload, "Egress")
            for rule in policy.get("egress", ())
            for peer in rule.get("to", ())
            if peer.get("podSelector", {}).get("matchLabels") == {"k8s-app": "kube-dns"}
            for port in rule["ports"]
        }
        if ports != {("UDP", 53), ("TCP", 53)}:
            yield f"{pod_labels(workload)[NAME]}: it cannot resolve names"


def rules_for_the_internet_exclude_private_networks(rendered: Rendered) -> Iterator[str]:
    for policy in rendered.of("NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            for peer in rule.get("to", ({},)):
                block = peer.get("ipBlock", {})
                if not peer or (
                    block.get("cidr") == "0.0.0.0/0" and not set(block.get("except", ())) >= PRIVATE
                ):
                    yield f"NetworkPolicy {policy['metadata']['name']}: it permits private networks"


def _wanted(rendered: Rendered) -> Iterator[Connection]:
    """The connections that follow from the settings of each process."""
    inside = {pod_labels(workload)[NAME] for workload in rendered.workloads()}

    def store(source: str, name: str, port: int) -> Connection:
        return (
            Connection(source, name, STORES[name])
            if name in inside
            else Connection(source, OUTSIDE, port)
        )

    for workload in rendered.workloads():
        name = pod_labels(workload)[NAME]
        container = main_container(workload)
        own_needs = needs(container)
        if any(need.startswith("database") for need in own_needs):
            yield store(name, "postgres", 5432)
        if "redis_url" in own_needs:
            yield store(name, "redis", 6379)
        if "push_redis_url" in own_needs:
            yield store(name, "push-redis", 6379)
        if "stripe_api_key" in own_needs and name != "stripe-sandbox":
            yield store(name, "stripe-sandbox", STRIPE)
        for address in rendered.settings(container).values():
            if found := UPSTREAM.match(address):
                yield Connection(name, found[1], int(found[3]))
        if name == "prometheus":
            yield from (
                Connection(name, *target) for target in scraped(rendered) if target[0] in inside
            )
    if "stripe-sandbox" in inside:
        yield Connection("stripe-sandbox", "payments", 8000)


def scraped(rendered: Rendered) -> Iterator[tuple[str, int]]:
    """Names and ports that Prometheus scrapes, with those of compose, which do not exist here."""
    configuration = next(
        config["data"] for config in rendered.of("ConfigMap") if "prometheus.yml" in config["data"]
    )
    for job in yaml.safe_load(configuration["prometheus.yml"])["scrape_configs"]:
        for discovery in job["dns_sd_configs"]:
            for name in discovery["names"]:
                yield name, discovery["port"]


def _egress(rendered: Rendered) -> Iterator[Connection]:
    for workload in rendered.workloads():
        for policy in _policies(rendered, workload, "Egress"):
            for rule in policy.get("egress", ()):
                for target in _peers(rendered, rule.get("to", ({"ipBlock": {}},))):
                    for port in rule["ports"]:
                        yield Connection(pod_labels(workload)[NAME], target, port["port"])


def _ingress(rendered: Rendered) -> Iterator[Connection]:
    for workload in rendered.workloads():
        for policy in _policies(rendered, workload, "Ingress"):
            for rule in policy.get("ingress", ()):
                for source in _peers(rendered, rule.get("from", ({"ipBlock": {}},))):
                    for port in rule["ports"]:
                        yield Connection(source, pod_labels(workload)[NAME], port["port"])


def _policies(rendered: Rendered, workload: Document, direction: str) -> Iterator[Document]:
    for policy in rendered.of("NetworkPolicy"):
        spec = policy["spec"]
        if direction in spec["policyTypes"] and matches(spec["podSelector"], pod_labels(workload)):
            yield spec


def _peers(rendered: Rendered, peers: list[Mapping[str, Document]]) -> Iterator[str]:
    """Names of workloads. The cluster's name server has a rule of its own."""
    for peer in peers:
        if "ipBlock" in peer:
            yield OUTSIDE
        elif "namespaceSelector" not in peer:
            for workload in rendered.selected(peer["podSelector"]):
                yield pod_labels(workload)[NAME]


RULES = (
    metrics_are_scraped,
    connections_are_denied_by_default,
    connections_are_those_needed,
    targets_admit_their_clients,
    names_can_be_resolved,
    rules_for_the_internet_exclude_private_networks,
)
