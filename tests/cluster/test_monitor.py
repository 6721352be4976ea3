from pathlib import Path

from selfreward_ray.cluster import monitor
from selfreward_ray.cluster.monitor import launch_errors

LINE = "2026-01-01 00:00:00,000\tINFO node_provider.py:492 -- Failed to launch {} nodes of type {}: {}\n"


def test_the_newest_error_of_each_type_is_read_from_the_end_of_the_log(tmp_path: Path):
    log = tmp_path / "monitor.log"
    log.write_text(LINE.format(8, "long-ago", "a quota") + "x" * monitor._LOG_TAIL + "\n")
    assert launch_errors(log) == {}
    with log.open("a") as file:
        file.write(LINE.format(1, "training", "a quota") + LINE.format(2, "inference", "InsufficientInstanceCapacity"))
        file.write(
            "INFO scheduler.py -- nothing of interest: here\n" + LINE.format(4, "training", "no such image: ami")
        )
    assert launch_errors(log) == {"training": "no such image: ami", "inference": "InsufficientInstanceCapacity"}
