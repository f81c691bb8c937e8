"""Pools of workers: in this process, or Ray actors."""

BUILT_IN = {
    "ray": "tasks.compute.ray_pool:RayPool",
    "serial": "tasks.compute.serial:SerialPool",
}
