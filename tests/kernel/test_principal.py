"""The one parser of the Authorization header, and the cookies that count beside it."""

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request

from backend.kernel.principal import bearer_token, cookie

TOKENS: dict[str, list[str]] = {
    "usual": ["Bearer abc.d-e_f"],
    "lower case": ["bearer abc.d-e_f"],
    "upper case": ["BEARER abc.d-e_f"],
    "several spaces": ["Bearer   abc.d-e_f"],
    "space around the value": [" \tBearer abc.d-e_f\t "],
    "beside a proxy's Basic": ["Basic YTpi", "Bearer abc.d-e_f"],
}
NO_BEARER: dict[str, list[str]] = {
    "no header": [],
    "empty": [""],
    "Basic": ["Basic YTpi"],
    "Basic that contains a Bearer": ["Basic YTpi, Bearer abc"],
    "a longer word": ["Bearers abc"],
    "no space": ["Bearer,abc"],
    "a token alone": ["abc.d-e_f"],
}
MALFORMED: dict[str, list[str]] = {
    "no token": ["Bearer"],
    "an empty token": ["Bearer   "],
    "a tab": ["Bearer\tabc"],
    "a tab before the token": ["Bearer \tabc"],
    "two tokens": ["Bearer abc def"],
    "two tokens by comma": ["Bearer abc,def"],
    "a quoted token": ['Bearer "abc"'],
    "not ASCII": ["Bearer \u00e4bc"],
    "only padding": ["Bearer =="],
    "two headers": ["Bearer abc", "Bearer def"],
    "two headers, one empty": ["Bearer abc", "bearer"],
}


def headers(values: list[str]) -> Headers:
    return Headers(raw=[(b"authorization", value.encode("latin-1")) for value in values])


@pytest.mark.parametrize("case", TOKENS)
def test_a_bearer_token_is_read(case: str) -> None:
    assert bearer_token(headers(TOKENS[case])) == "abc.d-e_f"


@pytest.mark.parametrize("case", NO_BEARER)
def test_another_scheme_is_no_bearer_header(case: str) -> None:
    assert bearer_token(headers(NO_BEARER[case])) is None


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_bearer_header_has_an_empty_token(case: str) -> None:
    assert bearer_token(headers(MALFORMED[case])) == ""


@pytest.mark.parametrize(
    ("cases", "counts"), [(TOKENS, False), (NO_BEARER, True), (MALFORMED, False)]
)
def test_a_cookie_counts_only_without_a_bearer_header(
    cases: dict[str, list[str]], counts: bool
) -> None:
    for values in cases.values():
        raw = [*headers(values).raw, (b"cookie", b"gittix_refresh=secret")]
        request = Request({"type": "http", "headers": raw})
        assert cookie(request, "gittix_refresh") == ("secret" if counts else None)
