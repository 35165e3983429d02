"""The types of packages that need not be installed: numpy, pandas, polars, pyarrow."""

from nodeflow.values.extras.packages import kinds_of, package_of

__all__ = ["kinds_of", "package_of"]
