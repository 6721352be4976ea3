"""The whole loop as a Ray job:

ray job submit --working-dir . -- python jobs/run.py llama2-70b --run-dir s3://BUCKET/RUN

Takes what `selfreward run` takes. Submitted again after a stop, it goes on where it was.
"""

import sys

from selfreward_ray.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:]])
