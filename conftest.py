"""pytest's entry: every case of the suite can be a pytest item (`pytest --bed qemu --case GLOB`)."""
pytest_plugins = ["lab.pytest_plugin", "pytester"]
