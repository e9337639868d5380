"""How Sphinx makes the site from the pages: `tox -e docs`, or `sphinx-build -W --keep-going -n docs site`.

The pages are plain Markdown, which a Git host shows as well. `index.md` alone is for the site: what it contains beside
`README.md` are directives. The reference of the commands is the page that `generate.py` writes: sphinx-click would show
it on the site only.
"""

from __future__ import annotations

import re
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "xnatctl"
author = "The xnatctl developers"
copyright = "the xnatctl developers, MIT licence"
version = re.search(r'__version__ = "([^"]+)"', (HERE.parent / "core/xnatctl/__init__.py").read_text(encoding="utf-8"))[
    1
]
release = version

extensions = ["myst_parser", "sphinx_design"]
# The site's own index contains README.md.
exclude_patterns = ["README.md"]
nitpicky = True
smartquotes = False  # an option begins with two hyphens

myst_enable_extensions = ["colon_fence"]
# The anchors that Git hosts give to headings.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"xnatctl {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "none"  # a block without a language is a picture in characters
pygments_style = "friendly"
pygments_dark_style = "github-dark"

LINK = re.compile(r"\]\(([^)#:]+)\)")


def as_on_a_git_host(app: Sphinx, docname: str, source: list[str]) -> None:
    """A link to a folder shows its README; one to a file outside of `docs` offers the file."""
    here = Path(app.env.doc2path(docname)).parent

    def resolved(link: re.Match[str]) -> str:
        target = here / link[1]
        if target.is_dir() and (target / "README.md").exists():
            return f"]({link[1].rstrip('/')}/README.md)"
        return link[0] if target.resolve().is_relative_to(HERE) else f"](path:{link[1]})"

    source[0] = LINK.sub(resolved, source[0])


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", as_on_a_git_host)
    app.add_lexer("csv", TextLexer)  # Pygments has none
