"""What all tests share: Hypothesis measures no time, because machines differ."""

from hypothesis import settings

settings.register_profile("segstream", deadline=None)
settings.load_profile("segstream")
