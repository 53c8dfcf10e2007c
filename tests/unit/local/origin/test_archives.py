import gzip
import hashlib
import io
import tarfile
import zipfile

from infra.local.origin.archives import make_gzip, make_tar_gz, make_zip

MEMBERS = [("k/kubelet.exe", b"MZ" * 50_000), ("LICENSE.txt", b"text")]


def test_zip_is_read_by_zipfile_and_has_no_trace_of_this_machine() -> None:
    archive = make_zip(MEMBERS)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert [(info.filename, opened.read(info)) for info in opened.infolist()] == MEMBERS
    assert hashlib.sha256(archive).hexdigest() == "4df54805479582208089f2adbf2de23df69cd28473feeba75cce3dfd9f0f3cbc"


def test_tar_gz_is_read_by_tarfile_and_always_has_the_same_bytes() -> None:
    archive = make_tar_gz(MEMBERS)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        read = [(info.name, stream.read()) for info in opened if (stream := opened.extractfile(info)) is not None]
    assert read == MEMBERS
    assert hashlib.sha256(archive).hexdigest() == "62f412bd9b297240255b5ea911cb0f0e641553cdf4420c9e23de14800f5a00e0"


def test_gzip_of_any_length_is_read_back() -> None:
    for size in (0, 1, 0xFFFF, 0x10000, 200_000):
        assert gzip.decompress(make_gzip(b"x" * size)) == b"x" * size
