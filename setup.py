"""What setup.cfg cannot say: links of the project, and the README with links that work anywhere."""

import re
from pathlib import Path

from setuptools import setup

# The address of the public repository, as https://host/owner/name, and nothing else needs to change: the links on the
# package's page are made from it, and the release workflow refuses to publish without it.
REPOSITORY = ""

LINK = re.compile(r"(!?\[[^\]]*\])\((?!https?:|#|mailto:)([^)\s]+)\)")


def links(repository: str) -> dict[str, str]:
    if not repository:
        return {}
    return {
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Documentation": f"{repository}/tree/main/docs",
    }


def readme(repository: str) -> str:
    """README.md, whose relative links, and pictures, lead to the repository if its address is known."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    return LINK.sub(lambda link: f"{link[1]}({absolute(repository, link)})", text) if repository else text


def absolute(repository: str, link: "re.Match[str]") -> str:
    kind = "raw" if link[1].startswith("!") else "blob"
    return f"{repository}/{kind}/main/{link[2]}"


if __name__ == "__main__":
    setup(
        project_urls=links(REPOSITORY),
        long_description=readme(REPOSITORY),
        long_description_content_type="text/markdown",
    )
