"""The secrets of an installation: random, and generated once for each installation."""

import re
import secrets
from string import Template

import msgspec

from backend.kernel.settings import ROLES

EMPTY = re.compile(r"^(\w+)=[ \t]*$", re.MULTILINE)


class TemplateError(Exception):
    """The template lacks an empty secret; the message gives the problem and the remedy."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    postgres_password: str
    role_passwords: dict[str, str]
    jwt_private_key: str
    jwt_public_keys: str
    stripe_api_key: str
    stripe_webhook_secret: str
    pusher_key: str
    pusher_secret: str


def new_password() -> str:
    return secrets.token_urlsafe(24)


def new_secrets() -> Secrets:
    # Every command imports this module, and most need no key.
    from backend.auth.tokens import generate_keys  # noqa: PLC0415

    private, public = generate_keys()
    return Secrets(
        postgres_password=new_password(),
        role_passwords={role: new_password() for role in ROLES},
        jwt_private_key=private,
        jwt_public_keys=public,
        stripe_api_key=f"sk_test_{secrets.token_hex(16)}",
        stripe_webhook_secret=f"whsec_{secrets.token_hex(16)}",
        pusher_key=secrets.token_hex(10),
        pusher_secret=secrets.token_hex(20),
    )


def one_word(pem: str) -> str:
    """A PEM key without header, footer and line ends, for shells and env files."""
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


def fill(template: str, *, expand: bool = False) -> str:
    """Return the env file's text with a new secret after each empty `NAME=` of a secret.

    `expand` also replaces `${NAME}`, for readers of the file that do not expand references.
    Raises TemplateError.
    """
    made = _by_variable(new_secrets())
    wanted = {match[1] for match in EMPTY.finditer(template)}
    if missing := sorted(made.keys() - wanted):
        raise TemplateError(
            f"the template has no empty {', '.join(missing)}: "
            "a file that was filled keeps its secrets. "
            "Begin with the example: gittix secrets < .env.example > .env"
        )
    filled = EMPTY.sub(lambda match: f"{match[1]}={made.get(match[1], '')}", template)
    return Template(filled).safe_substitute(made) if expand else filled


def _by_variable(made: Secrets) -> dict[str, str]:
    return {
        "POSTGRES_PASSWORD": made.postgres_password,
        **{f"{role.upper()}_DATABASE_PASSWORD": made.role_passwords[role] for role in ROLES},
        "REDIS_PASSWORD": new_password(),
        "PUSH_REDIS_PASSWORD": new_password(),
        "JWT_PRIVATE_KEY": one_word(made.jwt_private_key),
        "JWT_PUBLIC_KEYS": one_word(made.jwt_public_keys),
        "STRIPE_SANDBOX_KEY": made.stripe_api_key,
        "STRIPE_SANDBOX_WEBHOOK_SECRET": made.stripe_webhook_secret,
        "PUSHER_KEY": made.pusher_key,
        "PUSHER_SECRET": made.pusher_secret,
    }
