"""A single step as a Ray job:

ray job submit --working-dir . -- python jobs/step.py pair RECIPE --judged URI --out URI

Accepts the arguments of `selfreward STEP`; `python jobs/step.py --help` lists the steps.
"""

from selfreward_ray.cli import main

if __name__ == "__main__":
    main()
