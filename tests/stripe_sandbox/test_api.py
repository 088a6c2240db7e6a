"""The API: keys, parameters, lists, idempotency, and faults on request."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from tests.stripe_sandbox.conftest import KEY, Sandbox, connect, error_of, eventually, running

pytestmark = pytest.mark.timeout(20)


def test_wrong_or_missing_key_is_a_401(sandbox: Sandbox) -> None:
    with (
        connect(sandbox.url, "sk_test_another") as stranger,
        pytest.raises(stripe.AuthenticationError) as caught,
    ):
        stranger.created()
    assert error_of(caught)["message"] == "Invalid API Key provided: sk_test_********ther"
    for path in ("/v1/payment_intents", "/sandbox/ledger", "/sandbox/faults"):
        reply = httpx.get(sandbox.url + path)
        assert (reply.status_code, reply.json()["error"]["type"]) == (401, "invalid_request_error")
    assert httpx.get(sandbox.url + "/v1/payment_intents", auth=(KEY, "")).status_code == 200


def test_unknown_object_is_a_404_and_an_unknown_parameter_value_a_400(sandbox: Sandbox) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        sandbox.api.payment_intents.retrieve("pi_unknown")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    assert caught.value.user_message == "No such payment_intent: 'pi_unknown'"
    with pytest.raises(
        stripe.InvalidRequestError, match="No such PaymentMethod: 'pm_unknown'"
    ) as caught:
        sandbox.created(payment_method="pm_unknown")
    assert (caught.value.http_status, caught.value.code) == (400, "resource_missing")
    assert sandbox.http.get("/v1/unknown").status_code == 404


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        (
            {"automatic_payment_methods": {"shade": "1"}},
            "parameter_unknown",
            "automatic_payment_methods[shade]",
        ),
        ({"amount": ""}, "parameter_missing", "amount"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"currency": "zzz"}, None, "currency"),
        ({"capture_method": "later"}, None, "capture_method"),
    ],
)
def test_malformed_request_is_a_400_that_names_the_parameter(
    sandbox: Sandbox, params: dict[str, Any], code: str | None, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        sandbox.created(**params)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


def test_dashboard_managed_methods_want_a_return_url(sandbox: Sandbox) -> None:
    params: Any = {
        "amount": 2000,
        "currency": "usd",
        "confirm": True,
        "payment_method": "pm_card_visa",
    }
    with pytest.raises(stripe.InvalidRequestError, match="you must provide a `return_url`"):
        sandbox.api.payment_intents.create(params)
    params["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "never"}
    intent = sandbox.api.payment_intents.create(params)
    assert intent.status == "succeeded"


def test_too_large_a_body_is_refused(sandbox: Sandbox) -> None:
    reply = sandbox.http.post("/v1/payment_intents", content=b"a=" + b"x" * 70_000)
    assert reply.status_code == 413


def test_card_numbers_make_methods_that_behave_like_them(sandbox: Sandbox) -> None:
    def card(number: str) -> stripe.PaymentMethod:
        details: Any = {"number": number, "exp_month": 12, "exp_year": 2044, "cvc": "123"}
        return sandbox.api.payment_methods.create({"type": "card", "card": details})

    assert sandbox.authorised(card("4242 4242 4242 4242").id).status == "requires_capture"
    assert sandbox.authorised(card("4000002500003155").id).status == "requires_action"
    with pytest.raises(stripe.CardError, match="insufficient funds"):
        sandbox.authorised(card("4000000000009995").id)
    with pytest.raises(stripe.CardError) as caught:
        card("4242424242424241")
    assert caught.value.code == "incorrect_number"


def test_lists_page_newest_first_and_expand(sandbox: Sandbox) -> None:
    made = [sandbox.authorised().id for _ in range(5)]
    pages = sandbox.api.payment_intents.list({"limit": 2, "expand": ["data.latest_charge"]})
    assert pages.has_more
    assert [one.id for one in pages.auto_paging_iter()] == made[::-1]
    assert isinstance(pages.data[0].latest_charge, stripe.Charge)
    back = sandbox.api.payment_intents.list({"ending_before": made[1], "limit": 2})
    assert [one.id for one in back.data] == [made[3], made[2]]
    now = int(time.time())
    assert not sandbox.api.payment_intents.list({"created": {"gt": now + 60}}).data
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        sandbox.api.payment_intents.retrieve(made[0], {"expand": ["amount"]})


def test_events_keep_the_state_of_their_moment(sandbox: Sandbox) -> None:
    intent = sandbox.authorised(options={"idempotency_key": "intent:o1"})
    sandbox.api.payment_intents.capture(intent.id)
    (event,) = sandbox.api.events.list({"type": "payment_intent.amount_capturable_updated"}).data
    assert event.data.object["status"] == "requires_capture"
    assert event.request is not None
    assert event.request.idempotency_key == "intent:o1"
    assert sandbox.api.events.retrieve(event.id).data.object["id"] == intent.id
    assert not any(name.startswith("_") for name in event.data.object.to_dict())


def test_same_key_gives_the_same_reply_without_a_second_effect(sandbox: Sandbox) -> None:
    first = sandbox.authorised(options={"idempotency_key": "k"})
    again = sandbox.authorised(options={"idempotency_key": "k"})
    assert first.id == again.id
    assert first.last_response is not None
    assert again.last_response is not None
    assert first.last_response.body == again.last_response.body
    headers = again.last_response.headers
    assert headers["idempotent-replayed"] == "true"
    assert headers["original-request"] == first.last_response.headers["request-id"]
    assert "idempotent-replayed" not in first.last_response.headers
    assert sandbox.ledger()["totals"]["intents"] == 1


def test_same_key_repeats_a_decline(sandbox: Sandbox) -> None:
    errors = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as caught:
            sandbox.authorised("pm_card_chargeDeclined", options={"idempotency_key": "k"})
        errors.append(caught.value)
    assert errors[0].http_body == errors[1].http_body
    assert errors[1].headers is not None
    assert errors[1].headers["idempotent-replayed"] == "true"
    assert len(sandbox.api.charges.list().data) == 1


def test_same_key_with_another_request_is_an_idempotency_error(sandbox: Sandbox) -> None:
    intent = sandbox.created(options={"idempotency_key": "k"})
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        sandbox.created(amount=3000, options={"idempotency_key": "k"})
    with pytest.raises(stripe.IdempotencyError, match="same endpoint") as caught:
        sandbox.api.payment_intents.cancel(intent.id, options={"idempotency_key": "k"})
    assert (caught.value.http_status, error_of(caught)["type"]) == (400, "idempotency_error")


def test_key_of_a_malformed_request_is_free_again(sandbox: Sandbox) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.created(amount=1, options={"idempotency_key": "k"})
    assert sandbox.created(options={"idempotency_key": "k"}).amount == 2000


def test_twin_of_a_running_request_is_a_409(sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=300)

    def attempt() -> str:
        try:
            return str(sandbox.created(options={"idempotency_key": "k"}).status)
        except stripe.APIError as error:
            return f"{error.http_status} {json.loads(str(error.http_body))['error']['code']}"

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(lambda _: attempt(), range(2)))
    assert outcomes == ["409 idempotency_key_in_use", "requires_payment_method"]
    assert sandbox.ledger()["totals"]["intents"] == 1


def test_keys_are_forgotten_after_a_day(database: Path) -> None:
    offset = [0.0]
    with running(database, clock=lambda: time.time() + offset[0]) as sandbox:
        first = sandbox.created(options={"idempotency_key": "k"})
        offset[0] = 24 * 3600 + 2
        assert sandbox.created(options={"idempotency_key": "k"}).id != first.id


# The library hands httpx its body in a way that httpx deprecates.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
async def test_many_confirmations_at_once_authorise_once(sandbox: Sandbox) -> None:
    intent = sandbox.created(payment_method="pm_card_visa")
    transport = stripe.HTTPXClient()
    client = stripe.StripeClient(
        KEY, base_addresses={"api": sandbox.url}, http_client=transport, max_network_retries=0
    )
    outcomes = await asyncio.gather(
        *(client.v1.payment_intents.confirm_async(intent.id) for _ in range(20)),
        return_exceptions=True,
    )
    await transport.close_async()  # type: ignore[no-untyped-call]
    assert sum(isinstance(one, stripe.PaymentIntent) for one in outcomes) == 1
    assert sum(isinstance(one, stripe.InvalidRequestError) for one in outcomes) == 19
    assert len(sandbox.api.charges.list().data) == 1


@pytest.mark.parametrize(("when", "intents"), [("before", 0), ("after", 1)])
def test_injected_failure_is_kept_for_its_key(sandbox: Sandbox, when: str, intents: int) -> None:
    sandbox.faults(fail_next=1, fail_when=when)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            sandbox.created(options={"idempotency_key": "k"})
        assert caught.value.http_status == 500
    assert sandbox.ledger()["totals"]["intents"] == intents
    assert sandbox.created(options={"idempotency_key": "other"}).id


def test_a_hung_request_takes_effect_and_its_key_replays_it(sandbox: Sandbox) -> None:
    intent = sandbox.authorised()
    sandbox.faults(hang=1, match="/capture")
    headers = {"Idempotency-Key": "capture:o1"}
    with pytest.raises(httpx.ReadTimeout):
        sandbox.http.post(f"/v1/payment_intents/{intent.id}/capture", headers=headers, timeout=0.3)
    eventually(lambda: sandbox.api.payment_intents.retrieve(intent.id).status == "succeeded")
    again = sandbox.api.payment_intents.capture(
        intent.id, options={"idempotency_key": "capture:o1"}
    )
    assert again.status == "succeeded"
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("body", [b'{"hang": ' + b"[" * 2_000, b'{"match": "\xff"}', b"[]", b""])
def test_a_body_that_is_no_json_object_is_refused(sandbox: Sandbox, body: bytes) -> None:
    for path in ("/sandbox/faults", "/sandbox/payment_intents/pi_1/authenticate"):
        refused = sandbox.http.post(
            path, content=body, headers={"Content-Type": "application/json"}
        )
        assert refused.status_code == 400, refused.text
        assert "must be an object" in refused.text


def test_an_outcome_that_is_no_text_is_refused(sandbox: Sandbox) -> None:
    outcomes: list[Any] = [[], {}, None, 1]
    for outcome in outcomes:
        refused = sandbox.http.post(
            "/sandbox/payment_intents/pi_1/authenticate", json={"outcome": outcome}
        )
        assert (refused.status_code, "Invalid outcome" in refused.text) == (400, True)


def test_unknown_or_senseless_faults_are_refused(sandbox: Sandbox) -> None:
    for knobs in ({"smoke": 1}, {"hang": -1}, {"webhooks": {"lost": True}}, {"webhooks": 3}):
        assert sandbox.http.post("/sandbox/faults", json=knobs).status_code == 400
    sandbox.faults(latency_ms=5)
    assert sandbox.http.delete("/sandbox/faults").json()["latency_ms"] == 0
