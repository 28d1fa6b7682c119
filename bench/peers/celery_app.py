"""Celery's side that both client and workers import; the broker's address is given by the environment."""
import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.update(worker_prefetch_multiplier=128, task_acks_late=False, result_expires=3600)


@app.task
def nothing(value):
    return value
