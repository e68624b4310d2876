"""Ray's own modules warn as they are imported, and a warning is an error here: import them once, in silence."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401
