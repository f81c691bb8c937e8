"""Encoders whose libraries are not installed."""

from importlib import util

import pytest

from tasks import plugins
from tasks.errors import ConfigError


@pytest.mark.parametrize(
    ("use", "arguments", "library", "extra"),
    [
        ("open-clip", {}, "open_clip", "image"),
        ("timm", {"model": "resnet18"}, "torchvision", "image"),
        ("clap", {"model": "any"}, "soundfile", "audio"),
    ],
)
def test_a_missing_library_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
    use: str,
    arguments: dict[str, object],
    library: str,
    extra: str,
) -> None:
    known = util.find_spec
    monkeypatch.setattr(
        "tasks.encoders.running.find_spec", lambda name: None if name == library else known(name)
    )
    with pytest.raises(ConfigError) as caught:
        plugins.build("encoders", use, arguments)
    assert str(caught.value) == (f"{library} cannot be imported: pip install 'vectorline[{extra}]'")
