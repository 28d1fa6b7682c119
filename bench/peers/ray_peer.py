"""Ray: one node with two cpus, plain remote functions."""
import ray
from report import measure, nothing, runs_of_command_line

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    remote = ray.remote(nothing)
    measure(
        lambda count: ray.get([remote.remote(value) for value in range(count)]),
        lambda value: ray.get(remote.remote(value)),
        runs_of_command_line(),
    )
    ray.shutdown()
