"""One browser for all tests of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browser, find_chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium, or a skip that says how to get one."""
    pytest.importorskip("websocket", reason='websocket-client is not installed; pip install "midas-xrd[test]"')
    pytest.importorskip("plotly", reason='plotly is not installed; pip install "midas-xrd[report]"')
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    found = Browser(program, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()
