"""HyperQueue: one worker with two cores; its Python API starts a process a task and returns no results,
so each task writes its value into a folder, which is what is compared."""
import os
import tempfile

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
from report import measure, runs_of_command_line


def leave(folder, value):
    open(os.path.join(folder, str(value)), "w").close()


if __name__ == "__main__":
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()

        def run_map(count):
            with tempfile.TemporaryDirectory() as folder:
                job = Job()
                for value in range(count):
                    job.function(leave, args=(folder, value))
                client.wait_for_jobs([client.submit(job)])
                return [int(name) for name in os.listdir(folder)]

        # A tenth of a second each: a thousand would take minutes and tell no more.
        measure(run_map, None, runs_of_command_line(), counts=(200,), warm=10)
