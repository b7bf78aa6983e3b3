"""Hardware profiles: one YAML file a chip, every number with its source. Installed as `rsrp_lava.hardware_profiles`."""

if __name__ != "rsrp_lava.hardware_profiles":
    raise ImportError(
        f"this folder is the package 'rsrp_lava.hardware_profiles', not '{__name__}': install the project "
        "(pip install -e .) and import it by that name"
    )

from rsrp_lava.hardware_profiles.loader import load_profile, profile_names, profile_values
from rsrp_lava.hardware_profiles.schema import Fact, Profile

__all__ = ["Fact", "Profile", "load_profile", "profile_names", "profile_values"]
