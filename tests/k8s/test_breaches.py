"""Each rule finds its violation when it is planted in the rendered documents."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.k8s import configuration, connections, pod_rules, references
from tests.k8s.rendered import NAME, Document, Rendered, main_container, pod
from tests.k8s.test_rules import RULES

Rule = Callable[[Rendered], Iterator[str]]
Plant = Callable[[Rendered], object]


def app(rendered: Rendered, name: str) -> Document:
    return main_container(rendered.workload(name))


def named(rendered: Rendered, kind: str, name: str) -> Document:
    found = rendered.named(kind, name)
    assert found is not None, f"{kind} {name} does not exist"
    return found


def config(rendered: Rendered, key: str) -> dict[str, str]:
    """The data of the ConfigMap that has this key."""
    data: dict[str, str] = next(
        each["data"] for each in rendered.of("ConfigMap") if key in each["data"]
    )
    return data


def without(rendered: Rendered, kind: str, name: str) -> None:
    rendered.documents.remove(named(rendered, kind, name))


def settle(document: Document, **entries: Any) -> None:
    document.update(entries)


def variable(rendered: Rendered, workload: str, name: str, value: str = "x") -> None:
    app(rendered, workload)["env"].append({"name": name, "value": value})


def unset(rendered: Rendered, workload: str, name: str) -> None:
    environment = app(rendered, workload)["env"]
    environment.remove(next(entry for entry in environment if entry["name"] == name))


def secret(rendered: Rendered, workload: str, name: str, key: str) -> None:
    reference = {"name": "gittix", "key": key}
    app(rendered, workload)["env"].append({"name": name, "valueFrom": {"secretKeyRef": reference}})


def policy(rendered: Rendered, name: str) -> Document:
    spec: Document = named(rendered, "NetworkPolicy", name)["spec"]
    return spec


def rule(rendered: Rendered, name: str, direction: str) -> Document:
    first: Document = policy(rendered, name)[direction][0]
    return first


def security(rendered: Rendered, workload: str) -> Document:
    context: Document = app(rendered, workload)["securityContext"]
    return context


BREACHES: Mapping[Rule, Mapping[str, Plant]] = {
    references.selectors_match: {
        "a Service of nobody": lambda r: settle(
            named(r, "Service", "auth")["spec"], selector={NAME: "authh"}
        ),
        "a Service of everybody": lambda r: settle(
            named(r, "Service", "auth")["spec"], selector={"app.kubernetes.io/part-of": "gittix"}
        ),
        "a Deployment that loses its pods": lambda r: settle(
            r.workload("orders")["spec"]["selector"], matchLabels={NAME: "order"}
        ),
        "a budget of nobody": lambda r: settle(
            named(r, "PodDisruptionBudget", "push")["spec"]["selector"],
            matchLabels={NAME: "pusher"},
        ),
        "a policy of nobody": lambda r: settle(
            policy(r, "auth-to-push"), podSelector={"matchLabels": {NAME: "authh"}}
        ),
    },
    references.service_ports_exist: {
        "a port that no pod has": lambda r: settle(
            named(r, "Service", "tickets")["spec"]["ports"][0], targetPort="web"
        ),
        "a headless port of its own": lambda r: settle(
            named(r, "Service", "tickets")["spec"]["ports"][0], port=80
        ),
    },
    references.probes_ask_ports_that_exist: {
        "another port": lambda r: settle(app(r, "relay")["livenessProbe"]["httpGet"], port="http"),
    },
    references.ports_are_those_listened_on: {
        "an argument": lambda r: app(r, "orders")["args"].__setitem__(-1, "8001"),
        "OPS_PORT": lambda r: variable(r, "relay", "OPS_PORT", "9101"),
        "the ingress": lambda r: settle(config(r, "LISTEN_PORT"), LISTEN_PORT="80"),
    },
    references.references_resolve: {
        "a service account that is missing": lambda r: without(r, "ServiceAccount", "relay"),
        "another's service account": lambda r: settle(
            pod(r.workload("relay")), serviceAccountName="auth"
        ),
        "another's Secret": lambda r: settle(
            app(r, "auth")["env"][0]["valueFrom"]["secretKeyRef"], name="passwords"
        ),
        "a ConfigMap that is missing": lambda r: settle(
            app(r, "auth")["envFrom"][0]["configMapRef"], name="setings"
        ),
        "replicas beside a scaler": lambda r: settle(r.workload("auth")["spec"], replicas=2),
    },
    references.config_maps_carry_their_hash: {
        "a plain name": lambda r: settle(r.of("ConfigMap")[0]["metadata"], name="settings"),
    },
    references.dev_secrets_have_every_key: {
        "a key that nobody made": lambda r: r.documents.append(
            {"kind": "Secret", "metadata": {"name": "gittix"}, "data": {"REDIS_URL": ""}}
        ),
    },
    references.images_are_pinned: {
        "latest": lambda r: settle(app(r, "auth"), image="registry.example.com/gittix:latest"),
        "none": lambda r: settle(app(r, "auth"), image="registry.example.com:5000/gittix"),
    },
    references.the_ingress_finds_its_services: {
        "a name in another namespace": lambda r: settle(
            config(r, "AUTH_UPSTREAM"), AUTH_UPSTREAM="auth.default.svc.cluster.local:8000"
        ),
        "a short name": lambda r: settle(config(r, "AUTH_UPSTREAM"), AUTH_UPSTREAM="auth:8000"),
        "another port": lambda r: settle(
            config(r, "AUTH_UPSTREAM"), AUTH_UPSTREAM="auth.gittix.svc.cluster.local:80"
        ),
    },
    references.each_version_has_a_migration_of_its_own: {
        "one name for all": lambda r: settle(r.of("Job")[0]["metadata"], name="migrate"),
        "another version": lambda r: settle(
            app(r, "migrate"), image="registry.example.com/gittix:0.0.9"
        ),
    },
    pod_rules.pods_are_restricted: {
        "root": lambda r: settle(pod(r.workload("auth"))["securityContext"], runAsNonRoot=False),
        "root by number": lambda r: settle(security(r, "ingress"), runAsUser=0),
        "no seccomp": lambda r: settle(
            pod(r.workload("auth"))["securityContext"], seccompProfile={}
        ),
        "more than it is": lambda r: settle(security(r, "auth"), allowPrivilegeEscalation=True),
        "a capability": lambda r: settle(
            security(r, "auth"), capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}
        ),
        "a root to write to": lambda r: settle(security(r, "auth"), readOnlyRootFilesystem=False),
        "a container before": lambda r: settle(
            pod(r.workload("auth"))["initContainers"][0], securityContext={}
        ),
        "the node's network": lambda r: settle(pod(r.workload("auth")), hostNetwork=True),
        "the node's files": lambda r: pod(r.workload("auth"))["volumes"].append(
            {"name": "node", "hostPath": {"path": "/"}}
        ),
        "a token": lambda r: settle(pod(r.workload("auth")), automountServiceAccountToken=True),
        "an account with a token": lambda r: settle(
            named(r, "ServiceAccount", "auth"), automountServiceAccountToken=True
        ),
    },
    pod_rules.the_namespace_enforces: {
        "it only warns": lambda r: r.of("Namespace")[0]["metadata"]["labels"].pop(
            "pod-security.kubernetes.io/enforce"
        ),
        "another namespace": lambda r: settle(
            named(r, "Service", "auth")["metadata"], namespace="default"
        ),
    },
    pod_rules.resources_are_bounded: {
        "no limit": lambda r: app(r, "relay")["resources"]["limits"].pop("memory"),
        "no request": lambda r: app(r, "relay")["resources"].pop("requests"),
        "a volume without end": lambda r: settle(
            pod(r.workload("relay"))["volumes"][0], emptyDir={}
        ),
    },
    pod_rules.pods_are_probed: {
        "none": lambda r: app(r, "relay").pop("startupProbe"),
        "killed for its store": lambda r: settle(
            app(r, "auth")["livenessProbe"]["httpGet"], path="/readyz"
        ),
        "ready when it is not": lambda r: settle(
            app(r, "auth")["readinessProbe"]["httpGet"], path="/healthz"
        ),
    },
    pod_rules.pods_have_time_to_end: {
        "the gateway's drain": lambda r: settle(config(r, "DRAIN_SECONDS"), DRAIN_SECONDS="40"),
        "a service's delay": lambda r: settle(
            config(r, "DRAIN_SECONDS"), SHUTDOWN_DELAY_SECONDS="50"
        ),
        "the ingress's sleep": lambda r: settle(
            app(r, "ingress")["lifecycle"]["preStop"]["sleep"], seconds=30
        ),
        "a worker's": lambda r: settle(pod(r.workload("relay")), terminationGracePeriodSeconds=10),
        "none": lambda r: pod(r.workload("orders")).pop("terminationGracePeriodSeconds"),
    },
    pod_rules.deployments_stay_up: {
        "no budget": lambda r: without(r, "PodDisruptionBudget", "relay"),
        "a rollout that takes away first": lambda r: settle(
            r.workload("relay")["spec"]["strategy"]["rollingUpdate"], maxUnavailable=1
        ),
        "all on one node": lambda r: pod(r.workload("relay"))["topologySpreadConstraints"].pop(),
        "every history": lambda r: r.workload("relay")["spec"].pop("revisionHistoryLimit"),
    },
    configuration.variables_are_settings: {
        "a slip of the pen": lambda r: settle(config(r, "LOG_FORMAT"), LOG_FROMAT="json"),
        "one that a pod alone has": lambda r: variable(r, "orders", "HOLD_SECS", "60"),
        "one that nginx does not know": lambda r: settle(
            config(r, "LISTEN_PORT"), REQUESTS_RATE="1r/s"
        ),
    },
    configuration.processes_have_what_they_need: {
        "a setting is missing": lambda r: config(r, "PUSHER_APP_ID").pop("PUSHER_APP_ID"),
        "a secret is missing": lambda r: unset(r, "payments", "STRIPE_WEBHOOK_SECRETS"),
        "a database is missing": lambda r: unset(r, "worker-jobs", "PAYMENTS_DATABASE_URL"),
        "an app's name": lambda r: settle(config(r, "PUSHER_APP_ID"), PUSHER_APP_ID="gittix"),
        "a value that is none": lambda r: settle(config(r, "PUSHER_PORT"), PUSHER_PORT="https"),
    },
    configuration.secrets_go_where_they_are_needed: {
        "the signing key": lambda r: secret(r, "tickets", "JWT_PRIVATE_KEY", "JWT_PRIVATE_KEY"),
        "the owner's login": lambda r: secret(r, "relay", "DATABASE_URL", "DATABASE_URL"),
        "the money": lambda r: secret(r, "worker-consumers", "STRIPE_API_KEY", "STRIPE_API_KEY"),
        "another's login": lambda r: secret(r, "orders", "AUTH_DATABASE_URL", "AUTH_DATABASE_URL"),
    },
    configuration.secrets_are_references: {
        "in a pod": lambda r: variable(r, "orders", "REDIS_URL", "redis://:hunter2@redis:6379/0"),
        "in a ConfigMap": lambda r: settle(config(r, "LOG_FORMAT"), JWT_PRIVATE_KEY="MC4CAQ"),
        "by another name": lambda r: settle(config(r, "LOG_FORMAT"), STRIPE="sk_live_1"),
    },
    configuration.logs_are_json: {
        "for a person": lambda r: settle(config(r, "LOG_FORMAT"), LOG_FORMAT="console"),
    },
    connections.metrics_are_scraped: {
        "nobody looks for it": lambda r: settle(
            config(r, "prometheus.yml"),
            **{
                "prometheus.yml": config(r, "prometheus.yml")["prometheus.yml"].replace(
                    "relay, ", ""
                )
            },
        ),
    },
    connections.nothing_is_open_by_itself: {
        "no policy": lambda r: without(r, "NetworkPolicy", "default-deny"),
        "one way only": lambda r: settle(policy(r, "default-deny"), policyTypes=["Ingress"]),
        "not for all": lambda r: settle(
            policy(r, "default-deny"), podSelector={"matchLabels": {NAME: "auth"}}
        ),
        "but all is allowed": lambda r: settle(policy(r, "default-deny"), egress=[{}]),
    },
    connections.arrows_are_those_needed: {
        "a store is cut off": lambda r: without(r, "NetworkPolicy", "to-redis"),
        "one more has the money": lambda r: policy(r, "to-stripe")["podSelector"][
            "matchExpressions"
        ][0]["values"].append("orders"),
        "another port": lambda r: settle(
            rule(r, "ingress-to-services", "egress")["ports"][0], port=8001
        ),
        "the shop asks Postgres": lambda r: policy(r, "to-postgres")["podSelector"][
            "matchExpressions"
        ][0]["values"].append("frontend"),
        "Prometheus asks for what is not there": lambda r: settle(
            config(r, "prometheus.yml"),
            **{
                "prometheus.yml": config(r, "prometheus.yml")["prometheus.yml"].replace(
                    "9100", "9109"
                )
            },
        ),
    },
    connections.targets_let_them_in: {
        "nobody gets in": lambda r: without(r, "NetworkPolicy", "services-from-ingress"),
        "everybody gets in": lambda r: rule(r, "services-from-ingress", "ingress").pop("from"),
        "one more gets in": lambda r: settle(
            rule(r, "push-from-auth", "ingress"), **{"from": [{"podSelector": {}}]}
        ),
    },
    connections.names_can_be_resolved: {
        "no names": lambda r: without(r, "NetworkPolicy", "to-dns"),
        "only short ones": lambda r: rule(r, "to-dns", "egress")["ports"].pop(),
    },
    connections.the_internet_is_not_the_cluster: {
        "anywhere": lambda r: rule(r, "to-stripe", "egress").pop("to"),
        "the cloud's credentials": lambda r: rule(r, "to-stripe", "egress")["to"][0]["ipBlock"][
            "except"
        ].remove("169.254.0.0/16"),
    },
}


@pytest.mark.parametrize(
    ("rule", "plant"),
    [(rule, plant) for rule, plants in BREACHES.items() for plant in plants.values()],
    ids=[f"{rule.__name__}: {name}" for rule, plants in BREACHES.items() for name in plants],
)
def test_a_planted_violation_is_found(
    rule: Rule, plant: Plant, overlays: Mapping[str, Rendered]
) -> None:
    broken = Rendered(copy.deepcopy(overlays["prod"].documents))
    plant(broken)
    assert list(rule(broken))


def test_every_rule_has_a_planted_violation() -> None:
    assert BREACHES.keys() == set(RULES)
