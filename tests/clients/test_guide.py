"""What docs/guides/live.md shows of each library is the file that the other tests run, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "live.md"
EXAMPLES = Path(__file__).parent / "examples"


def shown() -> list[str]:
    section = GUIDE.read_text().split("\n## With your library\n")[1].split("\n## ")[0]
    return re.findall(r"^```(?:js|python)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_guide_shows_the_examples_that_are_run() -> None:
    files = [path for path in EXAMPLES.iterdir() if path.suffix in (".mjs", ".py") and path.name != "__init__.py"]
    assert sorted(shown()) == sorted(path.read_text() for path in files)
    assert len(files) == 6
