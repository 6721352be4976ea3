"""Whether a run's folder is on a disk or in an object store."""

import pytest

from selfreward_ray.cluster.rehearsal.rehearse import is_stored
from selfreward_ray.errors import UserError


@pytest.mark.parametrize("run_dir", ["runs/mine", "/shared/runs", "file:///shared/runs", ".", "a:b"])
def test_a_folder_is_on_a_disk(run_dir: str):
    assert not is_stored(run_dir)


@pytest.mark.parametrize(
    "run_dir",
    [
        "s3://bucket/run", "gs://bucket/run", "abfs://container@account.dfs.core.windows.net/run",
        "hdfs://namenode:8020/user/run", "s3://key:secret@bucket/run", "s3://bucket?region=eu-central-1",
    ],
)  # fmt: skip
def test_a_bucket_is_not(run_dir: str):
    assert is_stored(run_dir)


@pytest.mark.parametrize(
    ("run_dir", "said"),
    [
        ("", "is empty"),
        ("s3:/bucket/run", "a single / after its scheme"),
        ("s3://", "names no bucket"),
        ("s3:///run", "names no bucket"),
        ("foo://bucket/secret", "foo://…: no storage of that scheme is known"),
        ("http://[bucket/x", "is no URI"),
    ],
)
def test_what_is_neither_is_refused_with_what_could_be_given(run_dir: str, said: str):
    with pytest.raises(UserError) as refused:
        is_stored(run_dir)
    assert said in str(refused.value)
    assert "give a folder, or s3://, gs://," in str(refused.value)
    assert "secret" not in str(refused.value)
