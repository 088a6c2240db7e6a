"""How tests read a refusal."""

import httpx
import msgspec


def code(reply: httpx.Response) -> tuple[int, str]:
    """What a refusal is told apart by."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    problem = msgspec.json.decode(reply.content)
    assert problem["status"] == reply.status_code
    assert problem["title"]
    return reply.status_code, problem["code"]
