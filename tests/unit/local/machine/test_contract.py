import pytest

from images.stages import STAGES
from images.stages.boot import ENABLE_REMOTING
from images.stages.link import LINK_STAGES
from infra.local.machine.stages import STAGE_FUNCTIONS
from infra.local.machine.unpacking import ArchiveError, unpack
from infra.local.origin.archives import make_zip


def test_every_stage_has_its_function_but_those_of_the_link() -> None:
    of_the_link = {stage.name for stage in (*LINK_STAGES, ENABLE_REMOTING)}
    assert set(STAGE_FUNCTIONS) == set(STAGES) - of_the_link


@pytest.mark.parametrize("member", ["../evil.exe", "/evil.exe", "C:/evil.exe", "a/../../evil.exe"])
def test_archives_never_write_outside_their_destination(member: str) -> None:
    with pytest.raises(ArchiveError, match="leave"):
        unpack("a.zip", make_zip([(member, b"x")]))


def test_a_damaged_archive_is_an_archive_error() -> None:
    for name in ("a.zip", "a.tar.gz"):
        with pytest.raises(ArchiveError):
            unpack(name, b"nothing like it")
