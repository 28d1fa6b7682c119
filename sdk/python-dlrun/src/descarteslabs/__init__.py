"""DLRun's own import paths, for scripts that were written for it. Everything is Perigee's."""
# Other distributions may put modules below this name too (DLRun's own ones did).
__path__ = __import__('pkgutil').extend_path(__path__, __name__)
