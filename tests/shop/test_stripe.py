"""With a publishable key Stripe's script takes the card and shows the 3-D Secure challenge.

A double is served in place of Stripe's script. It creates payment methods that the sandbox knows,
so everything behind the API is as with the sandbox's cards.
"""

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from playwright.async_api import Request, Route, expect

from tests.push.servers import until
from tests.shop.conftest import Visit
from tests.shop.market import Market
from tests.shop.visitor import Json, Visitor

KEY = "pk_test_gittix"
SCRIPT = """
globalThis.Stripe = key => {
  const recorded = (globalThis.recorded = { key });
  const input = document.createElement("input");
  input.placeholder = "Card number";
  return {
    elements: options => {
      recorded.options = options;
      return {
        create: kind => {
          recorded.kind = kind;
          const listeners = {};
          return {
            on: (event, act) => (listeners[event] = act),
            mount: place => (place.append(input), listeners.ready()),
            update: changes => (input.readOnly = changes.readOnly),
            destroy: () => input.remove(),
          };
        },
        submit: async () => {
          recorded.checked = (recorded.checked ?? 0) + 1;
          const message = "Your card number is incomplete.";
          return input.value ? {} : { error: { type: "validation_error", message } };
        },
      };
    },
    createPaymentMethod: async ({ elements }) => {
      if (input.value.startsWith("0")) {
        return { error: { type: "card_error", message: "Your card is not supported." } };
      }
      const challenged = input.value === "3184";
      const id = challenged ? "pm_card_authenticationRequired" : "pm_card_visa";
      return { paymentMethod: { id } };
    },
    handleNextAction: async ({ clientSecret }) => bank(clientSecret),
  };
};
"""

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"STRIPE_PUBLISHABLE_KEY": KEY, "HOLD_SECONDS": "40"}


async def test_the_card_goes_to_stripe_and_the_api_gets_its_payment_method(
    market: Market, visit: Visit
) -> None:
    paid: list[Request] = []
    async with visit() as ana:
        order = await _at_the_checkout(market, ana)
        ana.page.on(
            "request", lambda request: paid.append(request) if request.method == "POST" else None
        )
        recorded = await ana.page.evaluate("recorded")
        assert (recorded["key"], recorded["kind"]) == (KEY, "payment")
        asked = {"mode": "payment", "amount": order["total"], "currency": "eur"}
        assert asked.items() <= recorded["options"].items()
        assert recorded["options"]["paymentMethodCreation"] == "manual"
        await _pay(ana, "4242 of nobody")
        await ana.until_stage("paid")
        [payment] = [request for request in paid if request.url.endswith("/api/payments")]
        (line,) = order["tickets"]
        shown = {name: line["show"][name] for name in ("venue", "city", "starts_at", "timezone")}
        assert payment.post_data_json == {
            "order_id": order["id"],
            "payment_method": "pm_card_visa",
            "shown_shows": {line["show_id"]: shown},
        }
        assert not ana.errors


async def test_stripes_refusal_is_shown_once_and_the_input_stays(
    market: Market, visit: Visit
) -> None:
    async with visit(width=360, dark=True) as ana:
        order = await _at_the_checkout(market, ana)
        await ana.page.get_by_role("button", name="Pay ").click()
        # Stripe shows the error at its own field.
        await ana.until_true("recorded.checked === 1")
        await expect(ana.page.get_by_role("button", name="Pay ")).to_have_attribute(
            "aria-disabled", "false"
        )
        await expect(ana.page.locator(".notice")).to_have_count(0)
        await _pay(ana, "0000")
        await ana.page.get_by_role("alert").get_by_text("Your card is not supported.").wait_for()
        await expect(ana.page.get_by_placeholder("Card number")).to_have_value("0000")
        assert (await ana.order(order))["status"] == "pending"


async def test_stripe_shows_the_3d_secure_challenge(market: Market, visit: Visit) -> None:
    secrets: list[str] = []

    async def bank(client_secret: str) -> None:
        secrets.append(client_secret)
        intent = client_secret.partition("_secret_")[0]
        path = f"http://127.0.0.1:{market.up.stripe_port}/sandbox/payment_intents/{intent}/authenticate"
        async with httpx.AsyncClient() as browser:
            (await browser.post(path, json={"outcome": "succeed"})).raise_for_status()

    async with visit() as ana:
        await ana.page.expose_function("bank", bank)
        await _at_the_checkout(market, ana)
        await _pay(ana, "3184")
        await ana.until_stage("paid")
        assert len(secrets) == 1


async def test_another_device_opens_the_challenge_only_by_its_button(
    market: Market, visit: Visit
) -> None:
    asked: dict[str, int] = {"ana": 0, "phone": 0}

    def bank(name: str) -> Callable[[str], None]:
        def answer(client_secret: str) -> None:
            assert client_secret
            asked[name] += 1

        return answer

    async with visit() as ana, visit(width=360) as phone:
        await ana.page.expose_function("bank", bank("ana"))
        await phone.page.expose_function("bank", bank("phone"))
        order = await _at_the_checkout(market, ana)
        await phone.sign_in_like(ana)
        await phone.page.route("https://js.stripe.com/**", _script)
        await phone.open_checkout(order)
        await _pay(ana, "3184")
        button = phone.page.get_by_role("button", name="Answer your bank")
        await button.wait_for()
        # The phone may get the message before the paying page has its response.
        await until(lambda: asked["ana"] == 1)
        assert asked["phone"] == 0
        await button.click()
        await until(lambda: asked["phone"] == 1)
        await expect(button).to_be_enabled()
        assert asked == {"ana": 1, "phone": 1}


async def test_a_stripe_script_that_fails_to_load_can_be_loaded_again(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        order = await _held(market, ana)
        await ana.page.route("https://js.stripe.com/**", lambda route: route.abort())
        await ana.open_checkout(order)
        await ana.page.get_by_text("The card form could not be loaded.").wait_for()
        await ana.page.unroute("https://js.stripe.com/**")
        await ana.page.route("https://js.stripe.com/**", _script)
        await ana.page.get_by_role("button", name="Try again").click()
        await _pay(ana, "4242")
        await ana.until_stage("paid")


async def test_the_content_security_policy_allows_stripe_and_only_a_checkout_loads_it(
    market: Market, visit: Visit
) -> None:
    async with visit() as ana:
        page = await ana.context.request.get(f"{ana.url}/checkout/{uuid4()}")
        rules = [rule.split() for rule in page.headers["content-security-policy"].split("; ")]
        policy = {name: set(sources) for name, *sources in rules}
        assert {"'self'", "https://js.stripe.com"} <= policy["script-src"]
        assert "'unsafe-inline'" not in policy["script-src"]
        assert "https://api.stripe.com" in policy["connect-src"]
        assert {"https://js.stripe.com", "https://hooks.stripe.com"} <= policy["frame-src"]
        await ana.open("/")
        await ana.until_state("live")
        assert not any("stripe" in host for host in ana.hosts)


async def _at_the_checkout(market: Market, visitor: Visitor) -> Json:
    order = await _held(market, visitor)
    await visitor.page.route("https://js.stripe.com/**", _script)
    await visitor.open_checkout(order)
    await visitor.page.get_by_placeholder("Card number").wait_for()
    return order


async def _held(market: Market, visitor: Visitor) -> Json:
    show_id = await market.show()
    tickets = await market.tickets(show_id, 1)
    await visitor.sign_up("ana")
    return await visitor.place(*tickets)


async def _pay(visitor: Visitor, card: str) -> None:
    await visitor.page.get_by_placeholder("Card number").fill(card)
    await visitor.page.get_by_role("button", name="Pay ").click()


async def _script(route: Route) -> None:
    await route.fulfill(body=SCRIPT, content_type="text/javascript")
