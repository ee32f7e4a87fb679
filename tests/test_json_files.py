import os
import subprocess
import sys
import tracemalloc

import pytest

from cifarnet.errors import InvalidValueError
from cifarnet.json_files import SIZE_LIMIT, parse, read_bytes, read_object


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_an_object_is_read_in_every_encoding_of_json(tmp_path, encoding):
    path = tmp_path / "x.json"
    path.write_bytes('{"name": "Zoë", "rate": 1e-3, "steps": [9223372036854775808]}'.encode(encoding))
    assert read_object(path) == {"name": "Zoë", "rate": 1e-3, "steps": [2**63]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"[1]", "it holds [1], not a JSON object"),
        (b'{"a": 1,}', "Illegal trailing comma before end of object: line 1"),
        (b'{"a": "\xff"}', "it is not text in UTF-8: byte 8 is invalid"),
        (b'{"a": {"b": 1, "b": 1}}', 'it has the field "b" more than once'),
        (b'{"a": [0, 1' + b"0" * 400 + b"]}", "a.1 must be -2**63 to 2**63. Received: 1000"),
        (b'{"a": -1' + b"0" * 5000 + b"}", "a must be -2**63 to 2**63. Received: -1000"),
        (b'{"a": {"b": NaN}}', "a.b must be a finite number. Received: nan"),
        (b'{"a": -Infinity}', "a must be a finite number. Received: -inf"),
        (b'{"a": 1e400}', "a must be a finite number. Received: inf"),
        (rb'{"a": "x\u0000y"}', "a must be text without NUL characters"),
        (rb'{"a": "\ud800"}', "a must be text without NUL characters"),
        (rb'{"a\u0000": 1}', "it must have names without NUL characters"),
        (b'{"a": ' + b"[" * 16 + b"]" * 16 + b"}", "is nested more than 16 deep"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "is nested more than 16 deep"),
        (b"[" * 500_000, "it is nested more than 16 deep"),
    ],
)
def test_json_out_of_limits_is_refused_with_its_place(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InvalidValueError) as refused:
        read_object(path)
    if "trailing comma" in message:  # Python 3.13; earlier versions expect a name there.
        assert "line 1" in str(refused.value)
    else:
        assert message in str(refused.value)
    assert len(str(refused.value)) < 300


def test_names_of_files_that_are_no_utf8_are_read():
    assert os.fsencode(parse(r'{"data_path": "/tmp/\udcff"}')["data_path"]) == b"/tmp/\xff"


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("folder", "a folder"), ("pipe", "not a regular file"), ("nothing", "missing")):
        with pytest.raises(InvalidValueError, match=f"^it is {message}$"):
            read_object(tmp_path / name)
    with pytest.raises(InvalidValueError, match="not a regular file"):
        read_bytes(tmp_path.__class__("/dev/zero"), 10)


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    with pytest.raises(InvalidValueError, match=r"at most 1,048,576 bytes. Received: 1,073,741,824 bytes"):
        read_object(path)
    assert tracemalloc.get_traced_memory()[1] < SIZE_LIMIT
    tracemalloc.stop()


def test_many_fields_given_twice_are_found_at_once():
    fields = ", ".join(f'"{number}": 0' for number in range(100_000))
    with pytest.raises(InvalidValueError, match='field "99999" more than once'):
        parse(f'{{{fields}, "99999": 1}}')


def test_text_is_read_whatever_the_locale():
    code = "from cifarnet.json_files import parse; print(ascii(parse('[\"\\\\u732b\"]')))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['\\u732b']\n", "")


def test_a_long_list_of_numbers_is_within_limits_too():
    assert parse("[" * 16 + "1,2" + "]" * 16)
    for text in ("[" * 17 + "1,2" + "]" * 17, f"[1, {2**63 + 1}]"):
        with pytest.raises(InvalidValueError):
            parse(text)
