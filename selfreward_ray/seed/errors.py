"""What can be wrong with seed data as a whole."""

from selfreward_ray.errors import UserError


class SeedError(UserError):
    """Seed data that can not be used; the message says where the fault is and what to do."""
