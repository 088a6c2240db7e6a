"""The life of an intent, as the official client sees it."""

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.conftest import Sandbox, error_of

pytestmark = pytest.mark.timeout(20)


def test_manual_capture_takes_the_authorised_money_once(sandbox: Sandbox) -> None:
    intent = sandbox.created(metadata={"order_id": "o1"})
    assert (intent.status, intent.client_secret is not None) == ("requires_payment_method", True)
    intent = sandbox.api.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert (intent.status, intent.amount_capturable, intent.amount_received) == (
        "requires_capture",
        2000,
        0,
    )
    intent = sandbox.api.payment_intents.capture(intent.id, {"expand": ["latest_charge"]})
    assert (intent.status, intent.amount_capturable, intent.amount_received) == (
        "succeeded",
        0,
        2000,
    )
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (charge.captured, charge.amount_captured, charge.refunded) == (True, 2000, False)
    assert charge.metadata["order_id"] == "o1"
    assert sandbox.event_types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
    ]


def test_automatic_capture_succeeds_at_once(sandbox: Sandbox) -> None:
    intent = sandbox.authorised(capture_method="automatic")
    assert (intent.status, intent.amount_received) == ("succeeded", 2000)
    assert sandbox.event_types()[-1] == "charge.succeeded"


def test_intent_needs_confirmation_when_it_only_has_a_method(sandbox: Sandbox) -> None:
    intent = sandbox.created(payment_method="pm_card_mastercard")
    assert intent.status == "requires_confirmation"
    assert isinstance(intent.payment_method, str)
    method = sandbox.api.payment_methods.retrieve(intent.payment_method)
    assert method.card is not None
    assert (method.card.brand, method.card.last4) == ("mastercard", "4444")


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ],
)
def test_decline_is_a_402_that_names_its_reason(
    sandbox: Sandbox, method: str, code: str, decline_code: str
) -> None:
    intent = sandbox.created()
    with pytest.raises(stripe.CardError) as caught:
        sandbox.api.payment_intents.confirm(intent.id, {"payment_method": method})
    error = error_of(caught)
    assert (caught.value.http_status, error["code"], error["decline_code"]) == (
        402,
        code,
        decline_code,
    )
    assert error["payment_intent"]["status"] == "requires_payment_method"
    after = sandbox.api.payment_intents.retrieve(intent.id)
    assert after.last_payment_error is not None
    assert after.last_payment_error.decline_code == decline_code
    charge = sandbox.api.charges.retrieve(error["charge"])
    assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, code)
    assert sandbox.event_types()[1:] == ["charge.failed", "payment_intent.payment_failed"]


def test_declined_intent_can_be_paid_with_another_card(sandbox: Sandbox) -> None:
    with pytest.raises(stripe.CardError) as caught:
        sandbox.authorised("pm_card_chargeDeclined")
    intent_id = error_of(caught)["payment_intent"]["id"]
    intent = sandbox.api.payment_intents.confirm(intent_id, {"payment_method": "pm_card_visa"})
    assert (intent.status, intent.last_payment_error) == ("requires_capture", None)
    assert len(sandbox.api.charges.list({"payment_intent": intent_id}).data) == 2


def test_challenge_approved_by_the_buyer_authorises(sandbox: Sandbox) -> None:
    intent = sandbox.authorised("pm_card_authenticationRequired")
    assert (intent.status, intent.latest_charge) == ("requires_action", None)
    assert intent.next_action is not None
    assert intent.next_action.type == "use_stripe_sdk"
    assert sandbox.authenticate(intent, "succeed")["status"] == "requires_capture"
    assert sandbox.api.payment_intents.capture(intent.id).status == "succeeded"


def test_challenge_refused_by_the_buyer_asks_for_another_method(sandbox: Sandbox) -> None:
    intent = sandbox.authorised("pm_card_threeDSecure2Required")
    sandbox.authenticate(intent, "fail")
    after = sandbox.api.payment_intents.retrieve(intent.id)
    assert (after.status, after.payment_method, after.next_action) == (
        "requires_payment_method",
        None,
        None,
    )
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    again = sandbox.http.post(
        f"/sandbox/payment_intents/{intent.id}/authenticate", data={"outcome": "succeed"}
    )
    assert (again.status_code, again.json()["error"]["code"]) == (
        400,
        "payment_intent_unexpected_state",
    )


def test_challenge_may_end_in_a_decline(sandbox: Sandbox) -> None:
    intent = sandbox.authorised("pm_card_threeDSecureRequiredChargeDeclined")
    after = sandbox.authenticate(intent, "succeed")
    assert after["last_payment_error"]["decline_code"] == "generic_decline"
    assert sandbox.event_types()[-1] == "payment_intent.payment_failed"


def test_off_session_payment_is_declined_instead_of_challenged(sandbox: Sandbox) -> None:
    with pytest.raises(stripe.CardError) as caught:
        sandbox.authorised("pm_card_authenticationRequired", off_session=True)
    assert caught.value.code == "authentication_required"


def test_challenge_page_asks_the_buyer_and_leads_back_to_the_shop(sandbox: Sandbox) -> None:
    intent = sandbox.authorised(
        "pm_card_authenticationRequired", return_url="http://shop.test/pay?o=1"
    )
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page_url = intent.next_action.redirect_to_url.url
    assert page_url is not None
    page = sandbox.http.get(page_url)
    assert "20.00 USD" in page.text
    form = {"page": "1", "outcome": "succeed"}
    gone = sandbox.http.post(f"/sandbox/payment_intents/{intent.id}/authenticate", data=form)
    assert gone.status_code == 303
    assert gone.headers["location"].startswith(
        f"http://shop.test/pay?o=1&payment_intent={intent.id}&"
    )
    assert gone.headers["location"].endswith("redirect_status=succeeded")
    assert "Nothing to approve" in sandbox.http.get(page_url).text


def test_cancelling_an_authorisation_moves_no_money(sandbox: Sandbox) -> None:
    intent = sandbox.authorised()
    intent = sandbox.api.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (intent.status, intent.amount_capturable, intent.cancellation_reason) == (
        "canceled",
        0,
        "abandoned",
    )
    assert isinstance(intent.latest_charge, str)
    charge = sandbox.api.charges.retrieve(intent.latest_charge)
    assert (charge.captured, charge.refunded) == (False, True)
    assert sandbox.event_types()[-2:] == ["charge.refunded", "payment_intent.canceled"]
    assert sandbox.ledger()["totals"]["by_currency"]["usd"]["refunded"] == 0


def test_an_ended_intent_cannot_be_captured_confirmed_or_cancelled(sandbox: Sandbox) -> None:
    intents = sandbox.api.payment_intents
    captured, canceled = sandbox.authorised(), sandbox.authorised()
    intents.capture(captured.id)
    intents.cancel(canceled.id)
    refusals: list[Callable[[], Any]] = [
        lambda: intents.capture(captured.id),
        lambda: intents.cancel(captured.id),
        lambda: intents.confirm(captured.id),
        lambda: intents.capture(canceled.id),
        lambda: intents.cancel(canceled.id),
    ]
    for refused in refusals:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            refused()
        assert (caught.value.http_status, caught.value.code) == (
            400,
            "payment_intent_unexpected_state",
        )
        assert "payment_intent" in error_of(caught)
    assert sandbox.ledger()["totals"]["by_currency"]["usd"]["received"] == 2000


def test_expired_authorisation_cannot_be_captured(sandbox: Sandbox) -> None:
    intent = sandbox.authorised()
    sandbox.http.post(f"/sandbox/payment_intents/{intent.id}/expire").raise_for_status()
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        sandbox.api.payment_intents.capture(intent.id)
    assert sandbox.event_types()[-2:] == ["charge.expired", "payment_intent.canceled"]


def test_part_of_an_authorisation_may_be_captured_but_never_more(sandbox: Sandbox) -> None:
    intent = sandbox.authorised()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        sandbox.api.payment_intents.capture(intent.id, {"amount_to_capture": 2001})
    assert caught.value.code == "amount_too_large"
    intent = sandbox.api.payment_intents.capture(intent.id, {"amount_to_capture": 1500})
    assert (intent.status, intent.amount_received) == ("succeeded", 1500)
    with pytest.raises(stripe.InvalidRequestError, match="greater than"):
        sandbox.api.refunds.create({"payment_intent": intent.id, "amount": 1501})


def test_refunds_never_exceed_the_captured_amount(sandbox: Sandbox) -> None:
    refunds, intent = sandbox.api.refunds, sandbox.authorised(capture_method="automatic")
    first = refunds.create({"payment_intent": intent.id, "amount": 500, "metadata": {"line": "l1"}})
    assert (first.status, first.amount, first.charge) == ("succeeded", 500, intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        refunds.create({"payment_intent": intent.id, "amount": 1501})
    assert (caught.value.http_status, caught.value.param) == (400, "amount")
    rest = refunds.create({"payment_intent": intent.id, "reason": "requested_by_customer"})
    assert rest.amount == 1500
    with pytest.raises(stripe.InvalidRequestError) as caught:
        refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_already_refunded"
    assert [one.id for one in refunds.list({"payment_intent": intent.id}).data] == [
        rest.id,
        first.id,
    ]
    kept = refunds.retrieve(first.id)
    assert kept.metadata is not None
    assert kept.metadata["line"] == "l1"
    (line,) = sandbox.ledger()["data"]
    assert (line["amount_received"], line["refunded"]) == (2000, 2000)


def test_uncaptured_payment_cannot_be_refunded(sandbox: Sandbox) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="You must cancel the PaymentIntent"):
        sandbox.api.refunds.create({"payment_intent": sandbox.authorised().id})


def test_pending_refund_that_fails_gives_the_money_back_to_the_balance(sandbox: Sandbox) -> None:
    intent = sandbox.authorised("pm_card_pendingRefund", capture_method="automatic")
    refund = sandbox.api.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    sandbox.http.post(
        f"/sandbox/refunds/{refund.id}/settle", json={"outcome": "fail"}
    ).raise_for_status()
    assert sandbox.api.refunds.retrieve(refund.id).status == "failed"
    assert isinstance(intent.latest_charge, str)
    assert sandbox.api.charges.retrieve(intent.latest_charge).amount_refunded == 0


def test_disputed_charge_cannot_be_refunded(sandbox: Sandbox) -> None:
    intent = sandbox.authorised("pm_card_createDispute", capture_method="automatic")
    assert "charge.dispute.created" in sandbox.event_types()
    with pytest.raises(stripe.InvalidRequestError) as caught:
        sandbox.api.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_disputed"


def test_yen_have_no_minor_units(sandbox: Sandbox) -> None:
    intent = sandbox.authorised(amount=500, currency="jpy", capture_method="automatic")
    assert (intent.amount_received, intent.currency) == (500, "jpy")
    with pytest.raises(stripe.InvalidRequestError, match="at least 50 jpy"):
        sandbox.created(amount=49, currency="jpy")


def test_open_intent_takes_another_amount_and_merged_metadata(sandbox: Sandbox) -> None:
    intents = sandbox.api.payment_intents
    intent = sandbox.created(metadata={"a": "1", "b": "2"})
    intent = intents.update(intent.id, {"amount": 3000, "metadata": {"b": "", "c": "3"}})
    assert (intent.amount, intent.metadata.to_dict()) == (3000, {"a": "1", "c": "3"})
    intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError, match="could not be updated"):
        intents.update(intent.id, {"amount": 4000})
