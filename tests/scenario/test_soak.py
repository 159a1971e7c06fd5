"""A short soak: mixed traffic for a while, and nothing is left behind."""
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import types

import pytest

import harness


@pytest.mark.timeout(900 * harness.SLOW)
def test_nothing_is_left_behind_by_mixed_traffic(tmp_path):
    out = tmp_path / "soak.json"
    env = {**os.environ, "BERTH_BIN": str(harness.BERTH), "BERTH_CACHE": str(harness.CACHE)}
    r = subprocess.run([sys.executable, str(harness.ROOT / "bench" / "soak"), "--seconds", "20", "--json", str(out)],
                       capture_output=True, text=True, env=env, timeout=480 * harness.SLOW)
    assert r.returncode == 0, r.stdout + r.stderr
    result = json.loads(out.read_text())
    assert result["wrong"] == [] and len(result["samples"]) > 4, result
    assert result["after"]["descriptors"] <= result["before"]["descriptors"], result


def soak():
    """bench/soak as a module."""
    loader = importlib.machinery.SourceFileLoader("soak", str(harness.ROOT / "bench" / "soak"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("soak", loader))
    loader.exec_module(module)
    return module


FLAT = {"own_mib": 100.0, "used_mib": 90.0, "threads": 9, "descriptors": 20, "children": 0}


@pytest.mark.parametrize("why, after, grows, wrongs, found", [
    ("nothing", {}, 0, [], 0),
    ("a descriptor is left", {"descriptors": 21}, 0, [], 1),
    ("a thread is left", {"threads": 10}, 0, [], 1),
    ("a child is left", {"children": 1}, 0, [], 1),
    ("memory grows and stays", {"own_mib": 130.0}, 0.3, [], 1),
    ("pages are reused, but what is in use grows", {"used_mib": 99.0}, 0, [], 1),
    ("a peak that went away", {}, 0.3, [], 0),
    ("an answer that was wrong", {}, 0, ["x"], 1),
])
def test_the_soak_sees_what_is_left(why, after, grows, wrongs, found):
    kind = types.SimpleNamespace(name="kind", wrongs=wrongs, count=1)
    samples = [(t, {**FLAT, "own_mib": 100 + grows * t}) for t in range(100)]
    assert len(soak().judge([kind], FLAT, {**FLAT, **after}, samples, 8)) == found, why
