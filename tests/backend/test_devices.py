from cifarnet.backend.devices import Device, Execution


def test_gpu_runs_many_steps_per_call():
    assert Execution.best_on(Device("jax", "gpu", "GPU")).steps_per_call > 1
    assert Execution.best_on(Device("jax", "cpu", "CPU")).steps_per_call == 1
