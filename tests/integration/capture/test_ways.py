"""Every way of writing is captured: the captured rows alone give what is in the database."""

from __future__ import annotations

import pytest

from tests.integration.capture.replay import replayed, take, truth
from tests.integration.pair.ways import WAYS, Way, save


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_way_of_writing_is_captured(site: str, way: Way) -> None:
    save(site)
    way(site)
    assert replayed(take(site)) == truth(site)
