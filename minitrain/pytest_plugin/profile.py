"""The Hypothesis profiles, which Hypothesis registers by an entry point of its own when it is imported."""

from __future__ import annotations


def register() -> None:
    """Register ``gradcheck``, with the same examples in every run, and ``gradcheck-deep``, with many new ones."""
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "gradcheck",
        max_examples=50,
        derandomize=True,
        deadline=None,  # the first example may compile
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.register_profile("gradcheck-deep", settings.get_profile("gradcheck"), max_examples=1000, derandomize=False)
