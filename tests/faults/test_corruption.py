import pytest

from tests.support.faults.corruption import damage, kinds


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "checkpoint",
        "weights",
        "config.json",
        "decoded images",
        "archive (images.tar.gz)",
        "archive (images.tar.xz)",
        "archive (images.zip)",
    ],
)
def test_every_damage_that_changes_what_is_read_is_noticed_and_named(name, tmp_path):
    flips = 60 if name.startswith("archive") else 200
    counts = damage(kinds(tmp_path)[name], tmp_path, flips=flips, cuts=15)
    assert counts.total() == flips + 15
    assert counts["missed"] == 0
    assert counts["unnamed"] == 0
    assert counts["noticed"] > 20
