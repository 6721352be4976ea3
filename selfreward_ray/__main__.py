"""`python -m selfreward_ray`, for when the command is not on the path."""

from selfreward_ray.cli import main

if __name__ == "__main__":
    main()
