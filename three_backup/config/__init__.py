"""The configuration: sections of options, merged for each object."""

from three_backup.config.configuration import Configuration
from three_backup.config.environment import environment_file
from three_backup.config.explanation import Explained, explain
from three_backup.config.loading import load, understood

__all__ = ["Configuration", "Explained", "environment_file", "explain", "load", "understood"]
