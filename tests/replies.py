"""Reads problem+json replies."""

import httpx
import msgspec


def code(reply: httpx.Response) -> tuple[int, str]:
    """The status and the code of a problem."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    problem = msgspec.json.decode(reply.content)
    assert problem["status"] == reply.status_code
    assert problem["title"]
    return reply.status_code, problem["code"]
