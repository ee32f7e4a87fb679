import pytest

from tests.support.faults.corruption import damage, kinds

pytestmark = pytest.mark.faults


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
def test_damage_that_changes_what_is_read_is_named(name, tmp_path, scaled, tried):
    flips, cuts = scaled(60 if name.startswith("archive") else 200), scaled(15)
    counts = damage(kinds(tmp_path)[name], tmp_path, flips, cuts)
    assert counts.total() == flips + cuts
    assert counts["missed"] == 0
    assert counts["unnamed"] == 0
    assert counts["noticed"] > (flips + cuts) / 4
    result = f"{counts['noticed']:,} noticed and named, {counts['harmless']:,} without effect on what is read"
    tried(f"{name}: bits flipped, ends cut", flips + cuts, result)
