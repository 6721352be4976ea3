"""Self-rewarding language models (arXiv 2401.10020) on Ray, vLLM and DeepSpeed."""

import os

__version__ = "0.1.0"

# Ray Data asks Ray's autoscaler for CPUs and GPUs without the accelerator type, and so starts nodes that no operator
# can use: another type of GPU, or a GPU node for CPU work. Above these thresholds of use it would ask; nothing here
# needs it to, since actors that wait for a place make Ray start exactly the nodes that have one. Ray Data reads the
# variables when it is imported.
for _resource in ("CPU", "GPU", "MEMORY", "OBJECT_STORE_MEMORY"):
    os.environ.setdefault(f"RAY_DATA_DEFAULT_CLUSTER_SCALING_UP_{_resource}_UTIL_THRESHOLD", "1000000")

# Ray prints this for each call that waits at a replica when its pool is closed, which is how a pool ends. Deaths of
# replicas are reported by the steps themselves. Ray reads the variable when it is imported.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", r"Task MapWorker\(.*\.submit failed\. There are infinite retries")
