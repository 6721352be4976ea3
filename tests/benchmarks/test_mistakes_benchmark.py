from benchmark_runs import run_benchmark


def test_each_mistake_is_timed_and_its_message_is_shown():
    done = run_benchmark("mistakes", "--repeats", 1, "--first", 2)
    assert done.status == 0, done.errors
    *_, first, second, _, closing = done.out.splitlines()
    assert first.startswith("| recipe | a field that does not exist | ")
    assert first.endswith(" | `unknown recipe field 'dpo.betta'; did you mean 'dpo.beta'?…` |")
    assert second.startswith("| recipe | a section that does not exist | ")
    assert closing.startswith("2 mistakes; median ")
