"""What memory is free, and the refusal before a step that needs more."""

import pytest

from mlprod_tasks.platform import memory


def test_free_memory_is_that_of_the_machine_or_of_the_container_if_it_has_less(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    of_machine = memory.available()
    assert of_machine is not None
    assert of_machine > 1e6
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 2000\ninactive_file 500\nactive_file 100\n")
    assert memory.available() > 1e6  # no limit
    (tmp_path / "memory.max").write_text("10000\n")
    assert memory.available() == 7500


def test_a_step_that_needs_more_is_refused_with_both_numbers_and_the_remedy(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2_000_000_000)
    memory.require(2_000_000_000, "the fit", "take fewer rows")
    with pytest.raises(memory.NotEnoughMemory, match=r"the fit needs about 3.0 GB of memory, but 2.0 GB are free: take fewer"):
        memory.require(3_000_000_000, "the fit", "take fewer rows")
    monkeypatch.setattr(memory, "available", lambda: None)  # a system that does not say
    memory.require(3_000_000_000, "the fit", "take fewer rows")
