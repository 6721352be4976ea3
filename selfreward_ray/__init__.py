"""Self-rewarding language models (arXiv 2401.10020) on Ray, vLLM and DeepSpeed."""

import os

__version__ = "0.1.0"

# Ray Data asks Ray's autoscaler for CPUs and GPUs without the accelerator type, and so starts nodes that no operator
# can use: another type of GPU, or a GPU node for CPU work. Above these thresholds of use it would ask; nothing here
# needs it to, since actors that wait for a place make Ray start exactly the nodes that have one. Ray Data reads the
# variables when it is imported.
for _resource in ("CPU", "GPU", "MEMORY", "OBJECT_STORE_MEMORY"):
    os.environ.setdefault(f"RAY_DATA_DEFAULT_CLUSTER_SCALING_UP_{_resource}_UTIL_THRESHOLD", "1000000")
