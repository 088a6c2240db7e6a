"""Both overlays satisfy every rule."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.k8s import configuration, connections, pod_rules, references
from tests.k8s.rendered import OVERLAYS, Rendered

RULES = (*references.RULES, *pod_rules.RULES, *configuration.RULES, *connections.RULES)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rule_is_broken(
    rule: Callable[[Rendered], Iterator[str]], overlay: str, overlays: Mapping[str, Rendered]
) -> None:
    assert list(rule(overlays[overlay])) == []
