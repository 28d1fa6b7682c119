"""Keeps the caller's own packages out, as a virtualenv does.

The user's site folder is made for another build of the same Python, and would come before the
packages of the image, so that a script here and its function there would see different ones.
"""
import site
import sys

if site.ENABLE_USER_SITE:
    sys.path[:] = [path for path in sys.path if path != site.getusersitepackages()]
    site.ENABLE_USER_SITE = False
