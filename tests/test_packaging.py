"""The lists in pyproject.toml name every package and every data file (a missing one is only noticed in a wheel)."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS = {
    "majuscule": "majuscule",
    "majuscule.dsl": "dsl",
    "majuscule.compiler": "compiler",
    "majuscule.runtime": "runtime",
}


def packages_on_disk() -> dict[str, str]:
    found = {}
    for package, folder in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            if any(part.is_symlink() for part in [init.parent, *init.parents] if part != ROOT):
                continue
            place = init.parent.relative_to(ROOT / folder)
            name = ".".join([package, *place.parts])
            found[name] = str(Path(folder) / place)
    return found


def test_every_package_is_listed_with_its_folder():
    on_disk = packages_on_disk()
    assert sorted(SETUPTOOLS["packages"]) == sorted(on_disk)
    assert {name: str(Path(folder)) for name, folder in SETUPTOOLS["package-dir"].items()} == on_disk


def test_every_data_file_is_listed():
    data = SETUPTOOLS["package-data"]
    for name, folder in packages_on_disk().items():
        patterns = data.get(name, [])
        for path in (ROOT / folder).iterdir():
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                assert any(path.match(pattern) for pattern in patterns), f"{path} is in no wheel"


def test_the_links_lead_to_the_packages_and_the_networks():
    for link, target in (("dsl", "dsl"), ("compiler", "compiler"), ("runtime", "runtime"), ("examples", "examples")):
        assert (ROOT / "majuscule" / link).resolve() == (ROOT / target).resolve()


def test_every_network_comes_along():
    """By the link, `majuscule/examples`, which a wheel has as a folder."""
    patterns = SETUPTOOLS["package-data"]["majuscule"]
    for path in (ROOT / "examples").rglob("*.maj"):
        place = path.relative_to(ROOT)
        assert any(place.match(pattern) and len(Path(pattern).parts) == len(place.parts) for pattern in patterns), place
