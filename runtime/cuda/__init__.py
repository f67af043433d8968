"""Running modules on NVIDIA GPUs, through nothing but the driver's own library."""
