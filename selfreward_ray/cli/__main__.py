"""`python -m selfreward_ray.cli`, for when the command is not on the path."""

from selfreward_ray.cli import main

main()
