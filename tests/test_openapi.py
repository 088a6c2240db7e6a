"""The OpenAPI document: every route, its models and errors; and a page that loads nothing from
elsewhere.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend import bootstrap
from backend.kernel.openapi import describe, openapi_document
from backend.kernel.principal import SESSION_COOKIE
from backend.kernel.problems import ProblemBody
from tests.system import System

Json = dict[str, Any]

METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}
# Pages about the API are no part of it.
UNDESCRIBED = {"/api/openapi.json", "/api/docs"}


@pytest.fixture
async def document(system: System) -> Json:
    await system.start("api")
    reply = await system.anonymous().get("/api/openapi.json")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    found: Json = reply.json()
    return found


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert method in METHODS, f"{method} {path}"
            yield method, path, operation


def app_of(system: System) -> Starlette:
    return bootstrap.build("api", bootstrap.settings_for("api", system.environment))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


async def test_every_route_is_described_and_nothing_else(document: Json, system: System) -> None:
    routes = {
        (method.lower(), route.path)
        for route in app_of(system).routes
        if isinstance(route, Route)
        and route.path.startswith("/api/")
        and route.path not in UNDESCRIBED
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert routes
    assert {(method, path) for method, path, _ in operations(document)} == routes


async def test_every_operation_has_a_summary_models_and_errors(document: Json) -> None:
    for method, path, operation in operations(document):
        name = f"{method} {path}"
        assert operation["summary"], name
        assert operation["tags"], name
        successes = [status for status in operation["responses"] if status.startswith("2")]
        assert successes, name
        for status in successes:
            if status != "204":
                assert "schema" in operation["responses"][status]["content"]["application/json"], (
                    name
                )
        refusals = [status for status in operation["responses"] if status.startswith(("4", "5"))]
        for status in refusals:
            schema = json.dumps(operation["responses"][status])
            assert "ProblemBody" in schema, f"{name} {status}"
            assert "application/problem+json" in schema, f"{name} {status}"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_write_states_its_body_or_that_it_has_none(method: str) -> None:
    def document(**stated: Any) -> Json:
        async def endpoint(_request: Request) -> Response:
            """Do something."""
            return Response()

        describe(tag="things", no_content=None, **stated)(endpoint)
        return openapi_document([Route("/api/things", endpoint, methods=[method])])

    with pytest.raises(ValueError, match=f"{method} /api/things needs describe"):
        document()
    without = document(body=None)["paths"]["/api/things"][method.lower()]
    assert "requestBody" not in without
    for stated, media_type in (
        ({"body": ProblemBody}, "application/json"),
        ({"form": ProblemBody}, "application/x-www-form-urlencoded"),
    ):
        operation = document(**stated)["paths"]["/api/things"][method.lower()]
        assert list(operation["requestBody"]["content"]) == [media_type]


async def test_a_route_that_needs_a_session_declares_it(document: Json, system: System) -> None:
    anonymous = system.anonymous()
    for method, path, operation in operations(document):
        reply = await anonymous.request(method, path.replace("{id}", "0" * 32))
        protected = bool(operation.get("security"))
        # These answer 401 to wrong credentials, and need no session.
        opens_sessions = path in ("/api/users/signin", "/api/users/refresh")
        assert (reply.status_code == 401 and not opens_sessions) == protected, f"{method} {path}"
        assert ("401" in operation["responses"]) >= protected, f"{method} {path}"


async def test_a_forged_token_opens_no_route(document: Json, system: System) -> None:
    signed, _, signature = system.person("mallory").token.rpartition(".")
    anonymous = system.anonymous()
    anonymous.headers["Authorization"] = f"Bearer {signed}.{'A' * len(signature)}"
    protected = [
        (method, path.replace("{id}", "0" * 32))
        for method, path, operation in operations(document)
        if operation.get("security")
    ]
    replies = [await anonymous.request(*each) for each in protected]
    assert {path.split("/")[2] for _, path in protected} >= {
        "shows",
        "tickets",
        "orders",
        "payments",
        "push",
    }
    assert {reply.status_code for reply in replies} == {401}


async def test_no_route_accepts_a_write_with_our_cookie_from_a_foreign_page(
    document: Json, system: System
) -> None:
    visitor = system.anonymous()
    visitor.headers.update({"Cookie": f"{SESSION_COOKIE}=token", "Origin": "https://evil.test"})
    for method, path, _ in operations(document):
        if method != "get":
            reply = await visitor.request(method, path.replace("{id}", "0" * 32))
            assert (reply.status_code, reply.json()["code"]) == (403, "origin_refused"), (
                f"{method} {path}"
            )


async def test_a_path_refuses_the_methods_that_it_does_not_describe(
    document: Json, system: System
) -> None:
    anonymous = system.anonymous()
    for path in document["paths"]:
        described = {
            method
            for method, other, _ in operations(document)
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", other), path)
        }
        for method in {"get", "put", "post", "delete", "patch"} - described:
            reply = await anonymous.request(method, path.replace("{id}", "0" * 32))
            assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed"), (
                f"{method} {path}"
            )


async def test_path_parameters_are_described(document: Json) -> None:
    for method, path, operation in operations(document):
        named = set(re.findall(r"{(\w+)}", path))
        described = {
            each["name"] for each in operation.get("parameters", []) if each["in"] == "path"
        }
        assert described == named, f"{method} {path}"


async def test_the_document_is_openapi_3_1_and_all_its_references_resolve(document: Json) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "GitTix"
    assert document["info"]["version"]
    found = set(references(document))
    assert found
    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        assert target
    names = [
        operation["operationId"]
        for _, _, operation in operations(document)
        if "operationId" in operation
    ]
    assert len(names) == len(set(names))
    schemes = document["components"]["securitySchemes"]
    for _, _, operation in operations(document):
        for requirement in operation.get("security", []):
            assert requirement.keys() <= schemes.keys()


async def test_each_list_names_the_model_of_its_items(document: Json) -> None:
    schemas = document["components"]["schemas"]
    models = {"shows": "Show", "tickets": "Ticket", "orders": "Order", "sales": "Sale"}
    for path, model in models.items():
        ok = document["paths"][f"/api/{path}"]["get"]["responses"]["200"]
        page = schemas[ok["content"]["application/json"]["schema"]["$ref"].split("/")[-1]]
        items = page["properties"]["items"]["items"]
        assert items["$ref"] == f"#/components/schemas/{model}", path


def test_the_command_prints_the_document() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "backend.cli", "openapi"], capture_output=True, check=True
    )
    assert json.loads(printed.stdout)["openapi"].startswith("3.1")


async def test_query_parameters_are_described(document: Json) -> None:
    listing = document["paths"]["/api/tickets"]["get"]["parameters"]
    assert {each["name"] for each in listing if each["in"] == "query"} == {
        "q",
        "hidden",
        "section",
        "open",
        "show_id",
        "seller",
        "status",
        "min_price",
        "max_price",
        "currency",
        "sort",
        "limit",
        "cursor",
    }


async def test_the_docs_page_loads_nothing_from_elsewhere(system: System) -> None:
    await system.start("api")
    page = await system.anonymous().get("/api/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "/api/openapi.json" in page.text
    for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.text):
        for url in re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", tag):
            assert not re.match(r"(?:https?:)?//", url), tag


async def test_the_docs_are_compressed_and_sent_once(system: System) -> None:
    await system.start("api")
    visitor = system.anonymous()
    for path, most in (("/api/docs", 700_000), ("/api/openapi.json", 30_000)):
        reply = await visitor.get(path, headers={"Accept-Encoding": "gzip"})
        assert reply.headers["content-encoding"] == "gzip"
        assert reply.num_bytes_downloaded < most < len(reply.content)
        plain = await visitor.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == reply.content
        again = await visitor.get(path, headers={"If-None-Match": reply.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_the_root_redirects_to_the_docs(system: System) -> None:
    await system.start("api")
    reply = await system.anonymous().get("/")
    assert (reply.status_code, reply.headers["location"]) == (307, "/api/docs")
