"""`holdfast tui`: what its options refuse before a desk is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import World


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--record", "a", "--replay", "b"), "expected --record or --replay, found both"),
        (("--speed", "2"), "--speed: expected --replay FILE with it"),
        (("--record-no-values",), "--record-no-values: expected --record FILE with it"),
        (("--replay", "b"), "expected a terminal"),
    ],
)
def test_options_that_make_no_sense_are_refused(shop: World, args: tuple[str, ...], words: str) -> None:
    done = shop("tui", *args)
    assert (done.code, words in done.err) == (2, True), done.err


def test_a_file_that_is_no_recording_is_named(shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    (tmp_path / "notes").write_text("milk, eggs\n")
    done = shop("tui", "--replay", str(tmp_path / "notes"))
    assert done.code == 1
    assert "expected a file of `holdfast tui --record`, found 'milk, eggs' at its start" in done.err
    done = shop("tui", "--record", str(tmp_path / "notes"))
    assert "expected a file that is not there yet, found one" in done.err
