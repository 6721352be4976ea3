"""One step as a Ray job, by its name:

ray job submit --working-dir . -- python jobs/step.py pair RECIPE --judged URI --out URI

Takes what `selfreward STEP` takes; `python jobs/step.py --help` lists the steps.
"""

from selfreward_ray.cli import app

if __name__ == "__main__":
    app()
