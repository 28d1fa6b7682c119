"""Celery with Redis: two prefork workers, a wide prefetch as its guide advises for short tasks."""
import subprocess
import sys

from celery import group
from celery_app import app, nothing
from report import measure, runs_of_command_line

if __name__ == "__main__":
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-c", "2", "-P", "prefork",
         "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        nothing.delay(1).get(timeout=60)
        measure(
            lambda count: group(nothing.s(value) for value in range(count))().get(),
            lambda value: nothing.delay(value).get(timeout=60),
            runs_of_command_line(),
        )
    finally:
        worker.terminate()
        worker.wait()
        app.close()
