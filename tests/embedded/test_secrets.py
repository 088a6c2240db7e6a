"""A new installation's secrets: each its own, in the places that the template has for them."""

from pathlib import Path

import pytest

from backend.embedded.secrets import TemplateError, fill
from backend.kernel.principal import load_public_keys

EXAMPLE = (Path(__file__).parents[2] / ".env.example").read_text()


def test_every_empty_secret_is_filled_and_nothing_else_is_touched() -> None:
    before, after = EXAMPLE.splitlines(), fill(EXAMPLE).splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    for old, new in changed:
        assert old.endswith("=")
        assert new.startswith(old)
        assert len(new) >= len(old) + 20
    names = {old.removesuffix("=") for old, _ in changed}
    assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "JWT_PRIVATE_KEY", "PUSHER_SECRET"} <= names
    values = dict(line.split("=", 1) for line in after if line[:1].isupper())
    assert load_public_keys(values["JWT_PUBLIC_KEYS"])


def test_two_installations_share_no_secret() -> None:
    changed = [
        {
            new
            for old, new in zip(EXAMPLE.splitlines(), fill(EXAMPLE).splitlines(), strict=True)
            if old != new
        }
        for _ in range(2)
    ]
    assert not changed[0] & changed[1]


def test_a_filled_file_is_not_filled_again() -> None:
    with pytest.raises(TemplateError, match="a file that was filled keeps its secrets"):
        fill(fill(EXAMPLE))


def test_references_are_written_out_where_that_is_asked_for() -> None:
    lines = fill(
        f"{EXAMPLE}\nURL=redis://:${{REDIS_PASSWORD}}@redis/${{PORT}}\n", expand=True
    ).splitlines()
    password = next(line for line in lines if line.startswith("REDIS_PASSWORD=")).partition("=")[2]
    assert lines[-1] == f"URL=redis://:{password}@redis/${{PORT}}"
