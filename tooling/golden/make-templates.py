"""Fills packages/tokenizer/src/jinja/jinja2.fixture.json: what Jinja2 makes of templates, with the settings that transformers gives it.

    pip install jinja2==3.1.6 && python make-templates.py && npx biome format --write ../../packages/tokenizer/src/jinja/jinja2.fixture.json

Its `templates`, by kind, are rendered with its `variables`; in `made` each has its text, or null where Jinja2 refuses it. A new case is a
template added to them. Those of `refused` Jinja2 renders and the package does not.
"""
import datetime, json, pathlib
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """{% generation %} marks what an assistant writes, and writes what it surrounds."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def refuse(message):
    raise TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
)
environment.filters["tojson"] = to_json
environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.datetime.now().strftime(form)}

path = pathlib.Path(__file__).parent / "../../packages/tokenizer/src/jinja/jinja2.fixture.json"
fixture = json.loads(path.read_text())


def render(template):
    try:
        return environment.from_string(template).render(**fixture["variables"])
    except Exception:
        return None


fixture["made"] = {kind: [render(template) for template in templates] for kind, templates in fixture["templates"].items()}
unknown = [template for template in fixture["refused"] if render(template) is None]
assert not unknown, unknown
path.write_text(json.dumps(fixture, ensure_ascii=False, indent=2) + "\n")
