"""Lava processes: one folder each. Installed as `rsrp_lava.processes`."""

if __name__ != "rsrp_lava.processes":
    raise ImportError(
        f"this folder is the package 'rsrp_lava.processes', not '{__name__}': install the project (pip install -e .) "
        "and import it by that name"
    )
