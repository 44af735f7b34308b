"""The completions of the tools by their usage texts; python -m tests.completions rewrites them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "three_backup" / "completion"
COMMANDS = sorted(path.name for path in (ROOT / "bin").iterdir())
_OPTION = re.compile(r"^ {2}(?:(-\w), | {4})(--[\w-]+)(?: ([A-Z]+))? {2,}(.*)$", re.MULTILINE)
_KINDS = {
    "PATTERN": "ids",
    "ID": "ids",
    "FILE": "files",
    "PATH": "files",
    "DIR": "folders",
    "SNAPSHOT": "snapshots",
    "WHEN": "auto always never",
    "ACTION": "skip wait kill",
    "TYPE": "incus lxd",
    "SOURCE": "clickhouse incus lxd postgres",
    "FORM": "csv json sql",
}
"""What a value is, by its name in the usage text; words are given themselves."""

_ARGUMENTS = {"tb-keep": ("ids", "snapshots"), "tb-wal": ("pull push fetch", "files")}
"""The kinds of the arguments, where these are not patterns only."""

_PATTERN = re.compile(r"^  tb-.*(?<!--select )\bPATTERN\b", re.MULTILINE)
_NOTE = "# Written by python -m tests.completions"


@dataclass(frozen=True, slots=True)
class Option:
    short: str  # "-c", or ""
    long: str  # "--config"
    value: str  # what its value is; "-" for one that is not completed, empty for none
    text: str

    @property
    def names(self) -> list[str]:
        return [name for name in (self.short, self.long) if name]


def options(command: str) -> list[Option]:
    return [
        Option(short, long, _kind(long, metavar), text)
        for short, long, metavar, text in _OPTION.findall(_usage(command))
    ]


def arguments(command: str) -> tuple[str, ...]:
    """Return the kinds of the arguments that are no options; the last one repeats."""
    usage, _, _ = _usage(command).partition("\nOptions:\n")
    return _ARGUMENTS.get(command, ("ids",) if _PATTERN.search(usage) else ())


def written() -> dict[Path, str]:
    """Return the text of every file that follows from the usage texts."""
    found = {FOLDER / "bash" / command: _bash(command) for command in COMMANDS}
    found[FOLDER / "zsh" / "_three_backup"] = _zsh()
    return found | {FOLDER / "fish" / f"{command}.fish": _fish(command) for command in COMMANDS}


def _usage(command: str) -> str:
    tool = command.removeprefix("tb-")
    module = import_module(f"three_backup.{'demo.story' if tool == 'demo' else f'tools.{tool}'}")
    return str(module.__doc__)


def _kind(option: str, metavar: str) -> str:
    if option == "--snapshot":
        return "snapshots"
    return _KINDS.get(metavar, "-") if metavar else ""


def _bash(command: str) -> str:
    known = options(command)
    values = " ".join(
        f"[{name}]={_quoted(option.value)}"
        for option in known
        if option.value
        for name in option.names
    )
    words = " ".join(name for option in known for name in option.names)
    places = "".join(f" {_quoted(kind)}" for kind in arguments(command))
    function = "_" + command.replace("-", "_")
    return f"""{_NOTE}

. "${{BASH_SOURCE[0]%/*}}/three_backup"

{function}() {{
    local -A values=({values})
    _three_backup '{words}'{places}
}}

complete -o nosort -F {function} {command}
"""


def _zsh() -> str:
    cases = "\n".join(_zsh_case(command) for command in COMMANDS)
    return f"""#compdef {" ".join(COMMANDS)}
{_NOTE}

# Print what completes a word. It comes out of files of this host: no server is asked. -P keeps
# Python from importing what lies in the current folder.
_three_backup_ask() {{
    local shebang
    IFS= read -r shebang <${{commands[$words[1]]:-$words[1]}} || return
    [[ $shebang == '#!'* ]] || return
    ${{=shebang#'#!'}} -P -m three_backup.completion "$1" "$2" ${{words[2,-1]}} 2>/dev/null
}}

_three_backup_ids() {{
    local -a found=(${{(f)"$(_three_backup_ask ids ${{(Q)PREFIX}})"}})
    compadd -U -S '' -- ${{(M)found:#*/}}
    compadd -U -- ${{found:#*/}}
}}

_three_backup_snapshots() {{
    local -a found=(${{(f)"$(_three_backup_ask snapshots '')"}})
    compadd -V snapshots -- $found
}}

case $service in
{cases}
esac
"""


def _zsh_case(command: str) -> str:
    specs = [spec for option in options(command) for spec in _zsh_specs(option)]
    kinds = arguments(command)
    for place, kind in enumerate(kinds, 1):
        which = "*" if place == len(kinds) else place
        specs.append(f"'{which}: :{_zsh_action(kind)}'")
    lines = " \\\n        ".join(specs)
    return f"{command})\n    _arguments -S \\\n        {lines}\n    ;;"


def _zsh_specs(option: Option) -> Iterator[str]:
    text = re.sub(r"([\[\]:\\])", r"\\\1", option.text).replace("'", "'\\''")
    for name in option.names:
        equals = "=" if option.value and name.startswith("--") else ""
        value = f": :{_zsh_action(option.value)}" if option.value else ""
        yield f"'*{name}{equals}[{text}]{value}'"


def _zsh_action(kind: str) -> str:
    named = {"ids": "_three_backup_ids", "snapshots": "_three_backup_snapshots"}
    named |= {"files": "_files", "folders": "_files -/", "-": " "}
    return named.get(kind, f"({kind})")


def _fish(command: str) -> str:
    lines = [f"complete -c {command} -f", *(_fish_option(command, o) for o in options(command))]
    kinds = arguments(command)
    named = "string match -q -- '*/*' (commandline -opc)"
    for place, kind in enumerate(kinds):
        conditions = (f"not {named}", named) if len(kinds) > 1 and "ids" in kinds else ("", "")
        condition = f' -n "{conditions[place > 0]}"' if conditions[0] else ""
        if kind != "files":
            lines.append(f"complete -c {command}{condition}{_fish_value(kind)}")
    text = "\n".join(lines)
    return f"""{_NOTE}

# Print what completes a word. It comes out of files of this host: no server is asked. -P keeps
# Python from importing what lies in the current folder.
function __three_backup
    set -l words (commandline -opc)
    set -l tool (command -s -- $words[1]); or return
    read -l shebang <$tool; or return
    string match -q '#!*' -- $shebang; or return
    set -l interpreter (string split -n ' ' -- (string sub -s 3 -- $shebang))
    command $interpreter -P -m three_backup.completion $argv[1] "$argv[2]" $words[2..] 2>/dev/null
end

{text}
"""


def _fish_option(command: str, option: Option) -> str:
    short = f" -s {option.short[1:]}" if option.short else ""
    text = option.text.replace("\\", "\\\\").replace("'", "\\'")
    value = _fish_value(option.value)
    return f"complete -c {command}{short} -l {option.long[2:]}{value} -d '{text}'"


def _fish_value(kind: str) -> str:
    return {
        "": "",
        "-": " -x",
        "files": " -r -F",
        "folders": " -x -a '(__fish_complete_directories)'",
        "ids": " -x -a '(__three_backup ids (commandline -ct))'",
        "snapshots": " -x -k -a '(__three_backup snapshots \\'\\')'",
    }.get(kind, f" -x -a '{kind}'")


def _quoted(words: str) -> str:
    return f"'{words}'" if " " in words else words


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
