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


def remove(rendered: Rendered, kind: str, name: str) -> None:
    rendered.documents.remove(named(rendered, kind, name))


def set_fields(document: Document, **entries: Any) -> None:
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
        "a Service without pods": lambda r: set_fields(
            named(r, "Service", "auth")["spec"], selector={NAME: "authh"}
        ),
        "a Service of all pods": lambda r: set_fields(
            named(r, "Service", "auth")["spec"], selector={"app.kubernetes.io/part-of": "gittix"}
        ),
        "a Deployment that does not select its pods": lambda r: set_fields(
            r.workload("orders")["spec"]["selector"], matchLabels={NAME: "order"}
        ),
        "a disruption budget without pods": lambda r: set_fields(
            named(r, "PodDisruptionBudget", "push")["spec"]["selector"],
            matchLabels={NAME: "pusher"},
        ),
        "a network policy without pods": lambda r: set_fields(
            policy(r, "ingress-to-services"), podSelector={"matchLabels": {NAME: "ingres"}}
        ),
    },
    references.service_ports_exist: {
        "a port that no pod has": lambda r: set_fields(
            named(r, "Service", "tickets")["spec"]["ports"][0], targetPort="web"
        ),
        "a headless Service with another port than its pods": lambda r: set_fields(
            named(r, "Service", "tickets")["spec"]["ports"][0], port=80
        ),
    },
    references.probed_ports_exist: {
        "an undeclared port": lambda r: set_fields(
            app(r, "relay")["livenessProbe"]["httpGet"], port="http"
        ),
    },
    references.ports_are_those_listened_on: {
        "another port by argument": lambda r: app(r, "orders")["args"].__setitem__(-1, "8001"),
        "another port by OPS_PORT": lambda r: variable(r, "relay", "OPS_PORT", "9101"),
        "another port of the ingress": lambda r: set_fields(
            config(r, "LISTEN_PORT"), LISTEN_PORT="80"
        ),
    },
    references.references_resolve: {
        "a missing service account": lambda r: remove(r, "ServiceAccount", "relay"),
        "the service account of another workload": lambda r: set_fields(
            pod(r.workload("relay")), serviceAccountName="auth"
        ),
        "another Secret": lambda r: set_fields(
            app(r, "auth")["env"][0]["valueFrom"]["secretKeyRef"], name="passwords"
        ),
        "a missing ConfigMap": lambda r: set_fields(
            app(r, "auth")["envFrom"][0]["configMapRef"], name="setings"
        ),
        "a number of replicas beside an autoscaler": lambda r: set_fields(
            r.workload("auth")["spec"], replicas=2
        ),
    },
    references.config_maps_carry_their_hash: {
        "a name without a hash": lambda r: set_fields(
            r.of("ConfigMap")[0]["metadata"], name="settings"
        ),
    },
    references.dev_secrets_have_every_key: {
        "a missing key": lambda r: r.documents.append(
            {"kind": "Secret", "metadata": {"name": "gittix"}, "data": {"REDIS_URL": ""}}
        ),
    },
    references.images_are_pinned: {
        "the tag latest": lambda r: set_fields(
            app(r, "auth"), image="registry.example.com/gittix:latest"
        ),
        "no tag": lambda r: set_fields(app(r, "auth"), image="registry.example.com:5000/gittix"),
    },
    references.the_ingress_finds_its_services: {
        "a name in another namespace": lambda r: set_fields(
            config(r, "AUTH_UPSTREAM"), AUTH_UPSTREAM="auth.default.svc.cluster.local:8000"
        ),
        "a short name": lambda r: set_fields(config(r, "AUTH_UPSTREAM"), AUTH_UPSTREAM="auth:8000"),
        "another port": lambda r: set_fields(
            config(r, "AUTH_UPSTREAM"), AUTH_UPSTREAM="auth.gittix.svc.cluster.local:80"
        ),
    },
    references.each_version_has_a_migration_of_its_own: {
        "a Job name without a version": lambda r: set_fields(
            r.of("Job")[0]["metadata"], name="migrate"
        ),
        "an image of another version": lambda r: set_fields(
            app(r, "migrate"), image="registry.example.com/gittix:0.0.9"
        ),
    },
    pod_rules.pods_are_restricted: {
        "root is permitted": lambda r: set_fields(
            pod(r.workload("auth"))["securityContext"], runAsNonRoot=False
        ),
        "user id 0": lambda r: set_fields(security(r, "ingress"), runAsUser=0),
        "no seccomp profile": lambda r: set_fields(
            pod(r.workload("auth"))["securityContext"], seccompProfile={}
        ),
        "privilege escalation": lambda r: set_fields(
            security(r, "auth"), allowPrivilegeEscalation=True
        ),
        "an added capability": lambda r: set_fields(
            security(r, "auth"), capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}
        ),
        "a writable root file system": lambda r: set_fields(
            security(r, "auth"), readOnlyRootFilesystem=False
        ),
        "an unrestricted init container": lambda r: set_fields(
            pod(r.workload("auth"))["initContainers"][0], securityContext={}
        ),
        "the node's network": lambda r: set_fields(pod(r.workload("auth")), hostNetwork=True),
        "a volume with the node's files": lambda r: pod(r.workload("auth"))["volumes"].append(
            {"name": "node", "hostPath": {"path": "/"}}
        ),
        "a service account token in the pod": lambda r: set_fields(
            pod(r.workload("auth")), automountServiceAccountToken=True
        ),
        "a service account with a token": lambda r: set_fields(
            named(r, "ServiceAccount", "auth"), automountServiceAccountToken=True
        ),
    },
    pod_rules.the_namespace_enforces: {
        "the namespace only warns": lambda r: r.of("Namespace")[0]["metadata"]["labels"].pop(
            "pod-security.kubernetes.io/enforce"
        ),
        "a Service in another namespace": lambda r: set_fields(
            named(r, "Service", "auth")["metadata"], namespace="default"
        ),
    },
    pod_rules.resources_are_bounded: {
        "no memory limit": lambda r: app(r, "relay")["resources"]["limits"].pop("memory"),
        "no resource requests": lambda r: app(r, "relay")["resources"].pop("requests"),
        "a volume without a size limit": lambda r: set_fields(
            pod(r.workload("relay"))["volumes"][0], emptyDir={}
        ),
    },
    pod_rules.pods_are_probed: {
        "no startup probe": lambda r: app(r, "relay").pop("startupProbe"),
        "a liveness probe that depends on a store": lambda r: set_fields(
            app(r, "auth")["livenessProbe"]["httpGet"], path="/readyz"
        ),
        "a readiness probe that is always true": lambda r: set_fields(
            app(r, "auth")["readinessProbe"]["httpGet"], path="/healthz"
        ),
    },
    pod_rules.pods_have_time_to_end: {
        "a longer drain of the gateway": lambda r: set_fields(
            config(r, "DRAIN_SECONDS"), DRAIN_SECONDS="40"
        ),
        "a longer shutdown delay of a service": lambda r: set_fields(
            config(r, "DRAIN_SECONDS"), SHUTDOWN_DELAY_SECONDS="50"
        ),
        "a longer sleep of the ingress": lambda r: set_fields(
            app(r, "ingress")["lifecycle"]["preStop"]["sleep"], seconds=30
        ),
        "a shorter grace period of a worker": lambda r: set_fields(
            pod(r.workload("relay")), terminationGracePeriodSeconds=10
        ),
        "no grace period": lambda r: pod(r.workload("orders")).pop("terminationGracePeriodSeconds"),
    },
    pod_rules.deployments_stay_up: {
        "no disruption budget": lambda r: remove(r, "PodDisruptionBudget", "relay"),
        "a rollout that stops a pod before it starts one": lambda r: set_fields(
            r.workload("relay")["spec"]["strategy"]["rollingUpdate"], maxUnavailable=1
        ),
        "all pods on one node": lambda r: pod(r.workload("relay"))[
            "topologySpreadConstraints"
        ].pop(),
        "an unbounded revision history": lambda r: r.workload("relay")["spec"].pop(
            "revisionHistoryLimit"
        ),
    },
    configuration.variables_are_settings: {
        "a misspelt setting in a ConfigMap": lambda r: set_fields(
            config(r, "LOG_FORMAT"), LOG_FROMAT="json"
        ),
        "an unknown setting of one pod": lambda r: variable(r, "orders", "HOLD_SECS", "60"),
        "an unknown setting of the ingress": lambda r: set_fields(
            config(r, "LISTEN_PORT"), REQUESTS_RATE="1r/s"
        ),
    },
    configuration.processes_have_what_they_need: {
        "a setting is missing": lambda r: config(r, "PUSHER_APP_ID").pop("PUSHER_APP_ID"),
        "a secret is missing": lambda r: unset(r, "payments", "STRIPE_WEBHOOK_SECRETS"),
        "a database is missing": lambda r: unset(r, "worker-jobs", "PAYMENTS_DATABASE_URL"),
        "a Pusher app id that is no number": lambda r: set_fields(
            config(r, "PUSHER_APP_ID"), PUSHER_APP_ID="gittix"
        ),
        "a port that is no number": lambda r: set_fields(
            config(r, "PUSHER_PORT"), PUSHER_PORT="https"
        ),
    },
    configuration.secrets_go_where_they_are_needed: {
        "tickets has the signing key": lambda r: secret(
            r, "tickets", "JWT_PRIVATE_KEY", "JWT_PRIVATE_KEY"
        ),
        "the relay has the owner's login": lambda r: secret(
            r, "relay", "DATABASE_URL", "DATABASE_URL"
        ),
        "the consumers have the Stripe key": lambda r: secret(
            r, "worker-consumers", "STRIPE_API_KEY", "STRIPE_API_KEY"
        ),
        "orders has the login of auth": lambda r: secret(
            r, "orders", "AUTH_DATABASE_URL", "AUTH_DATABASE_URL"
        ),
    },
    configuration.secrets_are_references: {
        "a password in a pod": lambda r: variable(
            r, "orders", "REDIS_URL", "redis://:hunter2@redis:6379/0"
        ),
        "a key in a ConfigMap": lambda r: set_fields(
            config(r, "LOG_FORMAT"), JWT_PRIVATE_KEY="MC4CAQ"
        ),
        "a Stripe key under another name": lambda r: set_fields(
            config(r, "LOG_FORMAT"), STRIPE="sk_live_1"
        ),
    },
    configuration.logs_are_json: {
        "the console format": lambda r: set_fields(config(r, "LOG_FORMAT"), LOG_FORMAT="console"),
    },
    connections.metrics_are_scraped: {
        "a process that Prometheus does not scrape": lambda r: set_fields(
            config(r, "prometheus.yml"),
            **{
                "prometheus.yml": config(r, "prometheus.yml")["prometheus.yml"].replace(
                    "relay, ", ""
                )
            },
        ),
    },
    connections.connections_are_denied_by_default: {
        "no default policy": lambda r: remove(r, "NetworkPolicy", "default-deny"),
        "a default policy for incoming connections only": lambda r: set_fields(
            policy(r, "default-deny"), policyTypes=["Ingress"]
        ),
        "a default policy for one workload only": lambda r: set_fields(
            policy(r, "default-deny"), podSelector={"matchLabels": {NAME: "auth"}}
        ),
        "a default policy that permits every outgoing connection": lambda r: set_fields(
            policy(r, "default-deny"), egress=[{}]
        ),
    },
    connections.connections_are_those_needed: {
        "no connection to Redis": lambda r: remove(r, "NetworkPolicy", "to-redis"),
        "orders may connect to Stripe": lambda r: policy(r, "to-stripe")["podSelector"][
            "matchExpressions"
        ][0]["values"].append("orders"),
        "another port": lambda r: set_fields(
            rule(r, "ingress-to-services", "egress")["ports"][0], port=8001
        ),
        "the frontend may connect to Postgres": lambda r: policy(r, "to-postgres")["podSelector"][
            "matchExpressions"
        ][0]["values"].append("frontend"),
        "Prometheus scrapes a port that does not exist": lambda r: set_fields(
            config(r, "prometheus.yml"),
            **{
                "prometheus.yml": config(r, "prometheus.yml")["prometheus.yml"].replace(
                    "9100", "9109"
                )
            },
        ),
    },
    connections.targets_admit_their_clients: {
        "no client is admitted": lambda r: remove(r, "NetworkPolicy", "services-from-ingress"),
        "every client is admitted": lambda r: rule(r, "services-from-ingress", "ingress").pop(
            "from"
        ),
        "one more client is admitted": lambda r: set_fields(
            rule(r, "services-from-ingress", "ingress"), **{"from": [{"podSelector": {}}]}
        ),
    },
    connections.names_can_be_resolved: {
        "no connection to the name server": lambda r: remove(r, "NetworkPolicy", "to-dns"),
        "name resolution over UDP only": lambda r: rule(r, "to-dns", "egress")["ports"].pop(),
    },
    connections.rules_for_the_internet_exclude_private_networks: {
        "every address is permitted": lambda r: rule(r, "to-stripe", "egress").pop("to"),
        "the address of the cloud's credentials is permitted": lambda r: rule(
            r, "to-stripe", "egress"
        )["to"][0]["ipBlock"]["except"].remove("169.254.0.0/16"),
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
