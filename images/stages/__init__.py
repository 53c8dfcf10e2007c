"""Every stage of the guest contract, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from images.stages.boot import BOOT_STAGES, ENABLE_REMOTING
from images.stages.content import CONTENT_STAGES
from images.stages.contract import StageContract
from images.stages.finish import FINISH_STAGES
from images.stages.fix import FIX_STAGES
from images.stages.link import LINK_STAGES
from images.stages.system import SYSTEM_STAGES

STAGES: Mapping[str, StageContract] = MappingProxyType(
    {
        stage.name: stage
        for stage in (*SYSTEM_STAGES, *CONTENT_STAGES, *FIX_STAGES, *FINISH_STAGES, *BOOT_STAGES, *LINK_STAGES, ENABLE_REMOTING)
    }
)
