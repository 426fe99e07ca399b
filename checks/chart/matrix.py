"""Values that the chart is rendered with: each feature alone, all of them, and those that it has to refuse."""

PVC = {"source": {"type": "existingClaim", "existingClaim": "exports"}}
NODES = {"kind": "DaemonSet", "source": {"type": "hostPath", "hostPath": "/var/lib/dcgm/exports", "supplementalGroups": [4]}}
TLS = {
    "etcd": {"tls": {"secret": "etcd-tls"}},
    "postgresql": {"sslmode": "verify-full", "tls": {"secret": "postgresql-tls", "clientCertificate": True}},
    "gateway": {"tls": {"secret": "gateway-tls"}},
}
ELSEWHERE = {
    "etcd": {"endpoints": ["https://etcd-1.example:2379", "https://etcd-2.example:12379"]},
    "postgresql": {"host": "db.example", "port": 6432, "auth": {"existingSecret": "db"}},
    "networkPolicy": {"etcdTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "postgresqlTo": [], "dnsTo": [], "dnsPorts": [53, 5353]},
}
USERS = {
    "etcd": {"auth": {"secret": "etcd-users"}, "tls": {"secrets": {"collector": "collector-tls"}}},
    "gateway": {"operatorRoutes": True, "keys": {"existingSecret": "keys"}},
    "postgresql": {"auth": {
        "existingSecret": "db",
        "migrate": {"user": "nexus_migrate", "key": "migrate"},
        "collector": {"user": "nexus_collector", "key": "collector"},
        "gateway": {"user": "nexus_gateway", "key": "gateway"},
        "operator": {"user": "nexus_operator", "key": "operator"},
    }},
}
# Those of deployments/k8s/README.md.
SECURE = {"etcd": {"tls": {"secret": "nexus-etcd-client"}, "auth": {"secret": "nexus-etcd-users"}}}
PLACED = {
    "podAnnotations": {"example.com/team": "gpu"}, "nodeSelector": {"disk": "ssd"}, "priorityClassName": "high",
    "tolerations": [{"key": "gpu", "operator": "Exists"}], "affinity": {"nodeAffinity": {}},
}

MATRIX = {
    "default": {},
    "minimal": {
        "streamer": {"enabled": False}, "collector": {"replicas": 1, "maxUnavailable": ""},
        "gateway": {"replicas": 1, "maxUnavailable": "", "keys": {"anonymous": True}},
        "networkPolicy": {"enabled": False}, "migrate": {"enabled": False},
        "serviceAccount": {"create": False, "name": "nexus"},
    },
    "claim": {"streamer": PVC | {"replicas": 3, "batchSize": 1000000, "interval": "250ms"}},
    "nodes": {"streamer": NODES},
    "loop": {"streamer": {"source": PVC["source"] | {"path": "2026/*.csv.gz", "subPath": "gpu", "follow": False, "loop": True}}},
    "tls": TLS,
    "elsewhere": ELSEWHERE,
    "users": USERS,
    "etcd with certificates and users": SECURE,
    "queue": {"collector": {"autoscaling": {"enabled": True, "cpu": {"enabled": False}}}},
    "cpu": {"collector": {"autoscaling": {"enabled": True, "queue": {"enabled": False}}}},
    "scaling": {"collector": {"autoscaling": {"enabled": True}}, "gateway": {"autoscaling": {"enabled": True}}},
    "ingress": {"ingress": {"enabled": True, "host": "nexus.example", "className": "nginx",
                            "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"}}},
    "ingress to https": {"ingress": {"enabled": True, "host": "nexus.example", "annotations": {
        "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}}, "gateway": {"tls": {"secret": "gateway-tls"}}},
    "ingress without tls": {"ingress": {"enabled": True, "host": "nexus.example", "tls": {"enabled": False}}},
    "balancer": {"gateway": {"service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}}}},
    "backup": {"backup": {"enabled": True}},
    "backup of its own": {"backup": {"enabled": True, "existingClaim": "", "storageClass": "nfs", "accessMode": "ReadWriteMany"}},
    "backup watched": {"backup": {"enabled": True, "etcd": {"oldAfterSeconds": 7200}}, "prometheusRule": {"enabled": True}},
    "tools": {"tools": {"enabled": True}},
    "tools that restore": {"streamer": {"source": PVC["source"] | {"subPath": "gpu", "supplementalGroups": [4]}}, "backup": {"enabled": True},
                           "tools": {"enabled": True, "claims": ["data-nexus-postgresql-0", "data-nexus-etcd-0"]}},
    "monitored": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "monitored with keys": {"gateway": {"keys": {"existingSecret": "keys"}, "tls": {"secret": "gateway-tls"}},
                            "serviceMonitor": {"enabled": True, "gatewayKey": {"name": "k", "key": "k"}, "gatewayCa": {"name": "ca"}}},
    "rules": {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}},
    "dashboards": {"dashboards": {"enabled": True, "annotations": {"grafana_folder": "Nexus"}}},
    "traced": {"tracing": {"endpoint": "http://otel.example/v1", "share": 1}},
    "traced by port": {"tracing": {"endpoint": "http://otel.example:4318"}, "networkPolicy": {"tracingTo": [{"podSelector": {}}]}},
    "traced over tls": {"tracing": {"endpoint": "https://otel.example/v1"}},
    "placed": {name: PLACED for name in ("streamer", "collector", "gateway")},
    "conditions": {"conditions": {"hotCelsius": 82, "hotFor": "10m", "idleMemoryMib": 512.5, "xidGap": "5m"}},
    "tuned": {
        "fullnameOverride": "gpus", "clusterId": "berlin", "bindAddress": "::",
        "image": {"registry": "registry.example/team/", "tag": "1.2.3", "pullSecrets": [{"name": "pull"}]},
        "collector": {"retention": "90d", "drainSeconds": 60, "extraEnv": {"ROLLUP_SETTLE": "5m", "WORKERS": "8"}},
        "gateway": {"corsOrigins": ["https://a.example", "https://b.example"], "trustedProxies": ["10.0.0.0/8"],
                    "extraEnv": {"QUERY_TIMEOUT": "10s"}},
        "streamer": {"extraEnv": {"MAX_FUTURE": "1h"}}, "etcd": {"upkeep": True},
    },
}


def merged(one, other):
    return one | {key: merged(one[key], value) if isinstance(value, dict) and isinstance(one.get(key), dict) else value
                  for key, value in other.items()}


def _everything():
    everything = {}
    for name in ("claim", "tls", "elsewhere", "users", "scaling", "ingress", "backup", "tools that restore", "monitored with keys", "rules",
                 "dashboards", "traced by port", "placed", "conditions"):
        everything = merged(everything, MATRIX[name])
    return everything


MATRIX["everything"] = _everything()

# Values, and words of the message.
WRONG = [
    ({"colector": {}}, ["colector"]),
    ({"collector": {"replica": 3}}, ["/collector", "replica"]),
    ({"collector": {"workers": "four"}}, ["/collector/workers"]),
    ({"collector": {"workers": 65}}, ["/collector/workers", "64"]),
    ({"collector": {"retention": "90"}}, ["/collector/retention"]),
    ({"collector": {"extraEnv": {"WORKERS": 8}}}, ["/collector/extraEnv/WORKERS", "string"]),
    ({"collector": {"extraEnv": {"workers": "8"}}}, ["workers", "[A-Z]"]),
    ({"collector": {"resources": {"limits": {"memory": "lots"}}}}, ["/collector/resources/limits/memory"]),
    ({"collector": {"autoscaling": {"enabled": True, "queue": {"enabled": False}, "cpu": {"enabled": False}}}}, ["to scale by"]),
    ({"etcd": {"endpoints": []}}, ["/etcd/endpoints"]),
    ({"etcd": {"endpoints": ["etcd"]}}, ["/etcd/endpoints/0"]),
    ({"etcd": {"endpoints": "etcd:2379"}}, ["/etcd/endpoints", "array"]),
    ({"etcd": {"upkeep": True, "auth": {"secret": "users"}}}, ["role root"]),
    ({"postgresql": {"sslmode": "verify"}}, ["/postgresql/sslmode", "verify-full"]),
    ({"postgresql": {"tls": {"secret": "ca"}}}, ["sslmode prefer", "verify-full"]),
    ({"postgresql": {"port": 0}}, ["/postgresql/port"]),
    ({"streamer": {"source": {"type": "existingClaim"}}}, ["streamer.source.existingClaim"]),
    ({"streamer": {"source": {"type": "hostPath"}}}, ["streamer.source.hostPath"]),
    ({"streamer": {"source": {"type": "hostPath", "hostPath": "exports"}}}, ["/streamer/source/hostPath"]),
    ({"streamer": {"source": PVC["source"] | {"follow": False}}}, ["follow", "loop"]),
    ({"streamer": {"kind": "DaemonSet"}}, ["hostPath"]),
    ({"streamer": {"kind": "Deployment"}}, ["/streamer/kind", "StatefulSet"]),
    ({"gateway": {"operatorRoutes": True}}, ["keys.existingSecret"]),
    ({"tools": {"enabled": True}, "postgresql": {"auth": {"gateway": {"user": "nexus_gateway", "key": "gateway"}}}},
     ["postgresql.auth.operator", "nexus_operator", "be nexus_gateway"]),
    ({"gateway": {"trustedProxies": ["proxy.example"]}}, ["/gateway/trustedProxies/0"]),
    ({"ingress": {"enabled": True}}, ["ingress.host"]),
    ({"serviceMonitor": {"enabled": True}, "gateway": {"keys": {"existingSecret": "keys"}}}, ["gatewayKey"]),
    ({"serviceAccount": {"create": False}}, ["serviceAccount.name"]),
    ({"backup": {"etcd": {"schedule": "hourly"}}}, ["/backup/etcd/schedule"]),
    ({"tools": {"claims": [""]}}, ["/tools/claims/0"]),
    ({"tools": {"claims": ["data", "data"]}}, ["/tools/claims", "equal"]),
    ({"image": {"pullPolicy": "Sometimes"}}, ["/image/pullPolicy", "Always"]),
    ({"logging": {"format": "xml"}}, ["/logging/format", "json"]),
    ({"tracing": {"endpoint": "otel:4318"}}, ["/tracing/endpoint"]),
    ({"tracing": {"endpoint": "grpc://otel:4317"}}, ["/tracing/endpoint", "https?://"]),
]
