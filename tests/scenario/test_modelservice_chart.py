"""The operator's chart and definition, without a cluster: values that helm refuses, words for `kubectl explain`."""
import json

import pytest
import yaml

from test_helm import helm, sets
from test_modelservice_crd import CHART, CRD


@pytest.mark.parametrize("value, says", [
    ("leaderElect=no", "leaderElect"), ("replicas=-1", "replicas"), ("replicas=two", "replicas"),
    ("metrics.port=70000", "port"), ("metrics.prot=8080", "prot"), ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("namepsace=models", "namepsace"), ("namespace=Models", "namespace"), ("namespace={a,b}", "namespace"),
    ("baseNamespaces=models", "baseNamespaces"), ("baseNamespaces={a_b}", "baseNamespaces"),
    ("pullSecrets=mine", "pullSecrets"), ("epp.createClusterRole=nein", "createClusterRole"),
    ("extraArgs=--log-level=debug", "extraArgs"), ("imagePullSecrets={mine}", "imagePullSecrets"),
    ("resources.limit.memory=1Gi", "limit"), ("podLabels.team=1", "podLabels")])
def test_helm_refuses_a_value_that_is_mistyped(value, says):
    said = helm("template", "c", CHART, "--set", value, ok=False)
    assert "values don't meet the specifications of the schema" in said and says in said, said


@pytest.mark.parametrize("values", [
    [], ["image.tag=2024"], ["namespace=models", "baseNamespaces={*}"], ["baseNamespaces={a,b-c}", "resources=null"],
    ["resources.limits.nvidia\\.com/gpu=1", "resources.requests.cpu=1"], ["global.any=thing"],
    ["imagePullSecrets[0].name=pull", "pullSecrets={a,b.c}", "epp.pullSecrets={d}", "extraArgs={--log-level=debug}"],
    ["serviceAccount.annotations.a=b", "podLabels.team=a", "nodeSelector.disk=fast", "tolerations[0].operator=Exists"]])
def test_helm_takes_what_is_meant(values):
    assert "kind: Deployment" in helm("template", "c", CHART, *sets(*values))


def test_every_value_is_in_the_schema():
    def members(values, schema, at=""):
        for key, value in values.items():
            known = schema["properties"].get(key)
            assert known is not None, at + key
            if isinstance(value, dict) and "properties" in known:
                members(value, known, f"{at}{key}.")

    members(yaml.safe_load((CHART / "values.yaml").read_text()),
            json.loads((CHART / "values.schema.json").read_text()))


def test_each_member_is_described():
    """`kubectl explain` prints what the definition says."""
    bare = []  # but for metadata, which the API server describes, and lets nobody else do so

    def look(schema, at):
        if at not in ("", ".metadata") and not schema.get("description"):
            bare.append(at)
        for key, value in schema.get("properties", {}).items():
            look(value, f"{at}.{key}")
        for key, value in schema.get("items", {}).get("properties", {}).items():
            look(value, f"{at}[].{key}")

    look(CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")
    assert not bare
