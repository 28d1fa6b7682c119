"""Dask: worker processes of one thread each, no dashboard, the whole map in one call."""
from dask.distributed import Client, LocalCluster
from report import measure, nothing, runs_of_command_line

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            measure(
                lambda count: client.gather(client.map(nothing, range(count), pure=False)),
                lambda value: client.submit(nothing, value, pure=False).result(),
                runs_of_command_line(),
            )
