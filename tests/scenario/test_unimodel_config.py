"""UniModel's configuration: file, environment, flags."""
import os
import subprocess

import pytest
import yaml

import harness
from test_unimodel import CONFIG, unimodel  # noqa: F401


def test_file_then_env_then_flags(unimodel):
    a, b, c, grpc, prom = harness.free_ports(5)
    text = CONFIG.format(port=a, grpc_port=grpc, prometheus_port=prom)
    for env, flags, port in (({}, (), a), ({"UNIMODEL_PORT": str(b)}, (), b),
                             ({"UNIMODEL_PORT": str(b)}, ("--port", str(c)), c)):
        server = unimodel(text, env, flags, port=port).start()
        assert server.get("/health").status == 200
        assert server.stop() == 0


def test_default_config_is_found_by_env_too(unimodel, tmp_path):
    port, grpc, prom = harness.free_ports(3)
    path = tmp_path / "elsewhere.yaml"
    path.write_text(CONFIG.format(port=port, grpc_port=grpc, prometheus_port=prom))
    server = unimodel(None, {"UNIMODEL_CONFIG_PATH": str(path)}, port=port).start()
    assert server.get("/metrics", port=prom).status == 200


@pytest.mark.parametrize("why,change,words", [
    ("ports must differ", ("grpc_port: {grpc_port}", "grpc_port: {port}"), ["port"]),
    ("a fraction above one", ("memory_fraction: 0.8", "memory_fraction: 1.5"), ["memory_fraction"]),
    ("a fraction of zero", ("memory_fraction: 0.8", "memory_fraction: 0"), ["memory_fraction"]),
    ("no models", ("max_models: 10", "max_models: 0"), ["max_models"]),
    ("a word for a number", ("max_models: 10", "max_models: ten"), ["max_models", "whole number"]),
    ("a batch of none", ("default_batch_size: 8", "default_batch_size: 0"), ["default_batch_size"]),
    ("a port too high", ("port: {port}", "port: 70000"), ["port", "70000"]),
    ("a key nobody knows", ("max_models: 10", "max_modles: 10"), ["max_modles"]),
    ("a level nobody knows", ('log_level: "info"', 'log_level: "loud"'), ["log_level", "loud"]),
    ("broken YAML", ("engine:", "engine: ["), ["default.yaml"]),
])
def test_a_bad_config_ends_the_start_with_words(unimodel, why, change, words):
    port, grpc, prom = harness.free_ports(3)
    assert change[0] in CONFIG
    text = CONFIG.replace(*change, 1).format(port=port, grpc_port=grpc, prometheus_port=prom)
    server = unimodel(text, port=port).start(ready=False)
    assert server.process.wait(60 * harness.SLOW) not in (0, None), why
    for w in words:
        assert w in server.log(), (why, server.log())


@pytest.mark.parametrize("name,value", [("UNIMODEL_PORT", "x"), ("UNIMODEL_PORT", "0x50"),
                                        ("UNIMODEL_MAX_MODELS", "-1"),
                                        ("UNIMODEL_GPU_DEVICES", "a,b")])
def test_a_bad_variable_is_named(unimodel, name, value):
    server = unimodel(None, {name: value}).start(ready=False)
    assert server.process.wait(60 * harness.SLOW) != 0
    assert name in server.log(), server.log()


def test_every_documented_key_is_known_with_its_default():
    """The table of UniModel's specification against what `berth config` says without a file."""
    documented = {
        "server": {"port": 8000, "grpc_port": 9000, "max_connections": 1000,
                   "request_timeout_secs": 300, "enable_tls": False, "tls_cert_path": None,
                   "tls_key_path": None, "worker_threads": None},
        "engine": {"max_models": 10, "default_batch_size": 8, "max_batch_wait_ms": 50,
                   "batch_config": {"max_batch_size": 32, "max_wait_time_ms": 50,
                                    "dynamic_padding": True, "timeout_ms": 30000},
                   "gpu": {"memory_fraction": 0.8, "enable_pooling": True, "enable_p2p": False},
                   "memory": {"max_memory_gb": 16, "enable_mmap": True, "cache_size_mb": 1024}},
        "plugins": {"plugin_dir": "./plugins", "plugin_configs": {}, "plugin_timeout_secs": 300},
        "monitoring": {"prometheus_enabled": True, "prometheus_port": 9090, "jaeger_enabled": False,
                       "jaeger_endpoint": None, "health_check_interval_secs": 30,
                       "metrics_collection_interval_secs": 60},
        "security": {"auth_enabled": False, "cors_enabled": True, "cors_allowed_origins": ["*"],
                     "rate_limiting": {"requests_per_minute": 1000, "burst_size": 100}},
        "storage": {"model_storage_path": "./models", "cache_storage_path": "./cache",
                    "log_storage_path": "./logs", "max_storage_gb": 1000},
        "logging": {"level": "info", "console_output": True, "file_path": "./logs/unimodel.log",
                    "rotation_size_mb": 100, "retention_count": 10},
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith(("UNIMODEL_", "BERTH_"))}
    r = subprocess.run([harness.BERTH, "config"], capture_output=True, text=True, timeout=60, env=env)
    assert r.returncode == 0, r.stderr
    shown = yaml.safe_load(r.stdout)

    def compare(want, got, path):
        for key, value in want.items():
            assert key in got, f"{path}{key} is not shown"
            if isinstance(value, dict) and value:
                compare(value, got[key], f"{path}{key}.")
            else:
                assert (got[key] or None) == (value or None), f"{path}{key}"

    compare(documented, shown, "")
