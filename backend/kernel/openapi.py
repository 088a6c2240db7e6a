"""The API's OpenAPI document, generated from the routes and their msgspec models.

`describe` declares an endpoint's models; `openapi_document` builds the document from these
declarations. The schemas come from `msgspec.json.schema_components`, so the document and the
decoders read the same structs.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from inspect import cleandoc, getdoc
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from backend.kernel.principal import SESSION_COOKIE
from backend.kernel.problems import PROBLEM_TYPE, ProblemBody
from backend.kernel.static_files import StaticFile, static_file

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Json = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
INFO = {
    "title": "GitTix",
    "description": "A real-time marketplace for one-time tickets. "
    "Errors are RFC 9457 problems with a stable `code`.",
    "version": "0.1.0",
}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "cookie": {"type": "apiKey", "name": SESSION_COOKIE, "in": "cookie"},
}
# `describe` got no `body`. A write must state one, or None, so that none is forgotten.
UNSTATED: Any = object()


@dataclass(frozen=True)
class Operation:
    """The declaration of one endpoint: its models, and the statuses of its replies and problems."""

    tag: str
    body: Any
    form: Any
    query: Any
    replies: Mapping[int, Any]
    problems: Sequence[int]
    public: bool

    def models(self) -> Iterator[Any]:
        models = (self.body, self.form, self.query, *self.replies.values())
        return (model for model in models if model is not None and model is not UNSTATED)


_operations: dict[Callable[..., Any], Operation] = {}


def describe(
    *,
    tag: str,
    body: Any = UNSTATED,
    form: Any = None,
    query: Any = None,
    problems: Sequence[int] = (),
    public: bool = False,
    **replies: Any,
) -> Callable[[Endpoint], Endpoint]:
    """Declare an endpoint's models for the document; the endpoint itself stays as it is.

    `replies` map a status, as `ok=`, `created=` or `no_content=`, to its model; `problems` are
    the statuses of its errors besides 422 and, unless it is `public`, 401. `public` endpoints need
    no session. A POST or PUT without a `form` has a `body`; None means that it reads no body, or
    one that it verifies as raw bytes. The endpoint's docstring becomes its summary (the first
    paragraph) and its description.
    """
    operation = Operation(
        tag=tag,
        body=body,
        form=form,
        query=query,
        replies={HTTPStatus[name.upper()].value: model for name, model in replies.items()},
        problems=(*problems, *(() if public else (401,)), 422),
        public=public,
    )

    def declare(endpoint: Endpoint) -> Endpoint:
        _operations[endpoint] = operation
        return endpoint

    return declare


def openapi_routes(routes: Sequence[BaseRoute]) -> list[Route]:
    """The document of these routes, and a page that shows it without loading anything from
    elsewhere. Both are built at their first request, in a thread, and kept.
    """

    @cache
    def document() -> StaticFile:
        return static_file(json.dumps(openapi_document(routes)).encode(), "application/json")

    async def openapi(request: Request) -> Response:
        return (await asyncio.to_thread(document)).response(request)

    async def docs(request: Request) -> Response:
        return (await asyncio.to_thread(_docs_page)).response(request)

    return [
        Route("/api/openapi.json", openapi, include_in_schema=False),
        Route("/api/docs", docs, include_in_schema=False),
    ]


@cache
def _docs_page() -> StaticFile:
    """Swagger UI as one page: 2 MB, of which gzip leaves a third."""
    from offapi import OpenAPITemplate  # noqa: PLC0415 - the import reads 9 MB of pages

    page: str = OpenAPITemplate.SWAGGER.value.format(spec_url="/api/openapi.json")
    return static_file(page.encode(), "text/html")


def openapi_document(routes: Sequence[BaseRoute]) -> Json:
    """The OpenAPI 3.1 document of these routes. Raises KeyError for an endpoint without
    `describe`, ValueError for a POST or PUT that states no body.
    """
    described = [
        (route, _operations[route.endpoint])
        for route in routes
        if isinstance(route, Route) and route.include_in_schema
    ]
    operations = [operation for _, operation in described]
    schemas = _schemas(operations)
    paths: dict[str, Json] = {}
    for route, operation in described:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            item = paths.setdefault(route.path, {})
            item[method.lower()] = _operation(route, method.lower(), operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in operations)],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": SECURITY_SCHEMES},
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Json]:
    """Component schemas by name: of every declared model, and of the structs that these contain."""
    models = list(dict.fromkeys(model for operation in operations for model in operation.models()))
    models.append(ProblemBody)
    references, components = msgspec.json.schema_components(models, ref_template=REFERENCE)
    # msgspec names a generic struct `Page_Order_`; this document names it `OrderPage`.
    names = {
        reference["$ref"].rpartition("/")[2]: _name(model)
        for model, reference in zip(models, references, strict=True)
    }
    schemas = {names.get(name, name): schema for name, schema in components.items()}
    for name, schema in schemas.items():
        schema["title"] = name
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    return schemas


def _operation(
    route: Route, method: str, operation: Operation, schemas: Mapping[str, Json]
) -> Json:
    unstated = operation.body is UNSTATED and operation.form is None
    if unstated and method in {"post", "put"}:
        raise ValueError(f"{method.upper()} {route.path} needs describe(body=…), or body=None")
    summary, _, description = (getdoc(route.endpoint) or "").partition("\n\n")
    found: Json = {
        "summary": _unwrap(summary),
        "operationId": f"{method}_{route.path.replace('/', '_')}",
        "description": _unwrap(description),
        "tags": [operation.tag],
        "parameters": _parameters(route, operation, schemas),
        "responses": _responses(operation),
        "security": [] if operation.public else [{scheme: []} for scheme in SECURITY_SCHEMES],
    }
    content = {
        media_type: {"schema": _reference(model)}
        for media_type, model in (
            ("application/json", operation.body),
            ("application/x-www-form-urlencoded", operation.form),
        )
        if model is not None and model is not UNSTATED
    }
    return found | ({"requestBody": {"content": content, "required": True}} if content else {})


def _parameters(route: Route, operation: Operation, schemas: Mapping[str, Json]) -> list[Json]:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.param_convertors
    ]
    if operation.query is not None:
        query = schemas[_name(operation.query)]
        parameters += [
            {"name": name, "in": "query", "required": name in query["required"], "schema": schema}
            for name, schema in query["properties"].items()
        ]
    return parameters


def _responses(operation: Operation) -> dict[str, Json]:
    replies = {status: ("application/json", model) for status, model in operation.replies.items()}
    problems = dict.fromkeys(operation.problems, (PROBLEM_TYPE, ProblemBody))
    return {
        str(status): {"description": HTTPStatus(status).phrase}
        | ({"content": {media_type: {"schema": _reference(model)}}} if model is not None else {})
        for status, (media_type, model) in (replies | problems).items()
    }


def _reference(model: Any) -> Json:
    return {"$ref": REFERENCE.format(name=_name(model))}


def _name(model: Any) -> str:
    """The component's name: `Order`, and `OrderPage` for `Page[Order]`."""
    origin = get_origin(model)
    if origin is None:
        return str(model.__name__)
    return "".join(_name(argument) for argument in get_args(model)) + str(origin.__name__)


def _unwrap(text: str) -> str:
    """The paragraphs of a docstring, each on one line."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)
