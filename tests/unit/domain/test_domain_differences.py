"""Each deliberate difference from KubeVirt's domains that no recording shows."""

from __future__ import annotations

import pytest
from domain_differences import BEYOND, Beyond
from domain_guests import vmi_of

from virt_handler.domain import preview, render
from virt_handler.errors import RenderError


@pytest.mark.parametrize("it", [pytest.param(it, id=name) for name, it in BEYOND.items()])
def test_differs_from_kubevirt_on_purpose(it: Beyond) -> None:
    if it.refused:
        with pytest.raises(RenderError) as caught:
            render(preview(vmi_of(it.manifest)))
        assert it.says in caught.value.message
    else:
        text = render(preview(vmi_of(it.manifest)))
        assert it.says in text
        assert "maxMemory" not in text
