import pytest

from priorbench.bench.phases import LEAST, PHASES, Stopwatch, summarised, timed


class Clock:
    """Stands for the module ``time``: how busy the machine is changes nothing."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += (seconds or 1e-3) + 1e-6  # a nap is never shorter than asked for


time = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("priorbench.bench.phases.time", time)


def stepping(watch: Stopwatch, naps: list[float]):
    def step() -> None:
        for phase in PHASES:
            time.sleep(naps[0])
            watch(phase)
        naps.append(naps.pop(0))

    return step


def test_phases_add_up_to_the_step() -> None:
    watch = Stopwatch("cpu")
    started = time.perf_counter()
    seconds = watch.of(stepping(watch, [0.005]))
    elapsed = time.perf_counter() - started
    assert list(seconds) == list(PHASES)
    assert all(value >= 0.005 for value in seconds.values())
    assert sum(seconds.values()) == pytest.approx(elapsed, abs=0.002)


def test_a_phase_that_ends_twice_counts_twice() -> None:
    watch = Stopwatch("cpu")

    def step() -> None:
        for phase in ("data", "forward", "backward", "forward", "backward", "optimiser"):
            time.sleep(0.002)
            watch(phase)

    seconds = watch.of(step)
    assert seconds["forward"] >= 0.004
    assert seconds["data"] < seconds["forward"]


def test_steps_are_taken_until_the_time_is_over_but_three_at_least() -> None:
    watch = Stopwatch("cpu")
    assert len(timed(stepping(watch, [0.0]), watch, 0.0)) == LEAST
    assert len(timed(stepping(watch, [0.0]), watch, 0.05)) > LEAST


def test_the_phases_are_those_of_the_median_step() -> None:
    steps = [{"data": 1.0, "forward": 2.0}, {"data": 4.0, "forward": 4.0}, {"data": 2.0, "forward": 3.0}]
    found = summarised(steps, structures=10)
    assert found == {"ms": 500.0, "best_ms": 300.0, "phases_ms": {"data": 200.0, "forward": 300.0}, "steps": 3}
