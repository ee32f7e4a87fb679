"""Settings for tests that train on JAX in a process of their own."""

from pathlib import Path


def quick_jax(folder: Path, optimization: int = 0) -> dict[str, str]:
    """Return environment variables that make XLA compile each function once for all runs, with little optimization.

    Nearly all the time of such a test is compilation, unless it trains many steps.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "XLA_FLAGS": f"--xla_backend_optimization_level={optimization}",
    }
