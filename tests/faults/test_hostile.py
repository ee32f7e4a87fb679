import tracemalloc

import pytest

from cifarnet.data.sources import load_data
from cifarnet.errors import DataError
from tests.support.faults.hostile import NPZS, PICKLES, TARS, ZIPS, write

pytestmark = pytest.mark.faults

KINDS = {"pickle": PICKLES, "tar": TARS, "zip": ZIPS, "npz": NPZS}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in KINDS.items() for name in cases])
def test_a_small_file_that_asks_for_much_is_refused(tmp_path, kind, name):
    content, message = KINDS[kind][name]
    source = write(tmp_path, kind, content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as caught:
            load_data(str(source))
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    assert peak < 160 << 20


def test_a_pickle_of_too_many_opcodes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cifarnet.unpickling._OPCODE_LIMIT", 10_000)
    source = write(tmp_path, "pickle", b"\x80\x02})" + b"\x85" * 5_000_000 + b"K\x01s.")
    with pytest.raises(DataError, match="more than 10,000 opcodes"):
        load_data(str(source))
