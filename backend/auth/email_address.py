"""Email addresses: one canonical form for each mailbox domain, and the form that pages show.

The canonical form is in lower case, its domain in ASCII (IDNA 2008 after the mapping of UTS 46).
So the Unicode and the ASCII form of a domain are one account, and every mail server accepts the
stored address. The part before the @ must be ASCII: with other letters only servers that have
SMTPUTF8 deliver mail.
"""

import re

import idna

from backend.auth.model import MAX_EMAIL_LENGTH
from backend.kernel.problems import Invalid, invalid

# "Valid email address" of the WHATWG HTML standard, with a dot in the domain and the local part
# of RFC 5321's length.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_LOCAL = re.compile(r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_ACE_PREFIX = "xn--"


def canonical(text: str) -> str:
    """The address as it is stored. Raises Invalid."""
    local, at, domain = text.strip().rpartition("@")
    if at and not local.isascii():
        raise invalid("email", "must have only letters a to z, digits and signs before the @")
    if not _LOCAL.fullmatch(local):
        raise _malformed()
    ascii_domain = _ascii_domain(domain)
    if not _DOMAIN.fullmatch(ascii_domain):
        raise _malformed()
    email = f"{local}@{ascii_domain}".lower()
    if len(email) > MAX_EMAIL_LENGTH:
        raise _malformed()
    return email


def display(email: str) -> str:
    """A stored address with its domain in Unicode."""
    if _ACE_PREFIX not in email:
        return email
    local, _, domain = email.rpartition("@")
    try:
        return f"{local}@{idna.decode(domain)}"
    except idna.IDNAError:
        return email


def _ascii_domain(domain: str) -> str:
    if domain.isascii() and _ACE_PREFIX not in domain.lower():
        return domain
    try:
        labels = idna.uts46_remap(domain, std3_rules=True).split(".")
        return ".".join(_ascii_label(label) for label in labels)
    except (idna.IDNAError, UnicodeError) as error:
        raise invalid("email", "must have a valid domain after the @") from error


def _ascii_label(label: str) -> str:
    if label.isascii() and not label.startswith(_ACE_PREFIX):
        return label
    # An ASCII form of the same letters may be written in several ways; only one decodes to itself.
    return idna.alabel(idna.ulabel(label)).decode()


def _malformed() -> Invalid:
    return invalid("email", "must be an email address, such as ada@example.com")
