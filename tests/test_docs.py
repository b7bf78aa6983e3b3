"""What README and docs show is executed: all blocks of a file in their order, in one new folder.

Python blocks share a namespace; of bash blocks every line is run, of console blocks every line after `$ `. Only a comment
`<!-- not executed: reason -->` right above a block leaves it out. `<!-- run alone: needs Lava -->` runs a Python block in a
process of its own, where Lava is installed. `<!-- file: NAME -->` makes a block the content of that file.
"""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXECUTED = ("python", "bash", "console")
FENCE = re.compile(
    r"(?:^<!-- (?:not executed: (?P<reason>.+?)|(?P<alone>run alone: needs Lava)|file: (?P<file>.+?)) -->\n)?"
    r"^```(?P<language>.*)\n(?P<text>(?s:.*?))^```\s*$",
    re.MULTILINE,
)


def blocks(text):
    """(language, number of the line before its first, text) of the blocks to execute.

    In place of the language "alone": run alone; a name with a dot: it is that file.
    """
    for found in FENCE.finditer(text):
        language = found["language"].strip()
        if language in EXECUTED and not found["reason"]:
            yield (
                found["file"] or ("alone" if found["alone"] else language),
                text.count("\n", 0, found.start("text")),
                found["text"],
            )


def commands(language, text):
    """The block's commands as lists of arguments."""
    lines = text.replace("\\\n", " ").splitlines()
    if language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def execute(words, call):
    assert words[0] == "rsrp-lava", f"{words}: only rsrp-lava can be executed here; mark the block as not executed"
    code, output, errors = call(*words[1:])  # in this process: starting Python takes longer than most commands
    assert code == 0, f"{shlex.join(words)} → exit code {code}\n{output}{errors}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_examples_run(file, tmp_path, call):
    namespace = {"__name__": "__main__"}
    for language, line, text in blocks(file.read_text(encoding="utf-8")):
        if language == "alone":
            if importlib.util.find_spec("lava") is None:
                continue
            done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, f"{file.name}, line {line}: {done.stderr}"
        elif "." in language:
            (tmp_path / language).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile("\n" * line + text, file, "exec"), namespace)
        else:
            for words in commands(language, text):
                execute(words, call)


def test_readme_shows_the_library_and_the_command_line():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if text.count("\n") > 30:
        assert {"python", "bash"} <= {language for language, _, _ in blocks(text)}


def test_blocks_are_found_and_only_marked_ones_left_out(call):
    text = (
        "```python\na\n\nb\n```\n\n<!-- not executed: slow -->\n```bash\nx\n```\n"
        "<!-- not executed: -->\n```bash\ny\n```\n```\nno language\n```\n```console\n$ z \\\n  1\noutput\n```\n"
        "<!-- file: f.py -->\n```python\nw\n```\n"
    )
    found = list(blocks(text))
    assert found == [
        ("python", 1, "a\n\nb\n"),
        ("bash", 12, "y\n"),
        ("console", 18, "$ z \\\n  1\noutput\n"),
        ("f.py", 24, "w\n"),
    ]
    assert commands("console", "$ z \\\n  1 # note\noutput\n") == commands("bash", "# note\nz 1\n") == [["z", "1"]]
    with pytest.raises(AssertionError, match="only rsrp-lava can be executed"):
        execute(["rm", "-r", "x"], call)
    with pytest.raises(AssertionError, match="exit code 2"):
        execute(["rsrp-lava", "trian"], call)
