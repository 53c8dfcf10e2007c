"""What the loader says about definitions that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import DefinitionError, Problem
from images.loading import load_definition

GOOD = """\
name: image
base:
  publisher: MicrosoftWindowsServer
  offer: windowsserver2022
  sku: 2022-datacenter-core-smalldisk-g2
  version: 20348.5499.260809
  generation: V2
os_disk_gib: 40
features: [Containers]
"""


def problems(tmp_path: Path, text: str | bytes, name: str = "image") -> tuple[Problem, ...]:
    path = tmp_path / f"{name}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DefinitionError) as caught:
        load_definition(path)
    return caught.value.problems


def only(tmp_path: Path, text: str | bytes) -> Problem:
    found = problems(tmp_path, text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def test_the_starting_point_of_these_tests_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "image.yaml"
    path.write_text(GOOD)
    assert load_definition(path).features == ("Containers",)


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
name: image
base:
  publisher: MicrosoftWindowsServer
  offer: windowsserver2022
  skuu: 2022-datacenter-core-smalldisk
  version: latest
os_disk_gib: "40"
features: [Contaners]
container_images: [registry.example/a:1, registry.example/a:1]
registry:
  - path: HKCU:\\Software\\X
    name: a
    value: 1
"""
    found = [(problem.line, problem.path, problem.hint) for problem in problems(tmp_path, text)]
    assert found == [
        (2, "base.sku", "Marketplace SKU; the Core smalldisk SKUs are meant for containers."),
        (5, "base.skuu", 'did you mean "sku"?'),
        (7, "os_disk_gib", "remove the quotes"),
        (8, "features[0]", 'did you mean "Containers"?'),
        (9, "container_images", "add container_runtime"),
        (9, "container_images[1]", "the first one is container_images[0]"),
        (
            11,
            "registry[0].path",
            "for example HKLM:\\SYSTEM\\CurrentControlSet\\Services\\hns\\State; other hives are not part of an image",
        ),
    ]


def test_a_problem_reads_as_file_line_path_message_and_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = str(only(tmp_path, GOOD.replace("[Containers]", "\n  - Contaners")))
    assert text == 'image.yaml:10: features[0]: unknown feature "Contaners"\n    hint: did you mean "Containers"?'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is empty"),
        ("- a\n", 1, "must be a mapping"),
        ("name: a\n\tb: c\n", 2, "indent with spaces"),
        ('name: "C:\\windows"\n', 1, "backslashes are escapes"),
        ("name: a\n---\nname: b\n", 2, "more than one document"),
        ("name: a: b\n", 1, "not valid YAML"),
        ("name: *nothing\n", 1, "needs quotes"),
        (b"name: \xff\n", 1, "not UTF-8"),
        (b"name: a\x00\n", 0, "control character"),
        ("a: " + "[" * 5000 + "\n", 0, "nested too deeply"),
        ("#" * (512 * 1024 + 1), 0, "larger than 512 KiB"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
def test_a_file_that_is_no_yaml_mapping_is_explained(tmp_path: Path, text: str | bytes, line: int, words: str) -> None:
    problem = only(tmp_path, text)
    assert problem.line == line
    assert words in str(problem)


@pytest.mark.parametrize("path", ["C:\\akse-cache", "C:\\tools", "C:\\new"])
def test_a_windows_path_in_double_quotes_is_not_taken_for_an_escape(tmp_path: Path, path: str) -> None:
    problem = only(tmp_path, GOOD + f'packages:\n  - url: https://x.example/a.zip\n    destination: "{path}"\n')
    assert problem.message == "holds a control character"
    assert problem.hint.startswith("backslashes are escapes")


def test_a_missing_file_is_an_error_of_the_definition(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="can not be read"):
        load_definition(tmp_path / "none.yaml")


def test_alias_bombs_are_refused_before_they_grow(tmp_path: Path) -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more than 50000 values" in only(tmp_path, "\n".join(layers)).message


def test_an_alias_inside_itself_is_refused(tmp_path: Path) -> None:
    assert "part of" in only(tmp_path, "a: &a [*a]\n").message


def test_python_objects_are_never_made(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD + 'description: !!python/object/apply:os.system ["true"]\n')
    assert any("is not allowed" in problem.message or "needs text" in problem.message for problem in found)


@pytest.mark.parametrize(
    ("extra", "message", "hint"),
    [
        ("name: image\n", 'field "name" is there twice', "the first one is on line 1"),
        ("<<: {a: b}\n", "merge keys", "write the fields out"),
        ("description: 1.10\n", "needs text", 'put it in quotes: "1.10"'),
        ("expand_volume_task: yes\n", "needs true or false", "write true"),
        ("updates: KB5120241\n", "needs a list", ""),
        ("minimum_free_gib: -1\n", "-1 is out of range: must be at least 0", ""),
        ("e2e_suites: [first-bot]\n", 'unknown value "first-bot"', 'did you mean "first-boot"?'),
        ("description: no\n", None, None),
        ("featuress: []\n", 'unknown field "featuress"', 'did you mean "features"?'),
    ],
)
def test_faults_of_form_are_said_in_plain_words(tmp_path: Path, extra: str, message: str | None, hint: str | None) -> None:
    path = tmp_path / "image.yaml"
    if message is None:
        path.write_text(GOOD + extra)
        assert load_definition(path).description == "no", "only true and false are booleans"
        return
    problem = only(tmp_path, GOOD + extra)
    assert problem.message.startswith(message)
    assert hint is None or problem.hint.startswith(hint)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("{path: 'HKLM:\\SOFTWARE\\X', name: a, value: 4294967296}", "4294967296 does not fit into a DWORD"),
        ("{path: 'HKLM:\\SOFTWARE\\X', name: a, value: text}", "DWORD needs a number"),
        ("{path: 'HKLM:\\SOFTWARE\\X', name: a, type: String, value: 1}", "String needs text"),
        ("{path: 'HKLM:\\SOFTWARE\\X', name: a, type: String, value: b, operation: or}", "operation `or` needs DWORD or QWORD"),
        ("{path: 'HKLM:\\SOFTWARE\\X', name: a, value: {b: c}}", "needs a number, text or a list of texts"),
        ("{path: 'HKLM:\\SYSTEM\\CurrentControlSet\\Services\\wuauserv', name: Start, value: 4}", "the Windows Update service must stay"),
        (
            "{path: 'HKLM:\\Software\\Policies\\Microsoft\\Windows\\WindowsUpdate\\AU', name: NoAutoUpdate, value: 0}",
            "the Windows Update policy has a setting of its own",
        ),
        ("{path: 'HKLM:\\SYSTEM\\ControlSet001\\Services\\x', name: a, value: 1}", "names one numbered control set"),
    ],
)
def test_registry_settings_that_windows_would_not_take(tmp_path: Path, setting: str, message: str) -> None:
    assert only(tmp_path, GOOD + f"registry:\n  - {setting}\n").message.startswith(message)


def test_a_registry_value_is_set_once_whatever_its_case(tmp_path: Path) -> None:
    problem = only(
        tmp_path,
        GOOD + "registry:\n  - {path: 'HKLM:\\SOFTWARE\\X', name: a, value: 1}\n  - {path: 'HKLM:\\software\\x\\', name: A, value: 2}\n",
    )
    assert (problem.line, problem.hint) == (12, "the first one is registry[0]")


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("{url: 'https://x.example/a.zip', destination: 'D:\\cache'}", "D:\\cache is not on C:"),
        ("{url: 'https://x.example/a.zip', destination: 'C:\\winvhd\\x'}", "C:\\winvhd\\x can not be used"),
        ("{url: 'https://x.example/a.zip', destination: 'C:\\'}", "C:\\ is the disk itself"),
        ("{url: 'https://x.example/a.zip', destination: 'C:\\a\\..\\b'}", "C:\\a\\..\\b is not a plain path"),
        ("{url: 'https://x.example/a.zip', destination: 'C:\\a.\\b'}", '"a." ends in a space or a dot'),
        ("{url: 'https://x.example/a.zip', destination: 'C:\\aux\\b'}", '"aux" is the name of a device'),
        ("{url: 'https://x.example/a.zip', destination: 'C:/cache'}", '"C:/cache" is not a full Windows path'),
        ("{url: 'https://x.example/a.exe', destination: 'C:\\a', expand: true}", "a.exe is no archive"),
        ("{url: 'https://x.example/a%20b', destination: 'C:\\a'}", '"a%20b" can not be a file\'s name'),
        ("{url: 'ftp://x.example/a', destination: 'C:\\a'}", '"ftp://x.example/a" is not a URL'),
        ("{url: 'https://x.example/a', destination: 'C:\\a', sha256: ABC}", '"ABC" is not a SHA-256 hash'),
    ],
)
def test_destinations_that_would_not_be_on_the_image(tmp_path: Path, package: str, message: str) -> None:
    assert only(tmp_path, GOOD + f"packages:\n  - {package}\n").message.startswith(message)


def test_two_files_can_not_have_one_destination_whatever_their_kind(tmp_path: Path) -> None:
    text = """\
packages:
  - {url: 'https://x.example/a.txt', destination: 'C:\\Cache'}
private_packages:
  - {secret: fix, destination: 'c:\\cache\\', file_name: A.TXT, sha256: "%s"}
files:
  - {source: NOTICE, destination: 'C:\\cache\\a.txt'}
"""
    found = problems(tmp_path, GOOD + text % ("a" * 64))
    assert [problem.message for problem in found] == ["c:\\cache\\A.TXT is written twice", "C:\\cache\\a.txt is written twice"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("../secret", "is not a path inside"), ("/etc/passwd", "is not a path inside"), ("nothing-here", "there is no file")],
)
def test_only_files_of_the_repository_are_uploaded(tmp_path: Path, source: str, message: str) -> None:
    assert message in only(tmp_path, GOOD + f"files:\n  - {{source: {source}, destination: 'C:\\a.txt'}}\n").message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("generation: V2", "generation: V1", 'the SKU "2022-datacenter-core-smalldisk-g2" boots by UEFI'),
        ("smalldisk-g2", "smalldisk", 'the SKU "2022-datacenter-core-smalldisk" boots by BIOS'),
        ("20348.5499.260809", "17763.4252.230404", "17763.4252.230404 is not a version of 2022-datacenter-core-smalldisk-g2"),
        ("[Containers]", "[Microsoft-Hyper-V]", 'unknown feature "Microsoft-Hyper-V"'),
        ("[Containers]", "[Containers, Containers]", 'feature "Containers" is there twice'),
        ("name: image", "name: other", 'the file is called "image", the image "other"'),
        ("name: image", "name: Image", '"Image" is not an image name'),
        ("generation: V2", "generation: V3", 'unknown value "V3"'),
        ("features: [Containers]", "description: nothing", "adds nothing to its base image"),
        ("os_disk_gib: 40", "os_disk_gib: 40\nminimum_free_gib: 40", "40 GiB can not be free"),
        ("os_disk_gib: 40\n", "", "is missing"),
    ],
)
def test_definitions_that_azure_or_windows_would_not_take(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(problem.message.startswith(message) for problem in found), "\n".join(map(str, found))


def test_trusted_launch_needs_generation_2(tmp_path: Path) -> None:
    text = GOOD.replace("-g2", "").replace("generation: V2", "generation: V1\n  trusted_launch: true")
    assert only(tmp_path, text).message == "trusted_launch needs generation V2"


def test_azure_edition_is_generation_2_without_a_suffix(tmp_path: Path) -> None:
    path = tmp_path / "image.yaml"
    path.write_text(GOOD.replace("2022-datacenter-core-smalldisk-g2", "2022-datacenter-azure-edition-core"))
    assert load_definition(path).base.sku == "2022-datacenter-azure-edition-core"


def test_a_definition_of_patches_only_is_refused_with_the_reason(tmp_path: Path) -> None:
    problem = only(tmp_path, GOOD.replace("features: [Containers]", "updates: [{kb: KB5120241}]"))
    assert problem.message == "holds patches and nothing else"
    assert "marketplace already publishes" in problem.hint


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ("{kb: KB1}", '"KB1" is not a KB number'),
        ("{kb: KB5120241, url: 'https://x.example/a.exe'}", "an update is an .msu or a .cab file"),
        ("{kb: KB5120241, url: 'https://x.example/windows10.0-kb5120242-x64.msu'}", "the file is KB5120242, not KB5120241"),
        ("{kb: KB5120241, build: '17763.1'}", "17763.1 is not a build of this base image"),
        ("{kb: KB5120241}\n  - {kb: KB5120241}", "KB5120241 is there twice"),
    ],
)
def test_updates_that_do_not_fit(tmp_path: Path, update: str, message: str) -> None:
    assert only(tmp_path, GOOD + f"updates:\n  - {update}\n").message.startswith(message)


def test_what_needs_something_else_must_have_it(tmp_path: Path) -> None:
    runtime = "container_runtime: {version: '1', url: 'https://x.example/containerd.exe'}\n"
    text = GOOD.replace("[Containers]", "[Hyper-V]") + runtime + "system: {openssh: {}}\ne2e_suites: [node-bootstrap]\n"
    assert [problem.message for problem in problems(tmp_path, text)] == [
        "containerd needs the Windows feature Containers",
        "must be a .tar.gz or .zip archive",
        "hardening of an OpenSSH server that is not installed",
        "node-bootstrap would test nothing: no package has a kubernetes_version",
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("OpenSSH.Server", 'write its full name, "OpenSSH.Server~~~~0.0.1.0"'),
        ("OpenSSH.Sever~~~~0.0.1.0", 'did you mean "OpenSSH.Server~~~~0.0.1.0"?'),
        ("Zzz", "see Get-WindowsCapability"),
    ],
)
def test_capabilities_go_by_their_full_names(tmp_path: Path, name: str, hint: str) -> None:
    assert only(tmp_path, GOOD + f"capabilities: [{name}]\n").hint == hint


def test_language_capabilities_are_known_by_their_form(tmp_path: Path) -> None:
    path = tmp_path / "image.yaml"
    path.write_text(GOOD + "capabilities: [Language.Basic~~~de-DE~0.0.1.0]\n")
    assert load_definition(path).capabilities == ("Language.Basic~~~de-DE~0.0.1.0",)


@pytest.mark.parametrize("url", ["https://user:canary@x.example/a.zip", "https://x.example/a.zip?sv=1&sig=canary"])
def test_a_credential_in_a_url_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    problem = only(tmp_path, GOOD + f"packages:\n  - {{url: '{url}', destination: 'C:\\a'}}\n")
    assert problem.message == "the URL holds a credential"
    assert "private_packages" in problem.hint
    assert "canary" not in str(problem)
