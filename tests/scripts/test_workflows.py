"""What runs the make targets from outside: git's hooks, the workflows, the forms."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [ROOT / ".github/ISSUE_TEMPLATE" / name for name in ("bug.yml", "feature.yml")]


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))


def called(command: str) -> Iterator[str]:
    """What a shell command runs of ours: make targets, and scripts by their path."""
    for line in re.split(r"[\n;|]|&&", command):
        words = [word for word in line.split() if not re.search("[=>]", word)]
        if words[:1] == ["make"]:
            yield from (word for word in words[1:] if not word.startswith("-"))
        elif words and "/" in words[0]:
            yield words[0]


def runnable(name: str) -> bool:
    if "/" in name:
        return os.access(ROOT / name, os.X_OK)
    return name in targets((ROOT / "Makefile").read_text(encoding="utf-8"))


def workflow(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_commands_are_told_apart() -> None:
    command = "set -e\nmake --no-print-directory test REQUIRE=x\nFASTGAN_BUILD=none make lint docs && .ci/run | tee log"
    assert list(called(command)) == ["test", "lint", "docs", ".ci/run"]
    assert runnable("lint") and runnable(".ci/run") and not runnable("tests") and not runnable("Makefile/run")


def test_hooks_call_targets_of_the_makefile() -> None:
    hooks = [hook for repo in workflow(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert len(hooks) == 3
    for hook in hooks:
        names = list(called(hook["entry"]))
        assert names == [hook["id"]] and runnable(hook["id"])
        assert hook["language"] == "system" and hook["pass_filenames"] is False


def test_the_parts_of_lint_are_what_the_makefile_says() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^lint:.*\n\t(.*)$", makefile, re.MULTILINE)
    assert recipe is not None
    parts = [word for word in recipe[1].split()[1:] if not word.startswith("-")]
    assert parts == ["style", "types", "layers", "tree"] and set(parts) <= targets(makefile)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_targets_of_the_makefile(path: Path) -> None:
    jobs = workflow(path)["jobs"]
    for name, job in jobs.items():
        commands = [command for step in job["steps"] if "run" in step for command in called(step["run"])]
        assert commands, f"{name} runs nothing of ours"
        assert [command for command in commands if not runnable(command)] == []
        assert job["timeout-minutes"] > 0


def test_the_run_before_a_change_lands_is_what_the_workflow_runs() -> None:
    (path,) = WORKFLOWS
    job = workflow(path)["jobs"]["all"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.13"]
    called_by_it = set(called((ROOT / ".ci/run").read_text(encoding="utf-8")))
    assert {"test", "thorough", "lint", "docs", "native-check"} <= called_by_it
    assert [name for name in called_by_it if "/" not in name and not runnable(name)] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_ask(path: Path) -> None:
    form = workflow(path)
    assert form["name"] and form["description"]
    fields = {field["id"]: field for field in form["body"]}
    assert len(fields) == len(form["body"]) and all(field["attributes"]["label"] for field in form["body"])
    for field in form["body"]:
        assert field["type"] in ("textarea", "input", "dropdown", "checkboxes")
        assert field["type"] != "dropdown" or all(isinstance(option, str) for option in field["attributes"]["options"])
    if path.stem == "bug":
        assert (
            "fastgan doctor" in fields["doctor"]["attributes"]["label"] and fields["doctor"]["validations"]["required"]
        )
