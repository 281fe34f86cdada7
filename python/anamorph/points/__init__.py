"""The family of point clouds: ``am.points``."""

from anamorph.points.neighbours import ball_query, farthest_point_sample, group, knn

__all__ = ["ball_query", "farthest_point_sample", "group", "knn"]
