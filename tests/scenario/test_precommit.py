"""The hooks that contributors install: they run, pass on this tree, and find what they are for."""
import os
import shutil
import subprocess

import pytest

import harness

pytestmark = pytest.mark.timeout(900 * harness.SLOW)  # they read every file
PRE_COMMIT = harness.CACHE / "venv" / "bin" / "pre-commit"


def run(cwd, home, *args):
    return subprocess.run([PRE_COMMIT, "run", *args], cwd=cwd, capture_output=True, text=True,
                          timeout=600 * harness.SLOW, env={**os.environ, "PRE_COMMIT_HOME": str(home)})


def test_all_files_pass(tmp_path):
    out = run(harness.ROOT, tmp_path, "--all-files")
    assert out.returncode == 0 and out.stdout.count("Passed") == 3, out.stdout


def test_each_finds_what_it_is_for(tmp_path):
    tree = tmp_path / "tree"
    (tree / "src" / "base").mkdir(parents=True)
    (tree / "tools").mkdir()
    for name in (".pre-commit-config.yaml", ".clang-format", "tools/banned", "tools/layers.py"):
        shutil.copy(harness.ROOT / name, tree / name)
    (tree / "src" / "base" / "bad.c").write_text('#include "deploy/deploy.h"\nint   f(const char *s){return atoi(s);}\n')
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=tree, check=True)
    out = run(tree, tmp_path / "home", "--all-files")
    assert out.returncode == 1 and out.stdout.count("Failed") == 3, out.stdout
    for word in ("clang-format-violations", "atoi", "deploy/deploy.h"):
        assert word in out.stdout, (word, out.stdout)
