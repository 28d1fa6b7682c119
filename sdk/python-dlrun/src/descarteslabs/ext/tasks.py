"""DLRun's documented entry point: ``from descarteslabs.ext.tasks import AsyncTasks, as_completed``.

The names are Perigee's own; ``result`` of a failed task raises.
"""
from perigee import *  # noqa: F401,F403
from perigee import __all__  # noqa: F401
