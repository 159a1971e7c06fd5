"""Many ModelServices and what they need in a cluster, for tests and measurements of scale.

Each service has prefill, decode and an endpoint picker with their Services, accounts, a binding, a
route, a pool and a model: twelve objects (CHILDREN says of which kinds).
"""

GROUP = "llm-d.ai/v1alpha1"
GATEWAY, INFERENCE = "gateway.networking.k8s.io", "inference.networking.x-k8s.io"

# Where the children of one namespace are listed, and how many of each a service has.
CHILDREN = {
    "/apis/apps/v1/namespaces/{}/deployments": 3,
    "/api/v1/namespaces/{}/services": 3,
    "/api/v1/namespaces/{}/serviceaccounts": 2,
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings": 1,
    f"/apis/{GATEWAY}/v1/namespaces/{{}}/httproutes": 1,
    f"/apis/{INFERENCE}/v1alpha2/namespaces/{{}}/inferencepools": 1,
    f"/apis/{INFERENCE}/v1alpha2/namespaces/{{}}/inferencemodels": 1,
}
A_SERVICE = sum(CHILDREN.values())

ENGINE = """\
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: engine
          image: registry.example/engine:1
          command: [serve]
          args: ["--port", "{{ getPort "internal" }}", "--name", "{{ .ModelName }}"]
          env:
            - {name: ROLE, value: ROLE_OF_IT}
            - {name: MODEL, value: "{{ .MountedModelPath }}"}
          ports: [{name: api, containerPort: {{ getPort "internal" }}}]
          startupProbe: {httpGet: {path: /health, port: api}, periodSeconds: 5, failureThreshold: 60}
          readinessProbe: {httpGet: {path: /ready, port: api}, periodSeconds: 5}
          resources: {requests: {cpu: 10m, memory: 1Mi}}
        - name: proxy
          image: registry.example/proxy:1
          args: ["--listen", "{{ getPort "app" }}", "--to", "{{ getPort "internal" }}"]
"""
PORTS = """\
spec:
  ports: [{name: app, protocol: TCP, port: {{ getPort "app" }}, targetPort: {{ getPort "app" }}}]
"""
BASE = {
    "prefillDeployment": ENGINE.replace("ROLE_OF_IT", "prefill"),
    "decodeDeployment": ENGINE.replace("ROLE_OF_IT", "decode"),
    "prefillService": PORTS,
    "decodeService": PORTS,
    "eppDeployment": """\
spec:
  replicas: 1
  template:
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: epp
          image: registry.example/picker:1
          args: [-poolName, "{{ .InferencePoolName }}", -poolNamespace, "{{ .ModelServiceNamespace }}"]
          ports: [{name: grpc, containerPort: 9002}, {name: health, containerPort: 9003}]
          readinessProbe: {grpc: {port: 9003}, periodSeconds: 10}
""",
    "eppService": "spec: {ports: [{name: grpc, protocol: TCP, port: 9002, targetPort: 9002}]}\n",
    "inferencePool": "spec: {targetPortNumber: {{ getPort \"app\" }}}\n",
    "inferenceModel": "spec: {criticality: Standard}\n",
    "httpRoute": """\
spec:
  rules:
    - matches: [{path: {type: PathPrefix, value: "/{{ .ModelServiceName }}"}}]
      backendRefs:
        - {group: inference.networking.x-k8s.io, kind: InferencePool, name: "{{ .InferencePoolName }}"}
""",
}


def service(i, base="base", replicas=1, picker=1):
    """The i-th.  picker: replicas of its endpoint picker."""
    def role():
        return {"replicas": replicas, "containers": [
            {"name": "engine", "mountModelVolume": True, "args": ["--model", "{{ .MountedModelPath }}"]}]}

    return {
        "apiVersion": GROUP, "kind": "ModelService", "metadata": {"name": f"many-{i:04}"},
        "spec": {
            "baseConfigMapRef": {"name": base},
            "routing": {"modelName": f"org/model-{i}", "gatewayRefs": [{"name": "gateway"}],
                        "ports": [{"name": "app", "port": 8000}, {"name": "internal", "port": 8200}]},
            "modelArtifacts": {"uri": f"hf://org/model-{i}", "size": "1Gi"},
            "prefill": role(), "decode": role(), "endpointPicker": {"replicas": picker}}}


def definition(kind, group, version):
    """The least that serves objects of a kind of the Gateway API and its Inference Extension."""
    plural = kind.lower() + "s"
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}",
                     "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
        "spec": {"group": group, "scope": "Namespaced",
                 "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
                 "versions": [{"name": version, "served": True, "storage": True, "subresources": {"status": {}},
                               "schema": {"openAPIV3Schema": {
                                   "type": "object", "properties": {"spec": loose, "status": loose}}}}]}}


DEFINITIONS = [definition("HTTPRoute", GATEWAY, "v1"), definition("InferencePool", INFERENCE, "v1alpha2"),
               definition("InferenceModel", INFERENCE, "v1alpha2")]


def counts(cluster, space):
    """How many objects there are of each kind of CHILDREN; the namespace's own account is not counted."""
    found = {}
    for path in CHILDREN:
        got = cluster.get(path.format(space) + "?limit=1")
        n = len(got["items"]) + got["metadata"].get("remainingItemCount", 0)
        found[path] = n - 1 if path.endswith("serviceaccounts") else n
    return found


def all_exist(cluster, space, n):
    return counts(cluster, space) == {path: n * each for path, each in CHILDREN.items()}


def is_ready(service):
    """By the condition that Berth's operator writes."""
    return any(c["type"] == "Ready" and c["status"] == "True"
               for c in service.get("status", {}).get("conditions", []))


def is_observed(status, replicas=1):
    """Does a service's status say that every role runs?  Both operators write these members."""
    want = f"{replicas}/{replicas}"
    return status.get("prefillReady") == want and status.get("decodeReady") == want and \
        status.get("eppReady") == "1/1"
