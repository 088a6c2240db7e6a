"""k8s/ keeps every rule, as it is rendered for a developer and for production."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.k8s import arrows, configuration, running, wiring
from tests.k8s.rendered import OVERLAYS, Rendered

RULES = (*wiring.RULES, *running.RULES, *configuration.RULES, *arrows.RULES)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rule_is_broken(
    rule: Callable[[Rendered], Iterator[str]], overlay: str, overlays: Mapping[str, Rendered]
) -> None:
    assert list(rule(overlays[overlay])) == []
