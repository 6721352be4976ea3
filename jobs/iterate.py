"""One iteration of a run, M(t) to M(t+1), as a Ray job:

ray job submit --working-dir . -- python jobs/iterate.py --run-dir s3://BUCKET/RUN

Accepts the arguments of `selfreward iterate`.
"""

import sys

from selfreward_ray.cli import main

if __name__ == "__main__":
    main(["iterate", *sys.argv[1:]])
