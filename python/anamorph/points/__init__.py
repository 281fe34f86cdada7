"""The family of point clouds: ``am.points``."""
