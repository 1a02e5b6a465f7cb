"""
The effective settings as text, and the text of docs/options.md, which explains all settings.

Pure, made only from the table and the settings.  Write the page with
``python -m server.settings.report > docs/options.md``.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from server.settings.groups import GROUPS
from server.settings.kinds import OrWord
from server.settings.option import Option, printable
from server.settings.sources import Resolved
from server.settings.table import CHECK_CONFIG, CONFIG, OPTIONS
from server.settings.tf_serving import FLAGS

_BAR = "\\|"  # a bar within a cell of a table

_HEAD = """\
# Options

<!-- Made from server/settings/table.py: python -m server.settings.report > docs/options.md -->

Every option has a default. Each option is read from the first of these sources that sets it:

1. the command line: `--max-batch-size 32`. Underscores may replace dashes;
2. the environment: `TENSORFERRY_MAX_BATCH_SIZE=32`. An empty variable counts as not set;
3. the TOML file that `--config` or `TENSORFERRY_CONFIG` names: `max_batch_size = 32`. Dashes may
   replace underscores;
4. the default.

```toml
listen = ["tcp:12480:interface=127.0.0.1", "unix:/run/tensorferry.sock"]
max_queue_bytes = "1GiB"
access_log = true
```

- `--check-config` prints every setting and its origin, as such a file, and exits.
- An unknown name is an error in every source. The server ignores only the variables that Kubernetes
  sets for a Service called `tensorferry`, such as `TENSORFERRY_SERVICE_HOST` or
  `TENSORFERRY_PORT=tcp://10.0.0.1:80`.
- For several endpoints, repeat `--listen`, separate them by whitespace in `TENSORFERRY_LISTEN`, or
  write an array in the file. They replace all endpoints of later sources.
- A SIZE is a number of bytes, or a number with a unit: `KiB`, `MiB`, `GiB` and `TiB` are powers of
  1024; `kB`, `MB`, `GB` and `TB` are powers of 1000. In the file, a size with a unit is a string.
- A relative path in the file starts from the folder of the file; any other relative path starts
  from the current folder.
- In the environment a switch is `true` or `false`, or `yes`, `on`, `1`, `no`, `off`, `0`.
"""

_FLAGS = """
## Flags of TensorFlow Serving

`tensorferry serve` takes these on the command line. A log line at the start states what each sets,
or why it is ignored. `--model_base_path`, `--model_name` and `--model_config_file` are options
above; beside the last one, the other two are ignored.

| Flag | Effect |
|---|---|
"""


def describe(resolved: Resolved) -> str:
    """
    Return the effective settings as a TOML file: one line per setting, its origin in a comment.

    Reading the file results in the same settings.  A line is commented out if its setting has no
    value, or if another setting, which excludes it, is given instead.  The notes are comments.
    """
    rows = [_row(option, resolved) for option in OPTIONS]
    left = max(len(name) for name, _, _ in rows)
    right = max(len(value) for _, value, _ in rows)
    lines = [f"{name:{left}} = {value:{right}}  # {why}\n" for name, value, why in rows]
    return "".join([*lines, *(f"# {printable(note)}\n" for note in resolved.notes)])


def _row(option: Option[Any], resolved: Resolved) -> tuple[str, str, str]:
    """Return the three texts of a line: before the equals sign, after it, and in the comment."""
    why = printable(resolved.origins[option.name])
    value = getattr(resolved.settings, option.field)
    none_is_a_word = isinstance(option.kind, OrWord) and option.kind.value is None
    if value == () or (value is None and not none_is_a_word):
        return f"# {option.name}", option.default, why
    texts = [_toml(option, text) for text in option.format(value)]
    shown = f"[{', '.join(texts)}]" if option.repeatable else texts[0]
    for other in OPTIONS:
        is_set = getattr(resolved.settings, other.field) is not None
        if option.name in other.excludes and is_set:
            return f"# {option.name}", shown, f"{why}; {other.name} is given instead"
    return option.name, shown, why


def _toml(option: Option[Any], text: str) -> str:
    """Return *text* as a TOML value of a type that the option takes."""
    types = option.kind.toml_types
    if str not in types or (int in types and text.replace(".", "", 1).isdecimal()):
        return text
    # A JSON string is a TOML string, except for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def options_markdown() -> str:
    """Return the text of docs/options.md."""
    return _HEAD + "".join(_sections()) + _FLAGS + "".join(_flags())


def _sections() -> Iterator[str]:
    """Yield the heading and the table of each group."""
    for group in GROUPS:
        yield f"\n## {group}\n\n| Option | Variable | Default | Meaning |\n|---|---|---|---|\n"
        for option in (*OPTIONS, CONFIG, CHECK_CONFIG):
            if option.group == group:
                spelling = f"{option.spelling} {option.metavar}".rstrip()
                variable = "" if option is CHECK_CONFIG else f"`{option.variable}`"
                cells = (f"`{spelling}`", variable, option.default, option.explanation)
                yield f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |\n"


def _flags() -> Iterator[str]:
    """Yield a row for each flag of TensorFlow Serving."""
    for flag in FLAGS:
        value = "[=BOOL]" if flag.takes_no_value else f"={flag.kind.metavar}"
        effect = flag.effect if flag.meaning is not None else f"Ignored: {flag.effect}."
        yield f"| `--{flag.name}{value}` | {effect} |\n"


if __name__ == "__main__":
    sys.stdout.write(options_markdown())
