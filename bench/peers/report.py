"""What every peer's script prints, and how it measures: the same function, the same counts."""
import json
import sys
import time


def nothing(value):
    return value


def report(scenario, figure, unit):
    print(json.dumps({"scenario": scenario, "figure": figure, "unit": unit},
                     separators=(",", ":")), flush=True)


def measure(run_map, run_one, runs, counts=(1000, 10000), warm=1000):
    """`run_map(count)` returns all results, `run_one(value)` one of them."""
    assert sorted(run_map(warm)) == list(range(warm))
    for count in counts:
        for _ in range(runs):
            began = time.perf_counter()
            results = run_map(count)
            seconds = time.perf_counter() - began
            assert sorted(results) == list(range(count)), "results are missing or wrong"
            report("no-op map of %d" % count, count / seconds, "tasks/s")
    if run_one is None:
        return
    for _ in range(runs):
        trips = []
        for value in range(300):
            began = time.perf_counter()
            assert run_one(value) == value
            trips.append(time.perf_counter() - began)
        trips.sort()
        report("round trip p50", 1000 * trips[150], "ms")
        report("round trip p99", 1000 * trips[296], "ms")


def runs_of_command_line():
    return int(sys.argv[1])
