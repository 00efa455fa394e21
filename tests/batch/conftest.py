from tests.settlement.conftest import bench, world

__all__ = ["bench", "world"]
