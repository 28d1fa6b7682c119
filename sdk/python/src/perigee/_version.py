"""The version, on its own so that set-up can read it without importing the package."""
__version__ = '0.1.0'
