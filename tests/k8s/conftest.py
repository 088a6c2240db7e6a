"""Each overlay is rendered once."""

from collections.abc import Mapping

import pytest

from tests.k8s.rendered import OVERLAYS, Rendered, render


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Rendered]:
    return {overlay: render(overlay, tmp_path_factory.mktemp(overlay)) for overlay in OVERLAYS}
