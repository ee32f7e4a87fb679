import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "enabled"), [(None, "True"), ("0", "False")])
def test_tensorflow_runs_with_onednn_however_it_is_reached_unless_the_user_says_no(chosen, enabled):
    code = (
        "from cifarnet.models.network import build_model\n"
        "from tensorflow.python.util import _pywrap_util_port\n"
        "print(_pywrap_util_port.IsMklEnabled())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    if chosen is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = chosen
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == enabled
