"""Writes docs/settings.md from conf/schema.py: `make docs`. A test fails where the file and the schema differ."""

import sys
from dataclasses import Field, asdict
from itertools import groupby
from typing import Any

from conf.load import ROOT, profiles
from conf.schema import Config
from conf.settings import flatten, settings, shown, valid
from pipeline.observe.markdown import table
from pipeline.store.state import may_change

PATH = ROOT / "docs" / "settings.md"
HEAD = """\
# Settings

<!-- Made by `make docs` from conf/schema.py: change the help texts there. -->

Every setting of a run, with the default of the schema; the profile `tiny` adds a held-out set and the oracle to it. Give others
as `make round SET="challenger.steps=8 reward.lambda=0.5"`, or in a YAML file of your own with `PROFILE=path/to/file.yaml`; `SET`
wins over the profile, the profile over the preset. A file that begins with `base: eight-gpus` has the settings of
[`conf/presets/eight-gpus.yaml`](../conf/presets/eight-gpus.yaml) under its own. A name that does not exist, or a value that is
not valid, stops the run before anything starts. Texts are taken as they are spelled: `name=1.10` is not 1.1.
`SET="evaluation.sets=[]"` drops a profile's held-out sets. The profiles in `conf/`: {profiles}.

A run is resumed only under the settings that it was started with. Those marked † change where and how fast a run goes, or what is
measured, not what is trained but for the last bits of probabilities, and may differ when it is resumed.
"""


def settings_page() -> str:
    """The page in Markdown."""
    default = dict(flatten(asdict(Config())))
    rows = [(shown(name), written(default[shown(name)]), field) for name, field in settings()]
    parts = [HEAD.format(profiles=", ".join(f"`{name}`" for name in profiles()))]
    for section, members in groupby(rows, lambda row: row[0].partition(".")[0] if "." in row[0] else ""):
        lines = table(("setting", "default", "valid", "meaning"), [cells(*row) for row in members])
        parts.append(f"## {section or 'The run'}\n\n{lines}\n")
    return "\n".join(parts)


def written(value: object) -> str:
    """A value as it is written in YAML."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def cells(name: str, default: str, field: Field[Any]) -> tuple[str, ...]:
    free = " †" if may_change(name) else ""
    return f"`{name}`{free}", f"`{default}`" if default else "", valid(field).removeprefix("valid: "), field.metadata["help"]


def main() -> int:
    PATH.write_text(settings_page())
    print(PATH.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
