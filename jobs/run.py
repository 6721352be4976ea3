"""The whole loop as a Ray job:

ray job submit --working-dir . -- python jobs/run.py llama2-70b --run-dir s3://BUCKET/RUN

Accepts the arguments of `selfreward run`. Submitted again after a stop, it continues where it stopped.
"""

import sys

from selfreward_ray.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
