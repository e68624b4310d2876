"""The manifests as podman plays them are the shipped ones but for what podman lacks."""

import copy
from typing import Any

from deploy.image.kube_check import playable

DEPLOYMENT: dict[str, Any] = {
    "kind": "Deployment",
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {"name": "repartee", "image": "repartee:1", "ports": [{"containerPort": 8000}]}
                ],
                "volumes": [
                    {"name": "keys", "secret": {"secretName": "repartee-keys"}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            }
        },
    },
}
SETTINGS = {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"A": "1"}}


def test_one_replica_of_our_image_on_loopback_with_its_keys() -> None:
    shipped = [copy.deepcopy(DEPLOYMENT), SETTINGS, {"kind": "NetworkPolicy"}]
    keys, deployment, settings = playable(shipped, "localhost/ours", 4711, "[]")
    assert (keys["metadata"]["name"], keys["data"]) == ("repartee-keys", {"keys.json": "[]"})
    assert settings == SETTINGS
    assert deployment["spec"]["replicas"] == 1
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"] == [
        {
            "name": "repartee",
            "image": "localhost/ours",
            "imagePullPolicy": "Never",
            "ports": [{"containerPort": 8000, "hostPort": 4711, "hostIP": "127.0.0.1"}],
        }
    ]
    assert pod["volumes"] == [
        {"name": "keys", "configMap": {"name": "repartee-keys"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    assert shipped[0] == DEPLOYMENT
