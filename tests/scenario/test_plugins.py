"""Shimlets and pipelines from files: tried before they are loaded, and changed under load."""
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading

import pytest

import harness
import services
from services import deploy, get, shimmy, step, wait_gone, wait_phase

pytestmark = pytest.mark.sanitize
PLUGINS = "/api/v1/plugins"
EXAMPLES = harness.ROOT / "examples"
TEMPLATE = EXAMPLES / "shimlet_template" / "shimlet_template.c"

# What is wrong with a shimlet, by how its entry looks.
ENTRY = """
#include <stdlib.h>
#include <unistd.h>
#include <berth/shimlet.h>
static int nothing(void) { return 0; }
#define OP(type) ((type)(void *)nothing)
static struct berth_shimlet_ops ops;
%s
const struct berth_shimlet_ops *
berth_shimlet_entry(const struct berth_shimlet_host *h, struct berth_err *e)
{
    (void)h; (void)e; (void)nothing;
    ops.abi = BERTH_SHIMLET_ABI;
    ops.struct_size = sizeof ops;
    ops.name = "faulty";
    %s
    return &ops;
}
"""


def compiled(to, source, *flags):
    """Compile one file against the public headers alone."""
    to = pathlib.Path(to)
    source_file = source
    if not isinstance(source, pathlib.Path):
        source_file = to.with_suffix(".c")
        source_file.write_text(source)
    part = to.with_suffix(".new")
    subprocess.run(["cc", "-std=gnu17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{harness.ROOT}/include",
                    *flags, "-o", part, source_file], check=True)
    part.rename(to)  # as an installer does: the old file's inode may be in use
    return to


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("plugins") / "berth-shimlet-template.so", TEMPLATE)


@pytest.fixture
def folder(tmp_path):
    d = tmp_path / "plugins"
    d.mkdir()
    return d


@pytest.fixture
def trials(tmp_path):
    """Where a server makes the folders that plugins are tried with: its own, as others may run here."""
    d = tmp_path / "trials"
    d.mkdir()
    return d


@pytest.fixture
def server(make_server, folder, trials):
    return make_server("--shimlet", "shimmy", "--plugin-dir", folder, env={"TMPDIR": str(trials)})


def load(server, path, kind="shimlet", **more):
    return server.post(f"{PLUGINS}/load", {"type": kind, "path": str(path), **more})


def listed(server, kind="shimlets"):
    return {p["name"]: p for p in server.get(PLUGINS).json["data"][kind]}


def refused(server, answer, status, *words):
    assert answer.status == status and answer.json["code"] == status, answer
    for word in words:
        assert word in answer.json["message"], answer
    assert server.alive
    wait_phase(server, deploy(server, shimmy())["serviceId"])


def on_template(model="t", **more):
    return {"modelName": model, "modelFile": "/tmp", "shimlet": "template", **more}


def test_a_shimlet_is_loaded_used_and_unloaded(server, folder, template):
    pid = server.pid
    shutil.copy(template, folder)
    answer = load(server, folder / template.name)
    assert answer.status == 200 and answer.json["code"] == 0, answer
    data = answer.json["data"]
    assert (data["type"], data["name"], data["version"]) == ("shimlet", "template", "1.0")
    assert data["path"] == str(folder / template.name) and data["loadedAt"]
    assert listed(server)["template"]["source"] == data["path"]

    sid = deploy(server, on_template(replicaCount=2))["serviceId"]
    assert len(wait_phase(server, sid)["replicas"]) == 2
    answer = server.post(f"{PLUGINS}/unload", {"type": "shimlet", "name": "template"})
    assert answer.status == 403 and sid in answer.json["message"], answer
    assert server.delete(f"{services.API}/{sid}").json["code"] == 0
    wait_gone(server, sid)
    answer = server.post(f"{PLUGINS}/unload", {"type": "shimlet", "name": "template"})
    assert answer.status == 200, answer
    assert "template" not in listed(server)
    assert server.pid == pid and server.alive
    other = deploy(server, shimmy())["serviceId"]
    wait_phase(server, other)


def test_what_was_loaded_is_loaded_again(make_server, folder, template):
    server = make_server("--shimlet", "shimmy", "--plugin-dir", folder, env={"BERTH_DEPLOY_LOAD_FOLDER": "false"})
    path = pathlib.Path(shutil.copy(template, folder))
    assert load(server, path).status == 200
    sid = deploy(server, on_template())["serviceId"]
    wait_phase(server, sid)
    server.kill()
    server.start()
    assert listed(server)["template"]["source"] == str(path)
    harness.wait_until(lambda: get(server, sid)["replicas"], 60, "it is adopted")
    wait_phase(server, sid)

    # Another file in its place is not what was tried; none at all is no plugin either.
    server.stop()
    path.write_bytes(template.read_bytes() + b"more")
    server.start()
    seen = wait_phase(server, sid, "degraded")
    assert "shimlet template is not loaded" in seen["message"] and "sha256" in seen["message"], seen
    server.stop()
    path.unlink()
    server.start()
    (missing,) = server.get(PLUGINS).json["data"]["missing"]
    assert (missing["type"], missing["name"]) == ("shimlet", "template") and str(path) in missing["why"]
    assert re.search(r"error .*shimlet template, which was loaded before, is not there", server.log())
    assert "No such file" in wait_phase(server, sid, "degraded")["message"]
    answer = server.post(f"{services.API}/deploy", on_template("other"))
    assert answer.status == 400 and str(path) in answer.json["message"], answer
    # A canary could not come about, and whoever waits for it would wait in vain.
    answer = server.request("PATCH", f"{services.API}/{sid}", {"contextLength": 7, "strategy": {"type": "canary"}})
    assert answer.status == 400 and str(path) in answer.json["message"], answer
    assert get(server, sid)["canary"] is None

    shutil.copy(template, folder)
    assert load(server, path).status == 200
    assert server.get(PLUGINS).json["data"]["missing"] == []
    wait_phase(server, sid)
    server.delete(f"{services.API}/{sid}")
    wait_gone(server, sid)
    assert server.post(f"{PLUGINS}/unload", {"type": "shimlet", "name": "template"}).status == 200
    server.stop()
    path.unlink()
    server.start()
    assert "template" not in listed(server) and server.get(PLUGINS).json["data"]["missing"] == []


def test_what_is_no_plugin_is_refused(server, folder):
    text = folder / "berth-shimlet-text.so"
    text.write_text("this is a text")
    refused(server, load(server, text), 400, "not a shared object")
    (folder / "berth-shimlet-empty.so").write_bytes(b"")
    refused(server, load(server, folder / "berth-shimlet-empty.so"), 400, "not a shared object")
    (folder / "inner.so").mkdir()
    refused(server, load(server, folder / "inner.so"), 400, "not a file")
    refused(server, load(server, folder / "berth-shimlet-missing.so"), 400, "No such file")
    cut = folder / "berth-shimlet-cut.so"
    cut.write_bytes(pathlib.Path(harness.BERTH).read_bytes()[:5000])
    refused(server, load(server, cut), 400, "berth-shimlet-cut.so")
    assert set(listed(server)) >= {"shimmy"} and "faulty" not in listed(server)


@pytest.mark.parametrize("before, entry, words", [
    ("", "ops.abi = 77;", ["ABI 77"]),
    ("", "", ["lacks one of"]),
    ("", "abort();", ["signal 6", "process of its own"]),
    ("", "*(volatile int *)h = 1; *(volatile int *)8 = 1;", ["process of its own"]),
    ("", "exit(0);", ["without an answer"]),
    ("", 'ops.name = "Ünknown Name"; return berth_err_set(e, BERTH_EINVAL, "no licence") ? 0 : &ops;', ["no licence"]),
    ("int none_such(void);", "ops.abi += none_such();", ["none_such"]),
])
def test_a_faulty_shimlet_harms_nothing(server, folder, before, entry, words):
    path = compiled(folder / "berth-shimlet-faulty.so", ENTRY % (before, entry))
    pid = server.pid
    if harness.SANITIZED:  # a crash ends with a report there, not by the signal
        words = [w for w in words if not w.startswith("signal")]
    refused(server, load(server, path), 400, *words)
    assert server.pid == pid and "faulty" not in listed(server)


def test_no_entry_and_another_type_are_refused(server, folder, template):
    path = compiled(folder / "berth-shimlet-none.so", "int nothing(void);\nint nothing(void) { return 0; }\n")
    refused(server, load(server, path), 400, "no symbol berth_shimlet_entry")
    shutil.copy(template, folder / "berth-pipeline-template.so")
    refused(server, load(server, folder / "berth-pipeline-template.so", "pipeline"), 400,
            "no symbol berth_pipeline_entry")
    refused(server, load(server, folder / "berth-pipeline-template.so", name="other"), 400, "calls itself template")


def test_a_crash_in_open_is_found_before_loading(server, folder, trials):
    source = TEMPLATE.read_text().replace("/* Here: read", "abort(); /* Here: read")
    assert "abort();" in source
    refused(server, load(server, compiled(folder / "berth-shimlet-opens.so", source)), 400, "process of its own")
    assert not list(trials.iterdir())


def test_one_that_hangs_is_given_up(server, folder):
    path = compiled(folder / "berth-shimlet-hangs.so", ENTRY % ("", "for (;;) (void)sleep(1);"))
    refused(server, load(server, path), 400, "had not ended")


def test_only_the_plugin_folder_is_loaded_from(server, folder, template, tmp_path):
    outside = tmp_path / template.name
    shutil.copy(template, outside)
    refused(server, load(server, outside), 403, "outside of the plugin folder")
    refused(server, load(server, folder / ".." / template.name), 403, "outside of the plugin folder")
    (folder / "link.so").symlink_to(outside)
    refused(server, load(server, folder / "link.so"), 403, "outside of the plugin folder")
    assert "template" not in listed(server)


def test_any_folder_when_the_configuration_says_so(make_server, template):
    server = make_server("--shimlet", "shimmy", env={"BERTH_DEPLOY_LOAD_ANY_PATH": "true"})
    assert load(server, template).status == 200
    assert "template" in listed(server)


def test_checksums(make_server, folder, template, tmp_path):
    shutil.copy(template, folder)
    path, sums = folder / template.name, tmp_path / "sums"
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    sums.write_text(f"{'0' * 64}  {path.name}\n")
    server = make_server("--shimlet", "shimmy", "--plugin-dir", folder, env={"BERTH_DEPLOY_PLUGIN_SUMS": str(sums)})
    refused(server, load(server, path), 400, good)
    sums.write_text("")
    refused(server, load(server, path), 400, "not in the list")
    sums.write_text(f"{good}  {path.name}\n")
    refused(server, load(server, path, sha256="1" * 64), 400, good)
    assert load(server, path, sha256=good.upper()).status == 200


def test_a_name_that_is_taken(server, folder, template):
    shutil.copy(template, folder)
    assert load(server, template.name).status == 200  # a name alone is looked for in the folder
    answer = load(server, folder / template.name)
    assert answer.status == 409 and "replace" in answer.json["message"], answer
    assert load(server, folder / template.name, replace=True).status == 200
    for kind, name in (("shimlet", "shimmy"), ("pipeline", "opensourcellm")):
        for verb in ("unload", "reload"):
            answer = server.post(f"{PLUGINS}/{verb}", {"type": kind, "name": name})
            assert answer.status == 403 and "compiled in" in answer.json["message"], answer
    assert server.post(f"{PLUGINS}/unload", {"type": "shimlet", "name": "nobody"}).status in (400, 404)


def test_replaced_under_load_with_no_failed_request(server, folder, template):
    path = folder / template.name
    shutil.copy(template, path)
    assert load(server, path).status == 200
    pid, stop, made, failed = server.pid, threading.Event(), [], []

    def deployer(k):
        for i in itertools.count():
            if stop.is_set():
                return
            answer = server.post(f"{services.API}/deploy", on_template(f"load-{k}-{i}"))
            if answer.status == 200:
                made.append(answer.json["data"]["serviceId"])
            else:
                failed.append(answer)
            stop.wait(0.05)

    threads = [threading.Thread(target=deployer, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    try:
        for version in ("2.0", "3.0", "4.0"):
            compiled(path, TEMPLATE, f'-DVERSION="{version}"')
            answer = server.post(f"{PLUGINS}/reload", {"type": "shimlet", "name": "template"})
            assert answer.status == 200, answer
            assert answer.json["data"]["version"] == version
            assert listed(server)["template"]["version"] == version
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failed and made
    for sid in made:
        wait_phase(server, sid)
    # The code is the new one, too, not only what it says of itself.
    last = deploy(server, on_template("last"))["serviceId"]
    wait_phase(server, last)
    log = server.get(f"{services.API}/{last}/pipeline/logs?format=text").text
    assert "the template has written 4.0" in log, log
    assert server.pid == pid and server.alive


def test_a_folder_is_loaded_at_start(make_server, folder, template):
    shutil.copy(template, folder)
    compiled(folder / "berth-pipeline-my-pipeline.so", EXAMPLES / "pipelines" / "my_pipeline.c")
    (folder / "berth-shimlet-bad.so").write_text("text")
    server = make_server("--shimlet", "shimmy", "--plugin-dir", folder, env={"BERTH_DEPLOY_LOAD_FOLDER": "true"})
    assert "template" in listed(server) and "my-pipeline" in listed(server, "pipelines")
    assert "berth-shimlet-bad.so: not a shared object" in server.log()
    # They are no backends, and not told of as such.
    assert not any("shimlet" in p["name"] or "pipeline" in p["name"] for p in server.get("/v1/plugins").json)


def test_strict_loading_ends_the_start(make_server, folder):
    (folder / "berth-shimlet-bad.so").write_text("text")
    server = make_server("--shimlet", "shimmy", "--plugin-dir", folder, start=False,
                         env={"BERTH_DEPLOY_LOAD_FOLDER": "true", "BERTH_DEPLOY_LOAD_STRICT": "true"})
    server.start(ready=False)
    assert server.process.wait(60 * harness.SLOW) != 0
    assert "berth-shimlet-bad.so" in server.log()


# ---- pipelines ----

MY_STEPS = ["validate", "config", "config-rendering", "resources", "health-check"]


def test_a_custom_pipeline_replaces_the_default(make_server, folder):
    path = compiled(folder / "berth-pipeline-my-pipeline.so", EXAMPLES / "pipelines" / "my_pipeline.c")
    server = make_server("--shimlet", "shimmy", "--pipeline=my-pipeline", "--plugin-dir", folder,
                         env={"BERTH_DEPLOY_PRELOAD": str(path)})
    data = deploy(server, shimmy())
    assert data["totalSteps"] == MY_STEPS
    sid = data["serviceId"]
    wait_phase(server, sid)
    log = server.get(f"{services.API}/{sid}/pipeline/logs?format=text").text
    at = [log.index(text) for text in ("my-pipeline: validate", "my-pipeline: config", "resources")]
    assert at == sorted(at), log
    assert [s["state"] for s in get(server, sid, "/pipeline")["steps"]] == ["succeeded"] * len(MY_STEPS)


def test_a_pipeline_of_named_steps(server, folder):
    path = compiled(folder / "berth-pipeline-quant-llm.so", EXAMPLES / "pipelines" / "quant_llm.c")
    assert load(server, path, "pipeline").status == 200
    assert listed(server, "pipelines")["quant-llm"]["steps"] == ["model-validation", "model-quantization",
                                                                 "config-rendering", "resource-deployment"]
    spec = shimmy() | {"pipeline": "quant-llm"}
    data = deploy(server, spec, quantConfig={"type": "q8_0"})
    assert data["totalSteps"][1] == "model-quantization"
    wait_phase(server, data["serviceId"])
    sid = deploy(server, spec)["serviceId"]
    assert "quantConfig.type: is missing" in wait_phase(server, sid, "failed")["message"]

    compiled(path, EXAMPLES / "pipelines" / "quant_llm.c", "-DWITH_UNKNOWN")
    assert server.post(f"{PLUGINS}/reload", {"type": "pipeline", "name": "quant-llm"}).status == 200
    sid = deploy(server, spec, quantConfig={"type": "q8_0"})["serviceId"]
    wait_phase(server, sid, "failed")
    assert "unsupported step: model-polishing" in step(server, sid, "model-polishing")["error"]


def test_the_guide_works_as_it_is_printed(tmp_path, server, folder):
    """Ten minutes to a shimlet, in a copy of the tree as a newcomer has it."""
    guide = (harness.ROOT / "docs" / "services-plugins.md").read_text()
    (block, reload) = re.findall(r"```sh\n(.*?)```", guide.split("## Ten minutes to a shimlet")[1], re.S)[:2]
    for part in ("examples", "include"):
        shutil.copytree(harness.ROOT / part, tmp_path / part)
    lines = [line for line in (block + reload).splitlines() if not line.startswith("berth serve")]
    assert len(lines) == 5  # and the server runs already, with that folder
    answers = []
    for line in lines:
        out = subprocess.run(["bash", "-c", line.replace("localhost:8000", f"127.0.0.1:{server.port}")], check=True,
                             cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "MAKEFLAGS": ""}).stdout
        if line.startswith("curl"):
            answers.append(json.loads(out))
            assert answers[-1]["code"] == 0, answers
    assert folder == tmp_path / "plugins"
    assert wait_phase(server, answers[1]["data"]["serviceId"])["shimlet"] == "template"


def test_a_shimlet_is_tried_with_a_folder_of_its_own(server, folder, tmp_path, trials):
    """One that cannot do without: it may write there, and nothing of it is left."""
    so = compiled(folder / "berth-shimlet-faulty.so", ENTRY % ("""
#include <stdio.h>
static int needy(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
                 struct berth_shimlet **ret, struct berth_err *e)
{
    char path[4200];
    (void)h;
    if (how->state_dir == NULL)
        return berth_err_set(e, BERTH_ECONFIG, "no state folder");
    FILE *seen = fopen(SEEN, "a");
    if (seen == NULL || fprintf(seen, "%s\\n", how->state_dir) < 0 || fclose(seen) != 0)
        return berth_err_set(e, BERTH_ECONFIG, "%s: %m", SEEN);
    (void)snprintf(path, sizeof path, "%s/kept", how->state_dir);
    FILE *f = fopen(path, "w");
    if (f == NULL || fclose(f) != 0)
        return berth_err_set(e, BERTH_ECONFIG, "%s: %m", path);
    *ret = NULL;
    return 0;
}
""", "ops.version = \"1\"; ops.open = needy; ops.close = OP(void (*)(struct berth_shimlet *)); "
         "ops.apply = (void *)nothing; ops.remove = (void *)nothing; ops.status = (void *)nothing; "
         "ops.list = (void *)nothing;"), f'-DSEEN="{tmp_path}/seen"')
    answer = load(server, so)
    assert answer.status == 200, answer
    tried, *_ = (tmp_path / "seen").read_text().splitlines()
    assert pathlib.Path(tried).parent == trials and not list(trials.iterdir())

