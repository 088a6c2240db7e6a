"""OpenAPI from the code: each endpoint states its models once, and the document is generated from the routes.

spectree describes; it does not validate. Its Starlette plugin reads a body only when the content type is exactly
`application/json` and answers in a shape of its own, so bodies are read by `web.read_json`. What it wraps around an
endpoint is therefore in the document's routes only, not in the way of a request.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar, get_args

from spectree import Response, SecurityScheme, SecuritySchemeData, SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from spectree.models import InType, SecureType
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.responses import Response as HttpResponse
from starlette.routing import BaseRoute, Route

from backend.kernel.principal import SESSION_COOKIE
from backend.kernel.problems import ProblemBody

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def _component_name(model: Any) -> str:
    """`Page[Show]` becomes `ShowPage`: one `Page` for all would describe the last one's items."""
    name: str = getattr(model, "__name__", str(model))
    return "".join([*(_component_name(argument) for argument in get_args(model)), name])


_spec = SpecTree(
    "starlette",
    model_adapter=get_msgspec_model_adapter(),
    title="GitTix",
    description="A real-time marketplace for one-time tickets. Refusals are RFC 9457 problems with a stable `code`.",
    annotations=False,
    # spectree leaves out whatever starts with this path.
    path="api/docs",
    page_templates={},
    naming_strategy=_component_name,
    nested_naming_strategy=lambda _parent, child: child,
    validation_error_model=ProblemBody,
    security_schemes=[
        SecurityScheme(
            name="bearer",
            data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer", bearer_format="JWT"),
        ),
        SecurityScheme(
            name="cookie",
            data=SecuritySchemeData(
                type=SecureType.API_KEY, name=SESSION_COOKIE, field_in=InType.COOKIE
            ),
        ),
    ],
)

_described: dict[Callable[..., Any], Callable[..., Any]] = {}


def describe(
    *,
    tag: str,
    body: Any = None,
    form: Any = None,
    query: Any = None,
    refusals: Sequence[int] = (),
    public: bool = False,
    **replies: Any,
) -> Callable[[Endpoint], Endpoint]:
    """Put an endpoint into the document.

    `replies` map a status, as `ok=`, `created=` or `no_content=`, to its model; `refusals` are the statuses of its
    problems beside 422. `public` endpoints need no session. The handler's docstring is its summary and description.
    """
    statuses = {f"HTTP_{HTTPStatus[name.upper()].value}": model for name, model in replies.items()}
    problems = {
        f"HTTP_{status}": ProblemBody for status in (*refusals, *(() if public else (401,)))
    }
    describing = _spec.validate(
        json=body,
        form=form,
        query=query,
        resp=Response(**statuses, **problems),
        tags=[tag],
        security=[] if public else [{"bearer": []}, {"cookie": []}],
        skip_validation=True,
    )

    def described(endpoint: Endpoint) -> Endpoint:
        _described[endpoint] = describing(endpoint)
        return endpoint

    return described


def openapi_document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    _spec.app = Starlette(
        routes=[
            Route(
                route.path,
                _described.get(route.endpoint, route.endpoint),
                methods=route.methods,
            )
            for route in routes
            if isinstance(route, Route) and route.include_in_schema
        ]
    )
    # Generating moves nested models out of these; the next application's document needs them again.
    models = deepcopy(_spec.models)
    generated = _spec._generate_spec()  # noqa: SLF001 - its public property remembers the first app for ever
    _spec.models = models
    return generated


def openapi_routes(routes: Sequence[BaseRoute]) -> list[Route]:
    """The document of these routes and a page that shows it, both without any outside download."""
    document = cache(lambda: openapi_document(routes))

    async def openapi(_request: Request) -> HttpResponse:
        return JSONResponse(document())

    async def docs(_request: Request) -> HttpResponse:
        from spectree.page import PAGE_TEMPLATES  # noqa: PLC0415 - 9 MB of pages, wanted only here

        page = PAGE_TEMPLATES["swagger"].format(
            spec_url="/api/openapi.json", spec_path="api", **_spec.config.swagger_oauth2_config()
        )
        return HTMLResponse(page)

    return [
        Route("/api/openapi.json", openapi, include_in_schema=False),
        Route("/api/docs", docs, include_in_schema=False),
    ]
